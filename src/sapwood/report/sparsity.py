"""What a latency target for masks gave each layer, for the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from sapwood.report import formats
from sapwood.report.latency import target_text


def sparsity_table(outcome: Mapping[str, Any]) -> Table:
    """Returns a row a layer.

    Args:
        outcome: The ``mask_latency`` of a record of ``sapwood mask``.

    Examples:
        >>> layer = {"name": "a.weight", "num_params": 8, "sparsity": 0.5, "dense_ms": 2.0, "masked_ms": 1.0, "loss": 0}
        >>> times = {"target": 0.5, "ratio": 0.5, "ratio_q1": 0.4, "ratio_q3": 0.6, "dense_ms": 3.0, "pruned_ms": 1.5}
        >>> where = {"runtime": "sapwood", "threads": 1, "batch": 1}
        >>> sparsity_table({**times, "layers": [layer], "figure": "loss", "met": True, "conditions": where}).row_count
        1
    """
    table = Table(
        title=Text(target_text(outcome)),
        caption=Text(f"harm: {outcome['figure']}, each layer masked alone"),
        min_width=64,
    )
    table.add_column("weight", overflow="fold")
    for name in ("elements", "sparsity", "ms before", "ms", "harm"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in outcome["layers"]:
        table.add_row(
            Text(layer["name"]),
            f"{layer['num_params']:,}",
            f"{layer['sparsity']:.1%}",
            f"{layer['dense_ms']:.2f}",
            f"{layer['masked_ms']:.2f}",
            formats.loss(layer["loss"]),
        )
    return table
