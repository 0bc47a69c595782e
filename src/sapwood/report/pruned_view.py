"""The tables of the pages of `prune`, `compact` and `inspect`: what stands in each cell, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapwood.report import formats, view
from sapwood.report.latency import TimeRow, speed_text
from sapwood.report.pruned_record import Inspection, LayerWidths, Pruning, Whole
from sapwood.report.sensitivity import GroupTrials, trial_text
from sapwood.report.shrinking import few, shape_text

Cells = tuple[str, ...]


@dataclass(frozen=True)
class TextTable:
    """A table of text: the titles of its columns, whether the columns are figures, and its rows."""

    label: str
    titles: Cells
    figures: tuple[bool, ...]
    rows: tuple[Cells, ...]


def size_rows(pruning: Pruning) -> TextTable:
    """Returns parameters, MACs and bytes before and after."""
    before, after = pruning.before, pruning.after
    rows: tuple[Cells, ...] = (
        ("parameters", formats.count(before.params), formats.count(after.params), _kept(before.params, after.params)),
        ("MACs", formats.count(before.macs), formats.count(after.macs), _kept(before.macs, after.macs)),
        (
            "file",
            formats.megabytes(before.file_bytes),
            formats.megabytes(after.file_bytes),
            _kept(before.file_bytes, after.file_bytes),
        ),
    )
    if pruning.latency is not None:
        times = pruning.latency
        cells = formats.milliseconds(times.dense_ms), formats.milliseconds(times.pruned_ms)
        rows = (*rows, ("time", *cells, formats.percent(times.ratio)))
    return TextTable("Size before and after", ("", "before", "after", "kept"), (False, True, True, True), rows)


def width_rows(pruning: Pruning) -> TextTable:
    """Returns every layer with work: its weight and its MACs before and after."""
    titles = ("layer", "kind", "weight before", "after", "channels kept", "MACs before", "after", "kept")
    layers = [layer for layer in pruning.layers if layer.before.macs]
    return TextTable("Layers", titles, (False, False, *[True] * 6), tuple(_width_cells(layer) for layer in layers))


def time_table(rows: Sequence[TimeRow]) -> TextTable:
    """Returns the layers' times in numbers; of two networks, or of one."""
    if rows and rows[0].after_ms is None:
        titles: Cells = ("layer", "time", "share", "MACs", "GMAC/s", "what it is")
        cells: list[Cells] = [
            (
                row.name,
                formats.milliseconds(row.before_ms),
                formats.percent(row.share_before),
                formats.count(row.macs_before or None),
                speed_text(row),
                row.reason,
            )
            for row in rows
        ]
    else:
        titles = ("layer", "before", "after", "time kept", "MACs kept", "share before", "after", "why not less")
        cells = [
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
        ]
    figures = (False, *[True] * (len(titles) - 2), False)
    return TextTable("Time of the layers", titles, figures, tuple(cells))


def whole_rows(unpruned: Sequence[Whole]) -> TextTable:
    """Returns what stayed whole, a row a reason."""
    by_reason: dict[str, list[str]] = {}
    for entry in unpruned:
        by_reason.setdefault(entry.reason.partition(" in module ")[0], []).append(f"{entry.tensor}[{entry.dim}]")
    rows = tuple(
        (reason, str(len(names)), few(names)) for reason, names in sorted(by_reason.items(), key=lambda e: -len(e[1]))
    )
    return TextTable("What stays whole", ("reason", "how many", "as"), (False, True, False), rows)


def group_rows(inspection: Inspection) -> TextTable:
    """Returns the channel groups."""
    rows = tuple(
        (group.name, str(group.channels), str(len(group.members)), few([n for n in group.members if n != group.name]))
        for group in inspection.groups
    )
    titles = ("group", "channels", "members", "as")
    return TextTable("Channel groups", titles, (False, True, True, False), rows)


def layer_rows(inspection: Inspection) -> TextTable:
    """Returns the layers of a model."""
    rows = tuple(
        (
            layer.name or "(the model)",
            layer.kind,
            shape_text(layer.shape),
            formats.count(layer.num_params),
            formats.count(layer.macs or None),
            formats.percent(layer.macs / inspection.macs if inspection.macs and layer.macs else None),
        )
        for layer in inspection.layers
    )
    titles = ("layer", "kind", "weight", "parameters", "MACs", "of all")
    return TextTable("Layers", titles, (False, False, True, True, True, True), rows)


def loss_rows(columns: Sequence[float], groups: Sequence[GroupTrials]) -> TextTable:
    """Returns what pruning each group alone costs: a row a group, a column a fraction kept."""
    titles = ("group", "channels", *(f"{formats.percent(fraction)} kept" for fraction in columns))
    rows = tuple((group.name, str(group.num_channels), *map(trial_text, group.cells)) for group in groups)
    return TextTable("Sensitivity of each group", titles, (False, *[True] * (len(titles) - 1)), rows)


def condition_rows(*parts: dict[str, Any], files: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
    """Returns what the figures hold under, name and text each; later parts win. Files stand below, by themselves.

    Example:
        >>> condition_rows({"weights": "dense.weights"}, files={"weights": "small/model.weights"})
        (('Weights', 'dense.weights'), ('Written: weights', 'small/model.weights'))
    """
    merged: dict[str, Any] = {}
    for part in parts:
        merged.update({name: value for name, value in part.items() if value not in (None, [], {}, "")})
    merged.update({f"written: {name}": path for name, path in (files or {}).items()})
    return tuple((name, text) for name, text in (view.condition(*item) for item in merged.items()) if text)


def _width_cells(layer: LayerWidths) -> Cells:
    before, after = layer.before, layer.after
    return (
        layer.name or "(the model)",
        layer.kind,
        shape_text(before.shape),
        shape_text(after.shape),
        f"{layer.channels[1]} of {layer.channels[0]}",
        formats.count(before.macs),
        formats.count(after.macs),
        _kept(before.macs, after.macs),
    )


def _kept(before: float, after: float) -> str:
    return formats.percent(after / before if before else None)
