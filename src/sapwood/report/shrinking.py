"""The tables of `sapwood inspect`, `prune` and `compact`: what stands in each cell, on the console and on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sapwood.report import formats
from sapwood.report.agreement import agreement_table
from sapwood.report.latency import inspect_latency_table, latency_table
from sapwood.report.proof import proof_text
from sapwood.report.records import (
    Inspection,
    LayerWidths,
    Pruning,
    Whole,
    make_part,
    read_inspection,
    read_pruning,
)
from sapwood.report.recovery import recovery_table
from sapwood.report.sensitivity import sensitivity_table
from sapwood.report.table import Cells, TextTable, columns
from sapwood.report.widths import layer_widths_table, widths_table

SHOWN = 3
"""Names in a row that lists more."""

THE_MODEL = "(the model)"
"""Stands for the empty path."""


def prune_tables(pruning: Pruning, *, layers: bool) -> list[TextTable]:
    """Returns what the console shows of pruning, with the layers if they are wanted."""
    shown = [
        size_table(pruning),
        width_table(pruning) if layers else None,
        sensitivity_table(pruning.sensitivity) if pruning.sensitivity else None,
        latency_table(pruning.latency) if pruning.latency else None,
        recovery_table(pruning.recovery) if pruning.recovery else None,
        agreement_table(pruning.agreement) if pruning.agreement else None,
        unpruned_table(pruning.unpruned) if pruning.unpruned else None,
        note_table(pruning.notes) if pruning.notes else None,
    ]
    return [table for table in shown if table is not None]


def inspect_tables(inspection: Inspection) -> list[TextTable]:
    """Returns what the console shows of a model."""
    shown = [
        layer_table(inspection),
        group_table(inspection),
        unpruned_table(inspection.unpruned) if inspection.unpruned else None,
        sensitivity_table(inspection.sensitivity) if inspection.sensitivity else None,
        inspect_latency_table(inspection.latency) if inspection.latency else None,
        widths_table(inspection.widths) if inspection.widths else None,
        layer_widths_table(inspection.widths) if inspection.widths else None,
        block_table(inspection) if inspection.blocks else None,
    ]
    return [table for table in shown if table is not None]


def size_table(record: Pruning | Mapping[str, Any]) -> TextTable:
    """Returns channels, parameters, MACs, bytes and, where it was timed, the time of a model before and after."""
    pruning = read_pruning(record)
    before, after, times = pruning.before, pruning.after, pruning.latency
    rows: list[Cells] = [
        ("parameters", formats.count(before.params), formats.count(after.params), _kept(before.params, after.params)),
        ("MACs", formats.count(before.macs), formats.count(after.macs), _kept(before.macs, after.macs)),
    ]
    if pruning.channels is not None:
        had, has = pruning.channels
        rows.insert(0, ("channels of groups", formats.count(had), formats.count(has), _kept(had, has)))
    sizes = before.file_bytes, after.file_bytes
    rows.append(("file", *map(formats.megabytes, sizes), _kept(*sizes)))
    if times is not None:
        took = formats.milliseconds(times.dense_ms), formats.milliseconds(times.pruned_ms)
        rows.append(("time (kept: median of the rounds)", *took, formats.percent(times.ratio)))
    return TextTable(
        "Size before and after",
        columns("", "before", "after", "kept"),
        tuple(rows),
        heading=pruning.model,
        notes=(proof_text(pruning.verification, proven=is_proven(pruning)), *_blocks_text(pruning)),
        notes_look="" if is_proven(pruning) else "yellow",
    )


def _blocks_text(pruning: Pruning) -> list[str]:
    """Which blocks went as a whole."""
    gone = pruning.removed_blocks
    return [f"residual blocks removed ({len(gone)}): {', '.join(gone)}"] if gone else []


def width_table(record: Pruning | Mapping[str, Any]) -> TextTable:
    """Returns every layer with work: its weight and its MACs before and after."""
    layers = [layer for layer in read_pruning(record).layers if layer.before.macs]
    titles = ("layer", "kind", "weight before", "after", "channels kept", "MACs before", "after", "kept")
    return TextTable(
        "Layers",
        columns(*titles, words=["kind"], page_only=["channels kept", "kept"]),
        tuple(_width_cells(layer) for layer in layers),
        heading="layers",
        looks={place: "dim" for place, layer in enumerate(layers) if layer.before.shape == layer.after.shape},
    )


def unpruned_table(unpruned: Sequence[Whole | Mapping[str, Any]]) -> TextTable:
    """Returns what stayed whole, a row a reason."""
    by_reason: dict[str, list[Whole]] = {}
    for entry in (make_part(Whole, one) for one in unpruned):
        by_reason.setdefault(entry.reason.partition(" in module ")[0], []).append(entry)
    found = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    rows = tuple(
        (_with_place(reason, whole), str(len(whole)), few([f"{one.tensor}[{one.dim}]" for one in whole]))
        for reason, whole in found
    )
    titles = columns("reason", "how many", "as", words=["as"])
    return TextTable("What stays whole", titles, rows, heading="dimensions that stay whole")


def _with_place(reason: str, whole: Sequence[Whole]) -> str:
    """A reason with the module, file and line that it names; of several places the first, and how many more."""
    places = list(dict.fromkeys(one.reason.removeprefix(reason) for one in whole))
    if not places[0]:
        return reason
    return f"{reason}{places[0]}" + (f" and {len(places) - 1} more" if len(places) > 1 else "")


def note_table(notes: Sequence[str]) -> TextTable:
    """Returns what else to know of a smaller model, a row a sentence."""
    return TextTable("Notes", columns("note", words=["note"]), tuple((note,) for note in notes))


def layer_table(record: Inspection | Mapping[str, Any]) -> TextTable:
    """Returns the layers of a model."""
    inspection = read_inspection(record)
    rows = tuple(
        (
            layer.name or THE_MODEL,
            layer.kind,
            shape_text(layer.shape),
            formats.count(layer.num_params),
            formats.count(layer.macs or None),
            formats.percent(layer.macs / inspection.macs if inspection.macs and layer.macs else None),
        )
        for layer in inspection.layers
    )
    return TextTable(
        "Layers",
        columns("layer", "kind", "weight", "parameters", "MACs", "of all", words=["kind"]),
        rows,
        heading=f"{inspection.model}: {formats.count(inspection.params)} parameters, "
        f"{formats.count(inspection.macs)} MACs, {formats.megabytes(inspection.file_bytes)}",
        notes=tuple(f"not counted: {entry}" for entry in inspection.uncounted),
    )


def group_table(record: Inspection | Mapping[str, Any]) -> TextTable:
    """Returns the channel groups of a model."""
    rows = tuple(
        (group.name, str(group.channels), str(len(group.members)), few([n for n in group.members if n != group.name]))
        for group in read_inspection(record).groups
    )
    titles = columns("group", "channels", "members", "as", words=["as"])
    return TextTable("Channel groups", titles, rows, heading="channel groups: dimensions that lose the same channels")


def block_table(record: Inspection | Mapping[str, Any]) -> TextTable:
    """Returns the residual blocks of a model: what each costs, what its absence does, and which cannot go."""
    inspection = read_inspection(record)
    rows = tuple(
        (
            block.name,
            formats.count(block.macs),
            formats.percent(block.macs / inspection.macs if inspection.macs else None),
            formats.MISSING if block.change is None else formats.loss(block.change),
            block.refused or ("can go with --as-config" if block.as_config else "can go"),
        )
        for block in inspection.blocks
    )
    titles = columns("residual block", "MACs", "of all", "outputs change by", "whole", words=["whole"])
    return TextTable("Residual blocks", titles, rows, heading="residual blocks: what --remove-blocks takes")


def is_proven(pruning: Pruning) -> bool:
    """Whether the compact model was found to equal the masked one, and was meant to."""
    return pruning.verification.passed and bool(pruning.options.get("exact", True))


def shape_text(shape: Sequence[int]) -> str:
    """Writes a shape.

    Examples:
        >>> shape_text((8, 3, 3, 3))
        '8x3x3x3'
    """
    return "x".join(map(str, shape))


def few(names: Sequence[str]) -> str:
    """Lists the first few names, and how many more there are.

    Examples:
        >>> few(["a", "b", "c", "d"])
        'a, b, c and 1 more'
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _width_cells(layer: LayerWidths) -> Cells:
    before, after = layer.before, layer.after
    return (
        layer.name or THE_MODEL,
        layer.kind,
        shape_text(before.shape),
        shape_text(after.shape) or ("removed" if before.shape else ""),
        f"{layer.channels[1]} of {layer.channels[0]}",
        formats.count(before.macs),
        formats.count(after.macs),
        _kept(before.macs, after.macs),
    )


def _kept(before: float, after: float) -> str:
    return formats.percent(after / before if before else None)
