"""Records of pruning and inspecting, written by hand so that every figure can be checked by eye."""

from __future__ import annotations

from typing import Any


def layer_time(
    name: str, before: float, after: float | None, macs: tuple[float, float | None], reason: str = ""
) -> Any:
    return {
        "layer": name,
        "before_ms": before,
        "after_ms": after,
        "macs_before": macs[0],
        "macs_after": macs[1],
        "reason": reason,
    }


def layer(name: str, before: list[int], after: list[int], macs: tuple[int, int], kind: str = "Conv2d") -> Any:
    return {
        "name": name,
        "kind": kind,
        "before": {"shape": before, "macs": macs[0]},
        "after": {"shape": after, "macs": macs[1]},
    }


SENSITIVITY = {
    "figure": "loss",
    "dense": 0.5,
    "rows": [
        {"group": "a.weight[0]", "num_channels": 16, "kept": [2, 4, 8, 12], "losses": [4.0, 1.0, 0.25, -0.01]},
        {"group": "b.weight[0]", "num_channels": 3, "kept": [1, 2], "losses": [0.04, 0.01]},
    ],
}

CONDITIONS = {"cpu": "A CPU @ 2.60GHz", "runtime": "torch", "threads": 1, "memory_bytes": 16_400_000_000}


def latency() -> dict[str, Any]:
    """10 ms of layers before, 5 ms after."""
    return {
        "target": 0.5,
        "met": True,
        "ratio": 0.51,
        "ratio_q1": 0.5,
        "ratio_q3": 0.52,
        "predicted": 0.48,
        "dense_ms": 9.0,
        "pruned_ms": 4.59,
        "attempts": [{"predicted": 0.5, "measured": 0.55}, {"predicted": 0.48, "measured": 0.51}],
        "fit_error": 0.06,
        "layers": [
            layer_time("b", 2.8, 1.9, (2e6, 1e6), "bound by memory: 80% of its time goes with the maps"),
            layer_time("a", 7.0, 3.0, (8e6, 4e6)),
            layer_time("c", 0.05, 0.04, (1e3, 1e3)),
            layer_time("d", 0.05, 0.02, (0.0, 0.0)),
            layer_time("(runtime)", 0.06, 0.03, (0.0, 0.0)),
            layer_time("(overhead)", 0.04, 0.01, (0.0, 0.0)),
        ],
        "conditions": CONDITIONS,
    }


RECOVERY = {
    "method": "distill",
    "num_pictures": 8,
    "seconds": 1.5,
    "layers": [
        {"layer": "b", "error_before": 0.5, "error_after": 0.125, "damping": 0.1, "num_rows": 9, "num_unknowns": 4}
    ],
    "left_alone": {"c": "has no inputs"},
    "checks": [{"step": 0, "divergence": 0.4}, {"step": 5, "divergence": 0.1}],
    "best_step": 5,
    "norms": [],
}


def prune_record() -> dict[str, Any]:
    return {
        "schema": "sapwood.prune/1",
        "verb": "prune",
        "sapwood": "0.1.0",
        "date": "2026-11-24T14:05:00+00:00",
        "model": "net.cfg",
        "options": {"latency": 0.5, "criterion": "l2"},
        "before": {"params": 2000, "macs": 10_001_000, "file_bytes": 8200, "uncounted": ["aten.fft_fft"]},
        "after": {"params": 500, "macs": 5_001_000, "file_bytes": 2200, "uncounted": []},
        "layers": [
            layer("a", [16, 3, 3, 3], [8, 3, 3, 3], (8_000_000, 4_000_000)),
            layer("b", [16, 8, 2, 2], [8, 2, 2, 2], (2_000_000, 1_000_000), "ConvTranspose2d"),
            layer("bn", [16], [8], (0, 0), "BatchNorm2d"),
        ],
        "verification": {
            "max_abs_error": 2.5e-16,
            "dtype": "float64",
            "passed": True,
            "pooled_norms": [],
            "distance_from_dense": 0.42,
        },
        "unpruned": [
            {"tensor": "c.weight", "dim": 0, "reason": "is an output of the model in module 'c'"},
            {"tensor": "c.bias", "dim": 0, "reason": "is an output of the model in module 'c'"},
        ],
        "latency": latency(),
        "sensitivity": SENSITIVITY,
        "files": {"saved": "small"},
    }


def inspect_record() -> dict[str, Any]:
    return {
        "schema": "sapwood.inspect/1",
        "model": "net.cfg",
        "params": 2000,
        "macs": 10_000_000,
        "file_bytes": 8200,
        "uncounted": [],
        "layers": [{"name": "a", "kind": "Conv2d", "shape": [16, 3, 3, 3], "num_params": 448, "macs": 8_000_000}],
        "groups": [{"name": "a.weight[0]", "channels": 16, "members": ["a.weight[0]", "a.bias[0]", "b.weight[1]"]}],
        "unpruned": [{"tensor": "c.weight", "dim": 0, "reason": "is an output of the model"}],
        "latency": {
            "total_ms": 10.0,
            "layers": [
                layer_time("a", 8.0, None, (8e6, None)),
                layer_time("(overhead)", 2.0, None, (0.0, None)),
            ],
            "conditions": CONDITIONS,
        },
        "sensitivity": SENSITIVITY,
    }
