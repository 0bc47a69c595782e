"""``sapwood compile``: what is to be told of a compiled network, beside the model that it was made of."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.export import plain_copy, relative_error, run_flat
from sapwood.measure import SPIN_DOWN, LatencyTable, measure_latency
from sapwood.runtime import CompiledModel

ROUNDS = 20
RUNS = 5
"""In which every operation is timed."""
SECONDS = 10.0
"""After so many no further round begins."""


def compiled_figures(compiled: CompiledModel, model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Any]:
    """Measures a compiled network beside the model in PyTorch: fields of :class:`sapwood.report.Compiling`.

    Args:
        compiled: The network.
        model: What it was compiled from; masks of ``torch.nn.utils.prune`` are plain zeros in what is timed.
        inputs: Tensors, one example each.

    Raises:
        MeasureError: If one of the two fails.
    """
    total, nonzeros = (sum(getattr(step, name) for step in compiled.steps) for name in ("weights", "nonzeros"))
    plain = plain_copy(model).eval()
    table = _times(compiled, plain, tuple(inputs))
    row = table["compiled"]
    return {
        "zeros": 1.0 - nonzeros / total if total else 0.0,
        "threads": compiled.threads,
        "run_by": compiled.choice.taken,
        "tried_ms": dict(compiled.choice.wholes),
        "in_pytorch": _outside(compiled),
        "median_ms": row.median_ms,
        "beside": {
            "pytorch_ms": table["pytorch"].median_ms,
            "compiled_ms": row.median_ms,
            "ratio": row.ratio,
            "ratio_q1": row.ratio_q1,
            "ratio_q3": row.ratio_q3,
            "rounds": table.conditions["rounds"],
        },
        "max_relative_error": relative_error(run_flat(compiled, tuple(inputs)), run_flat(plain, tuple(inputs))),
        "steps": _steps(compiled, inputs),
    }


def _times(compiled: CompiledModel, plain: nn.Module, inputs: tuple[Tensor, ...]) -> LatencyTable:
    def in_pytorch() -> object:
        with torch.inference_mode():
            return plain(*inputs)

    calls = {"pytorch": in_pytorch, "compiled": lambda: compiled(*inputs)}
    pause = 0.0 if compiled.threads == 1 else SPIN_DOWN
    return measure_latency(
        calls, baseline="pytorch", rounds=ROUNDS, seconds=SECONDS, threads=compiled.threads, pause=pause
    )


def _outside(compiled: CompiledModel) -> list[dict[str, str]]:
    return [
        {"op": str(node.op.overloadpacket), "module": node.label, "location": node.location, "reason": node.reason}
        for node in compiled.outside
    ]


def _steps(compiled: CompiledModel, inputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Its operations in order, with the median milliseconds of a few runs: one alone may be disturbed."""
    runs = [compiled.timed(*inputs) for _ in range(RUNS)]
    return [
        {
            "module": step.label or ("(engine)" if step.own else "(model)"),
            "operation": step.kind + ", dense" * step.dense,
            "weights": step.weights,
            "zeros": 1.0 - step.nonzeros / step.weights if step.weights else 0.0,
            "ms": statistics.median(run[place][1] for run in runs),
        }
        for place, (step, _) in enumerate(runs[0])
    ]
