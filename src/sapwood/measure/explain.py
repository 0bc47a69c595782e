"""Where the time of a network goes, layer by layer, before and after pruning, and why it did not fall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sapwood.layer_times import NO_LAYER, TELLING_SHARE
from sapwood.measure.layer_latency import LatencyModel, Sample

AS_EXPECTED = 0.1
"""A layer whose time fell to within this of its work's ratio needs no explanation."""

PADDED = 1.1
"""Work counted in multiples of the step over the work itself, from which on widths are called a bad fit."""


@dataclass(frozen=True)
class LayerChange:
    """One layer before and after.

    Attributes:
        layer: Module path; ``"(runtime)"`` and ``"(overhead)"`` are time that belongs to none.
        before_ms: Its time in the dense network, without layers in it.
        after_ms: Its time in the pruned one; None where there is none.
        macs_before: Its multiply-accumulates in the dense network.
        macs_after: And in the pruned one.
        reason: Why its time did not fall as its work did; empty where it did, where it hardly matters, or where the
            clock cannot tell the two times apart.
    """

    layer: str
    before_ms: float
    after_ms: float | None
    macs_before: float
    macs_after: float | None
    reason: str = ""

    @property
    def ratio(self) -> float | None:
        """Time after over time before."""
        return None if self.after_ms is None or not self.before_ms else self.after_ms / self.before_ms


def explain(
    dense: Sample, pruned: Sample, model: LatencyModel | None = None, frozen: Mapping[str, str] | None = None
) -> tuple[LayerChange, ...]:
    """Compares two runs layer by layer, the slowest first.

    Args:
        dense: The unpruned network.
        pruned: The pruned one.
        model: The fit of the runtime's times, which tells compute, memory traffic and fixed costs apart.
        frozen: Layers that could not lose channels -> the reason.

    Returns:
        A row a layer that takes any time.
    """
    names = dict.fromkeys([*dense.layer_ms, *pruned.layer_ms])
    rows = []
    for name in names:
        before, after = dense.layer_ms.get(name, 0.0), pruned.layer_ms.get(name, 0.0)
        reason = ""
        if max(before / dense.total_ms, after / pruned.total_ms) >= TELLING_SHARE and after > 0.0:
            reason = _reason(name, dense, pruned, model, frozen or {})
        macs = [sample.work[1].get(name, (0.0,))[0] for sample in (dense, pruned)]
        rows.append(LayerChange(name, before, after, macs[0], macs[1], reason))
    return tuple(sorted((row for row in rows if row.before_ms or row.after_ms), key=lambda row: -row.before_ms))


def layers_alone(sample: Sample) -> tuple[LayerChange, ...]:
    """The layers of one network alone, the slowest first."""
    rows = [
        LayerChange(name, time, None, sample.work[1].get(name, (0.0,))[0], None)
        for name, time in sample.layer_ms.items()
    ]
    return tuple(sorted((row for row in rows if row.before_ms), key=lambda row: -row.before_ms))


def _reason(name: str, dense: Sample, pruned: Sample, model: LatencyModel | None, frozen: Mapping[str, str]) -> str:
    """Why a layer's time did not fall as its work did; empty where it did."""
    before, after = dense.layer_ms.get(name, 0.0), pruned.layer_ms[name]
    if name in NO_LAYER:
        return NO_LAYER[name]
    old, new = dense.work[1].get(name), pruned.work[1].get(name)
    if not before or old is None or new is None:
        return ""
    main = 0 if old[0] else 2
    share = new[main] / old[main] if old[main] else 1.0
    if after / before <= share + AS_EXPECTED and share < 1.0 - AS_EXPECTED:
        return ""
    if share >= 1.0 - 1e-9:
        return f"keeps all of its work: {frozen[name]}" if name in frozen else "keeps all of its work"
    if after / before <= share + AS_EXPECTED or _overlap(dense.quartiles.get(name), pruned.quartiles.get(name)):
        return ""
    return _limit(name, pruned, model)


def _overlap(before: tuple[float, float] | None, after: tuple[float, float] | None) -> bool:
    """Whether the middle halves of two timings share a time: what lies between them may be the clock's alone."""
    return before is not None and after is not None and before[0] <= after[1] and after[0] <= before[1]


def _limit(name: str, pruned: Sample, model: LatencyModel | None) -> str:
    """What a pruned layer's time is made of, where that is not the arithmetic that is left."""
    if model is None or name not in model.layers:
        return "less work, done less efficiently"
    fit = model.layers[name]
    counted, plain = pruned.work[model.step][name], pruned.work[1][name]
    if plain[0] and counted[0] > PADDED * plain[0]:
        return (
            f"its widths are no multiples of {model.step}, in which this runtime counts: "
            f"{counted[0] / plain[0]:.2f} times the work"
        )
    compute, reads, writes = (rate * amount for rate, amount in zip(fit.ms_per, counted, strict=True))
    total = fit.fixed_ms + compute + reads + writes
    if not total:
        return "less work, done less efficiently"
    if reads + writes >= max(compute, fit.fixed_ms):
        return f"bound by memory: {(reads + writes) / total:.0%} of its time goes with the maps it reads and writes"
    if fit.fixed_ms >= compute:
        return f"{fit.fixed_ms / total:.0%} of its time is a fixed cost that no width changes"
    return "less work, done less efficiently"
