"""The rows of a comparison: what a user writes into a YAML file, checked before any model is loaded."""

from sapwood.cases.reading import BASELINE, default_cases, named_rows, parse_cases, read_cases
from sapwood.cases.rows import ROW_KINDS, CaseRow, MaskRow

__all__ = ["BASELINE", "ROW_KINDS", "CaseRow", "MaskRow", "default_cases", "named_rows", "parse_cases", "read_cases"]
