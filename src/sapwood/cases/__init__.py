"""The rows of a comparison: what a user writes into a YAML file, checked before any model is loaded."""

from sapwood.cases.reading import BASELINE, default_cases, default_text, named_rows, parse_cases, read_cases
from sapwood.cases.rows import ROW_KINDS, Candidate, CaseRow, Make
from sapwood.cases.rows.compact import CompactRow
from sapwood.cases.rows.mask import MaskFields, MaskRow
from sapwood.cases.rows.prune import PruneRow

__all__ = [
    "BASELINE",
    "ROW_KINDS",
    "Candidate",
    "CaseRow",
    "CompactRow",
    "Make",
    "MaskFields",
    "MaskRow",
    "PruneRow",
    "default_cases",
    "default_text",
    "named_rows",
    "parse_cases",
    "read_cases",
]
