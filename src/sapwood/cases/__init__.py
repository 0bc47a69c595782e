"""The rows of a comparison: what a user writes into a YAML file, checked before any model is loaded."""

from sapwood.cases.reading import BASELINE, default_cases, named_rows, parse_cases, read_cases
from sapwood.cases.rows import ROW_KINDS, CaseRow, CompactRow, MaskFields, MaskRow, PruneRow

__all__ = [
    "BASELINE",
    "ROW_KINDS",
    "CaseRow",
    "CompactRow",
    "MaskFields",
    "MaskRow",
    "PruneRow",
    "default_cases",
    "named_rows",
    "parse_cases",
    "read_cases",
]
