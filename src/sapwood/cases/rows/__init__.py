"""One file a kind of row: its fields and what makes its candidate. Every file of this folder is imported."""

import importlib
import pkgutil

from sapwood.cases.rows.base import ROW_KINDS, Candidate, CaseRow, Make

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")

__all__ = ["ROW_KINDS", "Candidate", "CaseRow", "Make"]
