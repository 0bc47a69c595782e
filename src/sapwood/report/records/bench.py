"""The record of `sapwood bench`: the latency of models on runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class BenchRow:
    """One model on one runtime: times, or the reason why there are none.

    Attributes:
        model: What it is called.
        runtime: A name in :data:`sapwood.runtime.RUNTIMES`.
        median_ms: Of one call; None with a reason.
        q1_ms: Lower quartile.
        q3_ms: Upper quartile.
        ratio: To the first pair that ran, the median over the rounds.
        speedup: ``1 / ratio``.
        same_runtime_ratio: To the first model on the same runtime; None if that did not run.
        max_relative_error: Of the session's outputs against PyTorch's.
        reason: Why there are no times.
        check_failed: Whether that is because its outputs are not the model's.
    """

    model: str
    runtime: str
    median_ms: float | None = None
    q1_ms: float | None = None
    q3_ms: float | None = None
    ratio: float | None = None
    speedup: float | None = None
    same_runtime_ratio: float | None = None
    max_relative_error: float | None = None
    reason: str | None = None
    check_failed: bool = False


@dataclass(frozen=True)
class BenchRecord:
    """The latency of all models on all runtimes.

    Attributes:
        rows: Runtime by runtime, the models in the order given.
        baseline: Model and runtime that ``ratio`` is formed to; None if nothing ran.
        versions: Of each runtime that is there.
        conditions: Those of the measurement.
        schema: What the JSON is.
    """

    schema: Literal["sapwood.bench/1"] = field(default="sapwood.bench/1", kw_only=True)
    rows: tuple[BenchRow, ...]
    baseline: tuple[str, str] | None
    versions: Mapping[str, str]
    conditions: Mapping[str, Any]
