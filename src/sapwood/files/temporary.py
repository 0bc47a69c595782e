"""Folders beside the place of a result, in which it is made: locked while their process lives, cleared afterwards."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has none; what killed runs leave stays there
    fcntl = None  # type: ignore[assignment]

SIGN = ".sapwood-"
"""In the name of each such folder, so that nobody else's is taken for one."""
LOCK = ".lock"
"""The file in it that a living process holds locked."""
NEW = "new"
"""In it, what will take the place, with the names it has there."""
PREVIOUS = "previous"
"""What stood in the place, for the moment before the new one stands there."""
MOVING = "moving"
"""Stands beside several files that belong together: says that all are whole, and which file the first of them is."""
_NAME = re.compile(r"\.(.+)\.sapwood-[a-z0-9_]{8}", re.DOTALL)
_LONGEST = 200
"""Bytes of a place's name that go into the folder's; file systems allow 255 in all."""


@contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """Yields a new folder beside ``place``, gone after the block; what killed processes left there is cleared first."""
    clear(place)
    folder, lock = _made(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def clear(place: Path) -> None:
    """Puts back or finishes what killed processes left half done at ``place``, and removes their folders.

    Folders of processes that write there now stay, as does what cannot be removed.
    """
    for found in place.parent.glob(f"{glob.escape(_prefix(place))}*"):
        if is_temporary(found):
            _clear(found, place)


def clear_below(folder: Path) -> None:
    """The same for every place in ``folder``, however deep."""
    for parent, names, _ in os.walk(folder):
        for match in filter(None, map(_NAME.fullmatch, names)):
            _clear(Path(parent, match[0]), Path(parent, match[1]))


def is_temporary(path: Path) -> bool:
    """Whether this is such a folder."""
    return _NAME.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def _clear(found: Path, place: Path) -> None:
    with _dead(found) as dead:
        if dead:
            with contextlib.suppress(OSError):
                _put_back(found, place)
                _finish(found, place.parent)
            shutil.rmtree(found, ignore_errors=True)


def announce(folder: Path, first: Path) -> None:
    """Notes that all files in ``folder / NEW`` are whole and will be moved now, ``first`` before the others."""
    (folder / MOVING).write_text(f"{first.stat().st_ino} {first.name}", encoding="utf-8")


def _prefix(place: Path) -> str:
    name = place.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}{SIGN}"


def _made(place: Path) -> tuple[Path, int]:
    """A folder, and the lock on it; another process that clears the place may be faster than the lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=_prefix(place)))
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            continue
        except OSError:
            folder.rmdir()
            raise
        if _lock(lock, wait=True) is None or _is_there(folder / LOCK, lock):
            return folder, lock
        os.close(lock)


@contextmanager
def _dead(folder: Path) -> Iterator[bool]:
    """Whether no process holds a folder; while the block runs, this one does."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError:
        yield False
        return
    try:
        yield bool(_lock(lock, wait=False))
    finally:
        os.close(lock)


def _lock(file: int, *, wait: bool) -> bool | None:
    """Locks an open file; False where another process has it, None where files cannot be locked at all."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_there(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _put_back(folder: Path, place: Path) -> None:
    """Where names cannot be exchanged, a kill between two renames leaves nothing in the place."""
    if (folder / PREVIOUS).exists() and not os.path.lexists(place):
        os.rename(folder / PREVIOUS, place)


def _finish(folder: Path, parent: Path) -> None:
    """Moves the rest of several files whose first was moved when their process was killed, unless it was replaced."""
    try:
        number, _, first = (folder / MOVING).read_text(encoding="utf-8").partition(" ")
        begun = (parent / first).stat().st_ino == int(number)
    except (OSError, ValueError):
        return
    for file in (folder / NEW).iterdir() if begun else ():
        os.replace(file, parent / file.name)


@contextmanager
def only_writer(folder: Path) -> Iterator[bool]:
    """Yields whether no other process is inside such a block about the same folder, which exists."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:  # pragma: no cover - Windows opens no folders
        yield True
        return
    try:
        yield _lock(file, wait=False) is not False
    finally:
        os.close(file)
