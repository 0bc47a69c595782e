"""Files and folders that a data set names: names that no system takes, folders that cannot be read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sapwood.data.checks import PICTURE_SUFFIXES, UNREAD_SUFFIXES
from sapwood.errors import DataError


def is_file(path: str | Path) -> bool:
    """Whether a file is there; True where one may be and nobody is let in, which reading it then says."""
    mode = _mode(path)
    return mode is None or stat.S_ISREG(mode)


def is_dir(path: str | Path) -> bool:
    """Whether a folder is there."""
    return stat.S_ISDIR(_mode(path) or 0)


def exists(path: str | Path) -> bool:
    """Whether anything is there, or may be."""
    return _mode(path) != 0


def _mode(path: str | Path) -> int | None:
    """The kind of file: 0 where none is, or the name is one that no system takes; None where nobody is let in."""
    try:
        return os.stat(path).st_mode
    except PermissionError:
        return None
    except (OSError, ValueError):
        return 0


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return sorted(folder / name for name in os.listdir(folder))
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error


def pictures_below(folder: Path) -> list[Path]:
    """The files in a folder, and in the folders below, that are called like pictures, also unread ones, sorted.

    Raises:
        DataError: If one of the folders cannot be read.
    """

    def stop(error: OSError) -> None:
        raise _unreadable(error.filename or folder, error) from error

    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=stop)
        for name in names
        if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES | UNREAD_SUFFIXES
    ]
    return sorted(found)


def leads_out(name: str, folder: Path, *others: Path) -> bool:
    """Whether a name in ``folder`` leads out of it, and out of ``others``.

    Only names count: links that the user put there may lead anywhere.

    Examples:
        >>> leads_out("val/a.jpg", Path("set")), leads_out("../a.jpg", Path("set"))
        (False, True)
        >>> leads_out("../a.jpg", Path("set"), Path())
        False
    """
    if ".." not in name and not os.path.isabs(name) and not os.path.splitdrive(name)[0]:
        return False
    whole = Path(os.path.abspath(folder / name))
    return not any(whole.is_relative_to(os.path.abspath(one)) for one in (folder, *others))


def _unreadable(folder: str | Path, error: OSError | ValueError) -> DataError:
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"{folder}: cannot be read ({reason}); expected a folder")
