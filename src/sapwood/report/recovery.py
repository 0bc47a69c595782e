"""What recovery did: the console table of layers, their errors before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from sapwood.report import formats

Record = Mapping[str, Any]


def recovery_table(recovery: Record) -> Table:
    """Returns a row a layer that was solved.

    Args:
        recovery: The ``recovery`` of a record of ``sapwood prune``.

    Examples:
        >>> layer = {"layer": "conv", "error_before": 0.2, "error_after": 0.05, "damping": None}
        >>> recovery_table({"num_pictures": 8, "seconds": 1.0, "layers": [layer], "checks": []}).row_count
        1
    """
    title = f"recovery: {recovery['num_pictures']} pictures without labels, {recovery['seconds']:.0f} s"
    caption = "error of each layer's outputs on held-out pictures, as a fraction of their variance"
    if recovery.get("norms"):
        caption = f"statistics of {len(recovery['norms'])} BatchNorms measured anew; no weight changed"
    checks = recovery["checks"]
    if checks:
        best = min(check["divergence"] for check in checks)
        caption += (
            f"; then distilled: divergence from the dense network {formats.loss(checks[0]['divergence'])} before, "
            f"{formats.loss(best)} after {recovery['best_step']} steps"
        )
    table = Table(title=Text(title), caption=Text(caption), min_width=64)
    table.add_column("layer", overflow="fold")
    for name in ("error before", "after"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in recovery["layers"]:
        errors = (layer["error_before"], layer["error_after"])
        table.add_row(Text(layer["layer"]), *(Text(formats.loss(error)) for error in errors))
    return table
