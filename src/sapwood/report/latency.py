"""Where the time goes, layer by layer: the tables, and the rows that they and the plots show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapwood.layer_times import NO_LAYER, TELLING_SHARE
from sapwood.report import formats
from sapwood.report.names import runtime_name
from sapwood.report.noise import noise_text
from sapwood.report.records import LayerLatency, LayerTime, TargetLatency, TimedTarget, make_part
from sapwood.report.table import TextTable, columns

THE_MODEL = "(the model itself)"
"""Stands for the empty path: work that is in no module of the model."""


@dataclass(frozen=True)
class TimeRow:
    """One layer's time, or that of several small ones together.

    Attributes:
        name: Path of the layer, or ``"12 others"``.
        before_ms: In the dense network.
        after_ms: In the pruned one; None where only one network was timed.
        share_before: Of all that the dense network's layers take.
        share_after: The same of the pruned one.
        macs_before: Multiply-accumulates.
        macs_after: And in the pruned network.
        reason: Why the time did not fall, or what the time is.
        num_layers: How many it stands for.
    """

    name: str
    before_ms: float
    after_ms: float | None
    share_before: float
    share_after: float | None
    macs_before: float
    macs_after: float | None
    reason: str = ""
    num_layers: int = 1

    @property
    def ratio(self) -> float | None:
        """Time after over time before."""
        return None if self.after_ms is None or not self.before_ms else self.after_ms / self.before_ms

    @property
    def macs_ratio(self) -> float | None:
        """Work after over work before."""
        return None if self.macs_after is None or not self.macs_before else self.macs_after / self.macs_before


def time_rows(layers: Sequence[LayerTime]) -> tuple[TimeRow, ...]:
    """Returns the layers that matter, slowest first, and one row for all that take less than 1 % before and after.

    Examples:
        >>> small = {"before_ms": 0.001, "after_ms": 0.001, "macs_before": 0, "macs_after": 0}
        >>> tiny = [LayerTime(layer=name, **small) for name in ("a", "b")]
        >>> big = LayerTime(layer="conv", before_ms=2.0, after_ms=1.0, macs_before=8, macs_after=4)
        >>> [(row.name, row.ratio, row.macs_ratio) for row in time_rows([*tiny, big])]
        [('conv', 0.5, 0.5), ('2 others', 1.0, None)]
    """
    before = sum(layer.before_ms for layer in layers)
    after = sum(layer.after_ms or 0.0 for layer in layers)
    shown: list[LayerTime] = []
    small: list[LayerTime] = []
    for layer in sorted(layers, key=lambda layer: -layer.before_ms):
        shares = (_share(layer.before_ms, before), _share(layer.after_ms or 0.0, after))
        tiny = max(shares) < TELLING_SHARE and layer.layer not in NO_LAYER
        (small if tiny else shown).append(layer)
    rows = [_row([layer], before, after) for layer in shown]
    return tuple([*rows, _row(small, before, after)] if small else rows)


def latency_table(latency: TargetLatency | Mapping[str, Any]) -> TextTable:
    """Returns how a latency target was met, and where the time went before and after.

    Args:
        latency: The ``latency`` of a record of ``sapwood prune``.
    """
    timed = make_part(TargetLatency, latency)
    titles = ("layer", "before", "after", "time kept", "MACs kept", "share before", "after", "why not less")
    rows = time_rows(timed.layers)
    return TextTable(
        "Time of the layers",
        columns(*titles, words=["why not less"]),
        tuple(
            (
                row.name,
                formats.milliseconds(row.before_ms),
                formats.milliseconds(row.after_ms),
                formats.times(row.ratio),
                formats.times(row.macs_ratio),
                formats.percent(row.share_before),
                formats.percent(row.share_after),
                row.reason,
            )
            for row in rows
        ),
        heading=target_text(timed),
        heading_look="bold" if timed.met else "bold red",
        notes=_notes(timed, tells_layers=bool(rows)),
        min_width=100,
    )


def inspect_latency_table(latency: LayerLatency | Mapping[str, Any]) -> TextTable:
    """Returns where the time of a model goes, slowest layer first.

    Args:
        latency: The ``latency`` of a record of ``sapwood inspect --latency``.
    """
    timed = make_part(LayerLatency, latency)
    where = f"time of the layers on {deployment_text(timed.conditions)}: {formats.milliseconds(timed.total_ms)}"
    return TextTable(
        "Time of the layers",
        columns("layer", "time", "share", "MACs", "GMAC/s", "what it is", words=["what it is"]),
        tuple(
            (
                row.name,
                formats.milliseconds(row.before_ms),
                formats.percent(row.share_before),
                formats.count(row.macs_before or None),
                speed_text(row),
                row.reason,
            )
            for row in time_rows(timed.layers)
        ),
        heading=where,
        notes=(f"CPU: {timed.conditions.get('cpu') or 'unknown'}" + noise_text(timed.spread or 0.0),),
    )


def speed_text(row: TimeRow) -> str:
    """Writes a layer's work over its time, in 10^9 multiply-accumulates a second.

    Examples:
        >>> speed_text(TimeRow("conv", 2.0, None, 1.0, None, 30e6, None))
        '15.0'
    """
    if not row.macs_before or not row.before_ms:
        return formats.MISSING
    return formats.three(row.macs_before / row.before_ms / 1e6)


def target_text(latency: TimedTarget) -> str:
    """Says what was asked for, what was measured, and whether that is near enough."""
    verdict = "met" if latency.met else "missed"
    noise = noise_text(latency.ratio_q3 - latency.ratio_q1)
    if latency.target_ms is not None:
        return f"latency target {latency.target_ms:g} ms {verdict}: {_milliseconds_text(latency)}" + noise
    goal = "latency" if latency.target is None else f"latency target {latency.target:g}× {verdict}"
    return (
        f"{goal}: {latency.ratio:.3f}× measured on {deployment_text(latency.conditions)} (half of the rounds "
        f"{latency.ratio_q1:.3f} to {latency.ratio_q3:.3f}), {formats.milliseconds(latency.dense_ms)} before, "
        f"{formats.milliseconds(latency.pruned_ms)} after; the ratio is the median of those of the rounds" + noise
    )


def _milliseconds_text(latency: TimedTarget) -> str:
    """What was measured where a time was asked for."""
    quarters = [formats.milliseconds(ratio * latency.dense_ms) for ratio in (latency.ratio_q1, latency.ratio_q3)]
    return (
        f"{formats.milliseconds(latency.pruned_ms)} measured on {deployment_text(latency.conditions)} (half of the "
        f"rounds {' to '.join(quarters)}), {formats.milliseconds(latency.dense_ms)} before; {latency.ratio:.3f}× is "
        "the ratio of both medians"
    )


def deployment_text(conditions: Mapping[str, Any]) -> str:
    """Names a runtime and its threads.

    Examples:
        >>> deployment_text({"runtime": "torch", "threads": 1})
        'torch, 1 thread'
        >>> deployment_text({"runtime": "torch", "threads": 1, "timed_by": "the processor's time"})
        "torch, 1 thread, by the processor's time, for other work interrupted calls"
    """
    threads = conditions.get("threads")
    batch = conditions.get("batch")
    parts = [str(conditions.get("runtime", "an unknown runtime"))]
    if threads is not None:
        parts.append(f"{threads} thread" + ("" if threads == 1 else "s"))
    if batch is not None:
        parts.append(f"batches of {batch}")
    if conditions.get("timed_by") is not None:
        parts.append(f"by {conditions['timed_by']}, for other work interrupted calls")
    return ", ".join(parts)


def place_text(conditions: Mapping[str, Any]) -> str:
    """The same for a page: the runtime as a reader knows it.

    Examples:
        >>> place_text({"runtime": "onnxruntime", "threads": 2})
        'ONNX Runtime, 2 threads'
    """
    return deployment_text(
        {**conditions, "runtime": runtime_name(str(conditions.get("runtime", "an unknown runtime")))}
    )


def _notes(latency: TargetLatency, *, tells_layers: bool) -> tuple[str, ...]:
    tried = ", ".join(f"{one.predicted:.3f} -> {one.measured:.3f}" for one in latency.attempts)
    count = len(latency.attempts)
    whole = (
        "layers are timed in runs of their own, whose sum can differ from the time of the whole network; no reason is "
        "looked for where the middle halves of a layer's two timings overlap"
    )
    return (
        f"{count} attempt{'' if count == 1 else 's'}, predicted -> measured: {tried}; the best one was taken",
        f"fitted layer times are off by {formats.percent(latency.fit_error)} (median over whole networks)",
        whole if tells_layers else "this runtime does not tell layers apart",
    )


def _row(layers: Sequence[LayerTime], before: float, after: float) -> TimeRow:
    before_ms = sum(layer.before_ms for layer in layers)
    after_ms = _sum_if_all(layer.after_ms for layer in layers)
    first, single = layers[0], len(layers) == 1
    return TimeRow(
        name=(first.layer or THE_MODEL) if single else f"{len(layers)} others",
        before_ms=before_ms,
        after_ms=after_ms,
        share_before=_share(before_ms, before),
        share_after=None if after_ms is None else _share(after_ms, after),
        macs_before=sum(layer.macs_before for layer in layers),
        macs_after=_sum_if_all(layer.macs_after for layer in layers),
        reason=(first.reason or NO_LAYER.get(first.layer, "")) if single else "",
        num_layers=len(layers),
    )


def _sum_if_all(parts: Iterable[float | None]) -> float | None:
    """The sum of parts that are all known."""
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
