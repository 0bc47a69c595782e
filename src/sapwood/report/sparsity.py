"""What a latency target for masks gave each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sapwood.report import formats
from sapwood.report.latency import target_text
from sapwood.report.records import ZerosLatency, make_part
from sapwood.report.table import TextTable, columns


def sparsity_table(outcome: ZerosLatency | Mapping[str, Any]) -> TextTable:
    """Returns a row a layer.

    Args:
        outcome: The ``mask_latency`` of a record of ``sapwood mask``.

    Examples:
        >>> layer = {"name": "a.weight", "num_params": 8, "sparsity": 0.5, "dense_ms": 2.0, "masked_ms": 1.0, "loss": 0}
        >>> times = {"target": 0.5, "ratio": 0.5, "ratio_q1": 0.4, "ratio_q3": 0.6, "dense_ms": 3.0, "pruned_ms": 1.5}
        >>> where = {"runtime": "sapwood", "threads": 1, "batch": 1}
        >>> sparsity_table({**times, "layers": [layer], "figure": "loss", "met": True, "conditions": where}).rows
        (('a.weight', '8', '50.0%', '2.00', '1.00', '0'),)
    """
    timed = make_part(ZerosLatency, outcome)
    return TextTable(
        "Zeros of the layers",
        columns("weight", "elements", "sparsity", "ms before", "ms", "harm"),
        tuple(
            (
                layer.name,
                f"{layer.num_params:,}",
                f"{layer.sparsity:.1%}",
                f"{layer.dense_ms:.2f}",
                f"{layer.masked_ms:.2f}",
                formats.loss(layer.loss),
            )
            for layer in timed.layers
        ),
        heading=target_text(timed),
        notes=(f"harm: {timed.figure}, each layer masked alone",),
    )
