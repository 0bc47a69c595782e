"""The network in order, from its input to its output: how wide each layer was, is, and how full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sapwood.report import formats
from sapwood.report.records import CaseResult, Comparison, Layer, Pruning

MAPS = 60
"""Maps of zeros that a page shows at most."""


@dataclass(frozen=True)
class Stage:
    """One layer: its widths in percent of the widest, and in words."""

    name: str
    before: float
    after: float
    text: str
    title: str


@dataclass(frozen=True)
class NetworkPlot:
    """The layers in order, and the plot in words."""

    stages: tuple[Stage, ...]
    summary: str


@dataclass(frozen=True)
class ZeroMap:
    """Where a weight's numbers are: a path of squares a level of density, in a box of ``columns`` x ``rows``."""

    name: str
    text: str
    columns: int
    rows: int
    levels: tuple[tuple[float, str], ...]


def pruned_network(pruning: Pruning) -> NetworkPlot | None:
    """The layers with work of a pruned network; None where no layer has any."""
    layers = [layer for layer in pruning.layers if layer.before.macs and layer.channels[0]]
    return _plot([(layer.name, *layer.channels) for layer in layers])


def compared_network(case: CaseResult, comparison: Comparison) -> NetworkPlot | None:
    """The weights of a case beside the unpruned network's; None where their widths are not told or are the same."""
    before, after = (_widths(one) for one in (comparison.baseline, case))
    rows = [(name, width, after[name]) for name, width in before.items() if name in after]
    return _plot(rows) if any(was != now for _, was, now in rows) else None


def zero_maps(case: CaseResult) -> tuple[ZeroMap, ...]:
    """Where the non-zeros of a case's weights are, weight by weight."""
    return tuple(_map(layer) for layer in case.layers if layer.density is not None)[:MAPS]


def _widths(case: CaseResult) -> dict[str, int]:
    return {
        layer.name.removesuffix(".weight"): layer.shape[0]
        for layer in case.layers
        if layer.shape is not None and len(layer.shape) > 1
    }


def _plot(rows: Sequence[tuple[str, int, int]]) -> NetworkPlot | None:
    if not rows:
        return None
    widest = max(before for _, before, _ in rows)
    stages = tuple(
        Stage(
            name or "(the model)",
            round(100.0 * before / widest, 2),
            round(100.0 * after / widest, 2),
            f"{before} → {after}" if after != before else str(before),
            f"{name}: {after} of {before} output channels ({formats.percent(after / before)})",
        )
        for name, before, after in rows
    )
    whole = sum(before == after for _, before, after in rows)
    name, before, after = min(rows, key=lambda row: row[2] / row[1])
    summary = (
        f"{whole} of {len(rows)} layers keep all of their output channels; {name} keeps the fewest, {after} of {before}"
    )
    return NetworkPlot(stages, summary)


def _map(layer: Layer) -> ZeroMap:
    """Squares of one density that stand side by side in a row are one rectangle."""
    rows = (layer.density or "0").split("/")
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            end = x
            while end < len(row) and row[end] == row[x]:
                end += 1
            if row[x] != "0":
                paths.setdefault(int(row[x]), []).append(f"M{x} {y}h{end - x}v1H{x}z")
            x = end
    levels = tuple((round(level / 9.0, 2), "".join(parts)) for level, parts in sorted(paths.items()))
    return ZeroMap(layer.name, f"{formats.percent(layer.sparsity)} zeros", len(rows[0]), len(rows), levels)
