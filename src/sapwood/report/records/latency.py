"""Of the records: what was timed, and where the time goes."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import FiniteFloat

from sapwood.report.records.parts import Amount, Count, Fraction, RecordPart


class AttemptRecord(RecordPart):
    """A network that was made and measured."""

    predicted: Amount
    measured: Amount


class LayerTime(RecordPart):
    """A layer's time and work before and after; of one network only before. ``reason``: why it did not fall."""

    layer: str
    before_ms: Amount
    after_ms: Amount | None = None
    macs_before: Amount
    macs_after: Amount | None = None
    reason: str = ""


class TimedTarget(RecordPart):
    """What was asked for, what the clock said, and whether that is near enough.

    Attributes:
        target_ms: Where milliseconds were asked for; ``target`` is their ratio to ``dense_ms`` then.
    """

    target: Amount | None
    met: bool
    ratio: Amount
    ratio_q1: Amount
    ratio_q3: Amount
    dense_ms: Amount
    pruned_ms: Amount
    conditions: dict[str, Any]
    target_ms: Amount | None = None


class TargetLatency(TimedTarget):
    """How a latency target was met by removing channels; ``target`` is None where another one was, and it was timed.

    Attributes:
        tolerance: How far the ratio might be from the target, as a fraction of it; not told by 0.1.
        at_most: Whether any faster network would do; not told by 0.1.
    """

    sections: ClassVar[tuple[str, ...]] = ("tolerance", "at_most", "target_ms")

    predicted: Amount
    attempts: tuple[AttemptRecord, ...]
    fit_error: Amount
    layers: tuple[LayerTime, ...]
    tolerance: Amount | None = None
    at_most: bool | None = None


class LayerLatency(RecordPart):
    """What each layer of one network takes.

    Attributes:
        spread: What the middle half of the runs spans, as a fraction of the time; not told by runtimes that give
            medians only, and not by 0.2.
    """

    total_ms: Amount
    layers: tuple[LayerTime, ...]
    conditions: dict[str, Any]
    spread: Amount | None = None


class LayerZeros(RecordPart):
    """What a latency target for masks gave one weight, and how much worse that was expected to make it."""

    name: str
    num_params: Count
    sparsity: Fraction
    dense_ms: Amount
    masked_ms: Amount
    loss: FiniteFloat


class ZerosLatency(TimedTarget):
    """How a latency target was met by masks; ``attempts`` are ratios asked for, and measured."""

    attempts: tuple[tuple[Amount, Amount], ...] = ()
    sections: ClassVar[tuple[str, ...]] = ("target_ms",)

    figure: str
    layers: tuple[LayerZeros, ...]
