"""Console tables of `sapwood inspect`, `prune` and `compact`, from the records they print with `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sapwood.report import formats

MIN_WIDTH = 64
"""Columns of a small table, so that its caption stands on a line or two."""

SHOWN = 3
"""Names in a row that lists more."""

Record = Mapping[str, Any]


def size_table(record: Record) -> Table:
    """Returns a model's size before and after; ``record`` is of :func:`sapwood.pipeline.shrink_record`."""
    before, after = record["before"], record["after"]
    table = Table(
        title=f"{record['model']}", caption=_proof(record["verification"], record["options"]), min_width=MIN_WIDTH
    )
    for title in ("", "before", "after", "kept"):
        table.add_column(title, justify="right" if title else "left")
    for name, key, write in (
        ("parameters", "params", formats.count),
        ("MACs", "macs", formats.count),
        ("file", "file_bytes", formats.megabytes),
    ):
        share = after[key] / before[key] if before[key] else None
        table.add_row(name, write(before[key]), write(after[key]), formats.percent(share))
    return table


def width_table(record: Record) -> Table:
    """Returns the layers that do work, with the shapes of their weights before and after."""
    table = Table(title="layers")
    for title in ("layer", "kind", "weight before", "after", "MACs before", "after"):
        table.add_column(title, justify="left" if title in {"layer", "kind"} else "right", overflow="fold")
    for row in record["layers"]:
        before, after = row["before"], row["after"]
        if before["macs"]:
            style = "" if tuple(before["shape"]) != tuple(after["shape"]) else "dim"
            cells = [row["name"], row["kind"], shape_text(before["shape"]), shape_text(after["shape"])]
            cells += [formats.count(before["macs"]), formats.count(after["macs"])]
            table.add_row(*(Text(cell, style=style) for cell in cells))
    return table


def unpruned_table(unpruned: Sequence[Record]) -> Table:
    """Returns what stayed whole, one row a reason."""
    by_reason: dict[str, list[str]] = {}
    for entry in unpruned:
        reason, _, _ = entry["reason"].partition(" in module ")
        by_reason.setdefault(reason, []).append(f"{entry['tensor']}[{entry['dim']}]")
    table = Table(title="dimensions that stay whole")
    for title in ("reason", "how many", "as"):
        table.add_column(title, justify="right" if title == "how many" else "left", overflow="fold")
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        table.add_row(Text(reason), str(len(names)), Text(few(names)))
    return table


def layer_table(record: Record) -> Table:
    """Returns the layers of a model; ``record`` is of :func:`sapwood.pipeline.inspect_model`."""
    table = Table(
        title=f"{record['model']}: {formats.count(record['params'])} parameters, {formats.count(record['macs'])} MACs, "
        f"{formats.megabytes(record['file_bytes'])}",
        caption=Text("; ".join(f"not counted: {entry}" for entry in record["uncounted"])),
    )
    for title in ("layer", "kind", "weight", "parameters", "MACs", "of all"):
        table.add_column(title, justify="left" if title in {"layer", "kind"} else "right", overflow="fold")
    for row in record["layers"]:
        share = row["macs"] / record["macs"] if record["macs"] and row["macs"] else None
        cells = [row["name"] or "(the model)", row["kind"], shape_text(row["shape"]), formats.count(row["num_params"])]
        cells += [formats.count(row["macs"]) if row["macs"] else formats.MISSING, formats.percent(share)]
        table.add_row(*map(Text, cells))
    return table


def group_table(record: Record) -> Table:
    """Returns the channel groups of a model."""
    table = Table(title="channel groups: dimensions that lose the same channels")
    for title in ("group", "channels", "members", "as"):
        table.add_column(title, justify="left" if title in {"group", "as"} else "right", overflow="fold")
    for group in record["groups"]:
        others = [name for name in group["members"] if name != group["name"]]
        cells = [group["name"], str(group["channels"]), str(len(group["members"])), few(others)]
        table.add_row(*map(Text, cells))
    return table


def _proof(verification: Record, options: Record) -> Text:
    found = f"{verification['max_abs_error']:.1e} of the largest output in {verification['dtype']}"
    if verification["passed"] and options.get("exact", True):
        return Text(f"verified: the compact model equals the masked one within {found}", style="green")
    return Text(f"differs from the masked model by {found}", style="yellow")


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
