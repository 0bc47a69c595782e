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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
    order given.
    """
    places = tuple(map(Path, paths))
    parent = places[0].parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{places[0].name}.") as folder:
        written = tuple(Path(folder) / place.name for place in places)
        yield written
        for source in written:
            with source.open("rb") as file:
                os.fsync(file.fileno())
            os.chmod(source, 0o666 & ~_umask())
        for source, place in zip(written, places, strict=True):
            os.replace(source, place)


def remove_unfinished(*paths: str | Path) -> None:
    """Removes what a killed process had begun to write in the places of ``paths`` and nobody else writes now."""
    for path in map(Path, paths):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


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
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():
            previous = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            os.replace(path, previous / "previous")
            os.replace(temporary, path)
            shutil.rmtree(previous)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
