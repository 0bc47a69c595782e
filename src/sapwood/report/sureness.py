"""How far an accuracy depends on which pictures were at hand: from samples of them, drawn with replacement."""

from __future__ import annotations

from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.records import CaseResult, Comparison, middle


@dataclass(frozen=True)
class Interval:
    """Between which values 95 of 100 samples are."""

    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2.0


def interval(values: tuple[float, ...]) -> Interval:
    """The middle 95 % of the values.

    Examples:
        >>> interval(tuple(float(number) for number in range(101)))
        Interval(low=2.5, high=97.5)
    """
    return Interval(*middle(values))


def accuracy_interval(case: CaseResult) -> Interval | None:
    """Of a case's primary figure; None where samples were not measured."""
    values = case.accuracy.resampled if case.accuracy else None
    return interval(values) if values else None


def loss_interval(case: CaseResult, comparison: Comparison) -> Interval | None:
    """Of how much of the primary figure was lost, on the same samples; None where samples were not measured."""
    dense, own = comparison.baseline.accuracy, case.accuracy
    if dense is None or own is None or not dense.resampled or not own.resampled:
        return None
    if len(dense.resampled) != len(own.resampled) or dense.num_images != own.num_images:
        return None
    return interval(tuple(before - after for before, after in zip(dense.resampled, own.resampled, strict=True)))


def within_noise(case: CaseResult, comparison: Comparison) -> bool:
    """Whether other pictures of the same kind may as well have shown no loss."""
    lost = loss_interval(case, comparison)
    return lost is not None and case is not comparison.baseline and lost.low <= 0.0 <= lost.high


def sure_text(case: CaseResult) -> str:
    """Writes half of a case's interval.

    Examples:
        >>> sure_text(CaseResult(name="a", kind="mask", family="a"))
        ''
    """
    found = accuracy_interval(case)
    return "" if found is None else f"± {formats.score(found.half)}"
