"""Where every case stands on every runtime: one scale of time, and whether its accuracy is of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sapwood.report.records import CaseResult, Comparison, Latency

KEEPS = 0.95
"""A case that has this share of the baseline's accuracy left counts as keeping it."""
KEEPS_OTHERS = 0.9
"""The same of the accuracy's other figures, of which some are stricter."""
LOSES = 0.5
"""A case that has less than this share left counts as broken."""
CLEARLY = 0.05
"""Times nearer than this to the baseline's, or nearer than their own spread, count as the same time."""

REFERENCE = "onnxruntime"
WHERE: Mapping[str, str] = {
    "torch": "in PyTorch",
    "onnxruntime": "in ONNX Runtime",
    "sapwood": "on Sapwood's engine",
}
NAMES: Mapping[str, str] = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "sapwood": "Sapwood's engine"}
"""Runtimes, as a reader knows them."""


@dataclass(frozen=True)
class Standing:
    """A case on a runtime.

    Attributes:
        case: The case.
        runtime: A key of :data:`NAMES`.
        ratio: Its time over that of the unpruned network on the reference runtime.
        low: Lower quartile of that ratio.
        high: Upper quartile.
        ms: Its time in milliseconds.
        own_ratio: Its time over that of the unpruned network on the same runtime.
    """

    case: CaseResult
    runtime: str
    ratio: float
    low: float
    high: float
    ms: float
    own_ratio: float

    @property
    def speedup(self) -> float:
        """How many times as fast it is as the unpruned network on the reference runtime."""
        return 1.0 / self.ratio

    @property
    def faster(self) -> bool:
        """Clearly, by more than its own spread; and not because of the runtime alone."""
        spread = max(CLEARLY, self.high - self.low)
        return self.ratio < 1.0 - spread and self.own_ratio < 1.0 - CLEARLY


def reference(comparison: Comparison) -> str:
    """The runtime on which the unpruned network is what all times are held against."""
    return REFERENCE if REFERENCE in comparison.baseline.runtimes else "torch"


def retained(case: CaseResult, comparison: Comparison) -> float | None:
    """Returns the share of the baseline's accuracy that a case has left; None where either is unknown or that is 0."""
    dense = comparison.baseline.value
    return None if not dense or case.value is None else case.value / dense


def keeps(case: CaseResult, comparison: Comparison) -> bool:
    """Whether a case's accuracy is of use: all of its figures are near the unpruned network's."""
    share, dense = retained(case, comparison), comparison.baseline.accuracy
    if share is None or dense is None or case.accuracy is None or share < KEEPS:
        return False
    others = ((case.accuracy.metrics.get(name), value) for name, value in dense.metrics.items())
    return all(own is None or value <= 0.0 or own >= KEEPS_OTHERS * value for own, value in others)


def standings(comparison: Comparison) -> tuple[Standing, ...]:
    """Every case that has a time and an accuracy, on every runtime that it was timed on."""
    return tuple(one for case in comparison.cases if case.done for one in _of_case(case, comparison))


def usable(comparison: Comparison) -> tuple[Standing, ...]:
    """The cases that are clearly faster and keep their accuracy, the fastest first."""
    found = [
        one
        for one in standings(comparison)
        if one.case is not comparison.baseline
        and one.faster
        and keeps(one.case, comparison)
        and (one.runtime != "torch" or reference(comparison) == "torch")
    ]
    return tuple(sorted(found, key=lambda one: one.ratio))


def _of_case(case: CaseResult, comparison: Comparison) -> Iterator[Standing]:
    dense = comparison.baseline
    base = dense.runtimes.get(REFERENCE)
    if base is None:
        yield from _against_torch(case, dense)
        return
    if case.latency is not None and dense.latency is not None:
        scale = dense.latency.median_ms / base.median_ms
        yield _standing(case, "torch", case.latency, scale=scale, base=base, own=1.0)
    for runtime, latency in case.runtimes.items():
        own = dense.runtimes.get(runtime)
        yield _standing(case, runtime, latency, base=base, own=own.ratio if own else 1.0)


def _against_torch(case: CaseResult, dense: CaseResult) -> Iterator[Standing]:
    base = dense.latency
    if base is None:
        return
    if case.latency is not None:
        yield _standing(case, "torch", case.latency, base=base, own=1.0)
    if case.engine is not None:
        yield _standing(case, "sapwood", case.engine, base=base, own=dense.engine.ratio if dense.engine else 1.0)


def _standing(
    case: CaseResult, runtime: str, latency: Latency, *, base: Latency, own: float, scale: float = 1.0
) -> Standing:
    """``own`` is the unpruned network's ratio on the same runtime; ``scale`` brings ratios to the reference's."""
    ratio, low, high = (scale * one for one in (latency.ratio, latency.ratio_q25, latency.ratio_q75))
    return Standing(case, runtime, ratio, low, high, ratio * base.median_ms, latency.ratio / own)
