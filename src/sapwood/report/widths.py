"""What widths a runtime likes, as tables: of the whole network, and of its layers."""

from __future__ import annotations

from sapwood.report import formats
from sapwood.report.records import WidthTimes
from sapwood.report.table import TextTable, columns

MOST_GROUPS = 4
"""Groups of one multiple that are named."""

MOST_LAYERS = 12
"""Layers that are shown, the slowest."""


def widths_table(widths: WidthTimes) -> TextTable:
    """Returns a network's time by what its widths are multiples of.

    Args:
        widths: The ``widths`` of a record of ``sapwood inspect``.
    """
    rows = [
        (str(multiple), f"{ratio:.2f}", f"± {error:.2f}" if error else formats.MISSING)
        for multiple, (ratio, error) in sorted(widths.times.items())
    ]
    return TextTable(
        "Time by widths",
        columns("widths are multiples of", "time at equal work", "error"),
        tuple(rows),
        heading=f"Time by widths on {widths.runtime}, {widths.measured}",
        notes=(widths_text(widths),),
    )


def widths_text(widths: WidthTimes) -> str:
    """What follows for pruning, in a sentence."""
    kept = "any number of channels" if widths.multiple == 1 else f"multiples of {widths.multiple} in wide groups"
    return f"With --runtime {widths.runtime}, pruning keeps {kept}{_groups_text(widths)}, where that does as well."


def _groups_text(widths: WidthTimes) -> str:
    """The groups of other multiples, and what they take; nothing where the layers say what the network does."""
    if widths.with_groups is None:
        return ""
    took = "{:.2f} ± {:.2f} of the time with one multiple for all".format(*widths.with_groups)
    if not widths.groups:
        return f" (layers ask for others in places, which took {took})"
    by_multiple: dict[int, list[str]] = {}
    for one in widths.groups:
        by_multiple.setdefault(one.multiple, []).append(one.group)
    named = "; ".join(f"of {multiple} in {_listed(names)}" for multiple, names in sorted(by_multiple.items()))
    return f", but {named} ({took})"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_GROUPS])
    return shown if len(names) <= MOST_GROUPS else f"{shown} and {len(names) - MOST_GROUPS} more"


def layer_widths_table(widths: WidthTimes) -> TextTable | None:
    """Returns the same of the slowest layers, what they read and what they write; None where none were told apart."""
    if not widths.layers:
        return None
    multiples = sorted(widths.times)
    rows = []
    for layer in widths.layers[:MOST_LAYERS]:
        for side, times in (("reads", layer.reads), ("writes", layer.writes)):
            cells = [f"{times[multiple]:.2f}" if multiple in times else formats.MISSING for multiple in multiples]
            rows.append((layer.layer, formats.milliseconds(layer.ms), side, *cells))
    return TextTable(
        "Layers by widths",
        columns("layer", "time", "channels it", *map(str, multiples), words=["channels it"]),
        tuple(rows),
        heading="Time at equal work by what the channels are multiples of, relative to the best",
    )
