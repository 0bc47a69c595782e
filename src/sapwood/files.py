"""Writing files so that a reader never meets half of one: a temporary name beside the target, then a rename."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sapwood.errors import ConfigError


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` in one step; on any failure (disk full, killed) the previous file is intact."""
    with new_files(path) as (file,):
        file.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Writes ``text`` as UTF-8 to ``path`` in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Writes ``value`` as indented JSON to ``path`` in one step; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def new_files(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Yields paths to write to; what is there when the block ends well takes the places of ``paths``, of one folder.

    The files have their own names, in a folder of their own beside their places, so that one finds the other. Whatever
    stood there before is intact until then, and stays when the block raises. Each file is replaced in one step, in the
    order given, with the permissions of any other new file, whatever the program that wrote it chose.
    """
    places = tuple(map(Path, paths))
    parent = places[0].parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{places[0].name}.") as folder:
        written = tuple(Path(folder) / place.name for place in places)
        plain = Path(folder) / ".plain"
        plain.touch()
        yield written
        for source in written:
            with source.open("rb") as file:
                os.fsync(file.fileno())
            shutil.copymode(plain, source)
        for source, place in zip(written, places, strict=True):
            os.replace(source, place)


def remove_unfinished(*paths: str | Path) -> None:
    """Removes what :func:`new_files` leaves of a process that was killed meanwhile; nobody else may write there now."""
    for path in map(Path, paths):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if left.is_dir():
                shutil.rmtree(left)


@contextmanager
def new_directory(path: str | Path, mark: str) -> Iterator[Path]:
    """Yields an empty directory that takes the place of ``path`` when the block ends well.

    Whatever stood at ``path`` before is intact until then, and stays when the block raises.

    Args:
        path: A directory that is new, empty, or of the same kind: anything else would be lost.
        mark: The name of a file that directories of this kind hold.

    Raises:
        ConfigError: If it is something else.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and ((path / mark).is_file() or not any(path.iterdir()))):
        raise ConfigError(
            f"{path}: it would be replaced, and Sapwood did not write it: there is no {mark} in it; expected a new or "
            f"empty directory, or one that an earlier run wrote"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        made.mkdir()
        yield made
        if path.exists():
            previous = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            os.replace(path, previous / "previous")
            os.replace(made, path)
            shutil.rmtree(previous)
        else:
            os.replace(made, path)
