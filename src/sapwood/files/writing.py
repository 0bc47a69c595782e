"""Writing in one step: what is made beside its place goes there whole, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sapwood.errors import ConfigError
from sapwood.files.checks import check_directory, check_kind, explained, real_place
from sapwood.files.others import take_over
from sapwood.files.renames import take_place
from sapwood.files.temporary import NEW, PREVIOUS, announce, clear, temporary_folder


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Writes ``data`` to ``path`` in one step; on any failure (disk full, killed) the previous file is intact."""
    with new_files(path) as (file,):
        file.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Writes ``text`` as UTF-8 to ``path`` in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Writes ``value`` as indented JSON to ``path`` in one step; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def keep_json(path: str | Path, value: Any) -> None:
    """Writes a file that only spares work the next time: where it cannot be written, that is a warning."""
    try:
        write_json(path, value)
    except (OSError, ConfigError) as error:
        warnings.warn(f"not kept for the next time: {error}", stacklevel=2)


@contextmanager
def new_files(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Yields paths to write to; what is there when the block ends well takes the places of ``paths``.

    The files have their own names, those of one folder in a folder of their own beside their places, so that one finds
    the other. Whatever stood there before is intact until then, and stays when the block raises. Each file is replaced
    in one step, in the order given, with the permissions of any other new file, whatever the program that wrote it
    chose. A link stays, and what it leads to is replaced.

    Raises:
        ConfigError: If a directory or a device stands there.
        WriteError: If one cannot be written; the message names it.
    """
    places = [real_place(path) for path in paths]
    with ExitStack() as opened:
        folders: dict[Path, Path] = {}
        for path, place in zip(paths, places, strict=True):
            check_kind(path, place)
            if place.parent not in folders:
                folders[place.parent] = opened.enter_context(_folder_for(path, place))
        written = tuple(folders[place.parent] / NEW / place.name for place in places)
        with explained(paths[0], dict(zip(written, paths, strict=True))):
            yield written
            for folder in folders.values():
                _settle(folder)
                if len(written) > 1:
                    announce(folder, next(file for file in written if file.parent.parent == folder))
            for source, place in zip(written, places, strict=True):
                os.replace(source, place)


def remove_unfinished(*paths: str | Path) -> None:
    """Removes what :func:`new_files` leaves of processes that were killed; those that are alive keep theirs."""
    for path in paths:
        clear(real_place(path))


@contextmanager
def new_directory(path: str | Path, mark: str, own: Collection[str] = ()) -> Iterator[Path]:
    """Yields an empty directory that takes the place of ``path`` when the block ends well.

    Whatever stood at ``path`` before is intact until then, and stays when the block raises. A link stays, and what it
    leads to is replaced. What lies in the directory and is none of its ``own`` files goes over into the new one.

    Args:
        path: A directory that is new, empty, or of the same kind: anything else would be lost.
        mark: The name of a file that directories of this kind hold.
        own: The names of all other files that Sapwood writes into directories of this kind.

    Raises:
        ConfigError: If it is something else, or the working directory.
        WriteError: If it cannot be written; the message names the file.
    """
    place, own = real_place(path), {mark, *own}
    check_directory(path, mark)
    with _folder_for(path, place) as folder:
        made = folder / NEW
        with explained(path, {made: path}):
            yield made
            _settle(folder)
            check_directory(path, mark)
            if place.exists():
                shutil.copymode(place, made)
                take_over(place, made, own)
            previous = take_place(made, place, folder / PREVIOUS)
            if previous is not None:
                take_over(previous, place, own)


@contextmanager
def _folder_for(path: str | Path, place: Path) -> Iterator[Path]:
    """A temporary folder beside a place, with an empty one in it for what will stand there."""
    with ExitStack() as opened:
        with explained(path):
            place.parent.mkdir(parents=True, exist_ok=True)
            folder = opened.enter_context(temporary_folder(place))
            (folder / NEW).mkdir()
        yield folder


def _settle(folder: Path) -> None:
    """Brings everything that was written to the disk; files get the permissions that any other new file has."""
    plain = folder / "plain"
    plain.touch()
    for parent, _, names in os.walk(folder / NEW):
        for name in names:
            file = Path(parent, name)
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
            shutil.copymode(plain, file)
