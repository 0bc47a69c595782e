"""Moving a whole directory to its place: in one step where the system can exchange two names."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_CURRENT_FOLDER = -100
"""AT_FDCWD of Linux: names are looked up from the working directory."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux."""
_UNABLE = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM})
"""What systems and file systems answer that do not exchange names."""
_MEANWHILE = frozenset({errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST})
"""What is answered where another process put something there, or took it away, a moment ago."""
_ATTEMPTS = 100


def take_place(made: Path, place: Path, previous: Path) -> Path | None:
    """Moves the directory ``made`` to ``place``; returns where the one is now that stood there, if one did.

    Where names can be exchanged, there is a whole directory at ``place`` at every moment. Elsewhere the one before
    waits at ``previous`` for a moment, from where the next writer puts it back if this process is killed then.

    Raises:
        OSError: If it cannot be moved; what stood there is there still.
    """
    for _ in range(_ATTEMPTS):
        moved, before = _moved(made, place, previous)
        if moved:
            return before
    raise OSError(errno.EBUSY, "other processes write there all the time", str(place))


def _moved(made: Path, place: Path, previous: Path) -> tuple[bool, Path | None]:
    """Whether it worked, and where the one before is; another process may have been faster."""
    try:
        if not os.path.lexists(place):
            os.rename(made, place)
            return True, None
        if exchange(made, place):
            return True, made
        _replace(made, place, previous)
    except OSError as error:
        if error.errno not in _MEANWHILE or not made.exists():
            raise
        return False, None
    return True, previous


def exchange(one: Path, other: Path) -> bool:
    """Exchanges what two names stand for, in one step; False where the system or the file system does not do that.

    Raises:
        OSError: If it does, and this time it could not.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    if rename(_CURRENT_FOLDER, os.fsencode(one), _CURRENT_FOLDER, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _replace(made: Path, place: Path, previous: Path) -> None:
    os.rename(place, previous)
    try:
        os.rename(made, place)
    except OSError:
        if not os.path.lexists(place):
            os.rename(previous, place)
        raise
