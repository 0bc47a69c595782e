"""Several ways of pruning one network, measured side by side."""

import warnings
from typing import Any

from sapwood.cases import ROW_KINDS, Candidate
from sapwood.comparing.comparison import compare
from sapwood.comparing.measuring import CompareSettings
from sapwood.comparing.pictures import first_pictures, read_pictures

__all__ = [
    "Candidate",
    "CompareSettings",
    "compare",
    "first_pictures",
    "read_pictures",
]


def __getattr__(name: str) -> Any:
    """Finds what a row does itself now, with a warning."""
    if name != "CANDIDATES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "sapwood.comparing.CANDIDATES[kind](row) is row.prepare() now, of a row of sapwood.cases",
        DeprecationWarning,
        stacklevel=2,
    )
    return {kind: ROW_KINDS[kind].prepare for kind in ROW_KINDS}
