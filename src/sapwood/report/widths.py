"""What widths a runtime likes, as tables: of the whole network, and of its layers."""

from __future__ import annotations

from sapwood.report import formats
from sapwood.report.records import WidthTimes
from sapwood.report.table import TextTable, columns

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
    return f"With --runtime {widths.runtime}, pruning keeps {kept}, where that does as well."


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
