"""``-o`` of verbs whose result is a table: the record that ``--json`` prints, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sapwood.errors import ConfigError

RecordOption = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE.json", help="Also write what --json prints to this file."),
]


def check_record(out: Path | None) -> None:
    """Checks, before the work, that a record can be written where it should go.

    Raises:
        ConfigError: If the name does not end in ``.json``.
        WriteError: If it cannot be written.
    """
    from sapwood.files import check_file

    if out is None:
        return
    if out.suffix != ".json":
        raise ConfigError(f"-o {out}: the result is a record; expected a name that ends in .json")
    check_file(out)


def write_record(out: Path | None, record: Any) -> None:
    """Writes the record, where that was asked for."""
    from sapwood.files import write_json

    if out is not None:
        write_json(out, record)
