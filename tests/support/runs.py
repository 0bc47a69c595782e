"""The record of a run, written by hand: trained, made smaller, measured, timed."""

from __future__ import annotations

from typing import Any

MADE = {
    "command": "sapwood run recipe.yaml -o out",
    "date": "2026-11-28T10:00:00+00:00",
    "sapwood": "0.2.0",
    "versions": {"onnxruntime": "1.32.0"},
    "machine": {"cpu": "A CPU", "threads": 1},
}


def step(directory: str, verb: str, model: str, result: Any, size: tuple[int, int] | None = None) -> dict[str, Any]:
    sizes = None if size is None else {"params": size[0], "nonzeros": size[0], "macs": size[1], "nonzero_macs": size[1]}
    return {
        "name": directory.partition("-")[2],
        "verb": verb,
        "command": f"sapwood {verb} {model} -o out/{directory}",
        "directory": directory,
        "fingerprint": "f",
        "state": "done",
        "seconds": 1.5,
        "missed": None,
        "size": sizes,
        "result": result,
    }


def metrics(value: float) -> dict[str, Any]:
    return {"primary": "mAP@0.5", "metrics": {"mAP@0.5": value, "mAP@[.5:.95]": round(value / 2, 3)}}


def run_record() -> dict[str, Any]:
    """A network that loses all of its accuracy, and is three times as fast."""
    pruned = {"before": {"params": 1000, "macs": 4000}, "verification": {"passed": True}}
    rows = [
        {"model": model, "runtime": "onnxruntime", "median_ms": ms, "q1_ms": ms, "q3_ms": ms}
        | {"ratio": ms / 9.0, "speedup": 9.0 / ms, "same_runtime_ratio": ms / 9.0}
        for model, ms in (("out/01-dense/model", 9.0), ("out/02-small", 3.0))
    ]
    steps = [
        step("01-dense", "train", "net.cfg", metrics(0.974), (1000, 4000)),
        step("02-small", "prune", "out/01-dense/model", pruned, (300, 2800)),
        step("03-eval", "eval", "out/02-small", metrics(0.003)),
        step("04-bench", "bench", "out/01-dense/model out/02-small", {"rows": rows}),
    ]
    head = {"schema": "sapwood.run/1", "sapwood": "0.2.0", "model": "net.cfg", "num_steps": 4, "made": MADE}
    return {**head, "steps": steps, "earlier": []}
