"""What recovery did: the table of layers, their errors before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sapwood.report import formats
from sapwood.report.records import RecoveryRecord, make_part
from sapwood.report.table import TextTable, columns


def recovery_table(recovery: RecoveryRecord | Mapping[str, Any]) -> TextTable:
    """Returns a row a layer that was solved.

    Args:
        recovery: The ``recovery`` of a record of ``sapwood prune``.

    Examples:
        >>> layer = {"layer": "conv", "error_before": 0.2, "error_after": 0.05, "damping": None}
        >>> recovery_table({"num_pictures": 8, "seconds": 1.0, "layers": [layer], "checks": []}).rows
        (('conv', '0.200', '0.0500'),)
    """
    done = make_part(RecoveryRecord, recovery)
    note = f"error of each layer's outputs on held-out {done.unit}, as a fraction of their variance"
    if done.norms:
        note = f"{len(done.norms)} BatchNorms set anew; no weight of another layer changed"
    if done.checks:
        best = min(check.divergence for check in done.checks)
        note += (
            f"; then distilled: divergence from the dense network {formats.loss(done.checks[0].divergence)} before, "
            f"{formats.loss(best)} after {done.best_step} steps"
        )
    return TextTable(
        "Errors of the layers",
        columns("layer", "error before", "after"),
        tuple((one.layer, formats.loss(one.error_before), formats.loss(one.error_after)) for one in done.layers),
        heading=f"recovery: {done.num_pictures} {done.unit} without labels, {done.seconds:.0f} s",
        notes=(note,),
    )
