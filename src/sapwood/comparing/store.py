"""Finished cases on disk, so that a comparison that was stopped goes on where it was."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sapwood
from sapwood.cases import CaseRow
from sapwood.comparing.measuring import CompareSettings, case_head
from sapwood.errors import DataError
from sapwood.files import write_json
from sapwood.fingerprints import file_fingerprint, key_of
from sapwood.measure import machine
from sapwood.reading import read_json, reading
from sapwood.report import SCHEMA, CaseResult

UNMEASURED = ("latency_rounds", "agreement_pictures")
"""Settings that a stored result does not depend on."""


@dataclass(frozen=True)
class CaseStore:
    """A folder with a JSON file a finished case, named by all that its figures depend on.

    Attributes:
        folder: Where the files lie.
        conditions: What every case depends on: fingerprints of model and data, settings, machine, versions.
    """

    folder: Path
    conditions: Mapping[str, Any]

    @staticmethod
    def open(folder: Path, fingerprints: Mapping[str, str], settings: CompareSettings) -> CaseStore:
        """Returns the store for a model, a data set and settings on this machine."""
        kept = {name: value for name, value in asdict(settings).items() if name not in UNMEASURED}
        conditions = {"schema": SCHEMA, "sapwood": sapwood.__version__, "machine": machine(), "settings": kept}
        return CaseStore(folder, {**conditions, **fingerprints})

    def read(self, row: CaseRow) -> CaseResult | None:
        """Returns a finished case; None where there is none, or its file is damaged, of which a warning tells."""
        path, expected = self._path(row), "a finished case"
        if not path.exists():
            return None
        try:
            stored = read_json(path, expected, DataError)
            with reading(path, expected, DataError):
                result = CaseResult.model_validate(stored)
                return CaseResult.model_validate({**result.model_dump(by_alias=True), **case_head(row)})
        except DataError as error:
            warnings.warn(f"{error}; {row.name} is measured again", stacklevel=2)
            return None

    def write(self, row: CaseRow, result: CaseResult) -> None:
        """Keeps a finished case."""
        write_json(self._path(row), result.model_dump(mode="json", by_alias=True))

    def _path(self, row: CaseRow) -> Path:
        parts = {"row": row.model_dump(mode="json", exclude={"name", "family"}), **self.conditions}
        parts |= {field: file_fingerprint(path) for field, path in row.files().items()}
        return self.folder / f"{key_of(parts)}.json"
