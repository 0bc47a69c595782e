"""Whether results can be written where they should go, asked before hours of work and not after."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from sapwood.errors import ConfigError, WriteError
from sapwood.files.temporary import SIGN, clear, clear_below, only_writer

_FILES = {
    ".bin", ".cfg", ".csv", ".engine", ".html", ".jpg", ".json", ".onnx", ".pb", ".png", ".pt", ".pt2", ".pth", ".py",
    ".safetensors", ".tflite", ".weights", ".xml", ".yaml", ".yml", ".zip",
}  # fmt: skip
"""How names of files end: a folder that is new has another one."""
_EXPORTED = {".cfg", ".onnx", ".pt2", ".weights", ".xml"}


def real_place(path: str | Path) -> Path:
    """Where a path leads: a link stays, and what it leads to is written."""
    return Path(os.path.realpath(path))


def check_file(path: str | Path) -> None:
    """Checks that a file can be written; puts in order what a killed process left there.

    Raises:
        ConfigError: If a directory or a device stands there.
        WriteError: If it cannot be written.
    """
    place = real_place(path)
    check_kind(path, place)
    _check_parent(path, place.parent)
    clear(place)


def check_kind(path: str | Path, place: Path) -> None:
    """Raises ConfigError where something else stands than a file."""
    if not place.exists():
        return
    found = place.stat().st_mode
    if stat.S_ISDIR(found):
        raise ConfigError(f"{path}: is a directory; expected a file, or nothing there")
    if not stat.S_ISREG(found):
        raise ConfigError(f"{path}: is a device or a pipe, which would be replaced; expected a file, or nothing there")


def check_directory(path: str | Path, mark: str) -> None:
    """Checks that a directory can take the place of ``path``; puts in order what a killed process left there.

    Args:
        path: A directory that is new, empty, or of the same kind.
        mark: The name of a file that directories of this kind hold.

    Raises:
        ConfigError: If it is something else, is new and named as files are, or cannot be replaced: the working
            directory, or one above it.
        WriteError: If nothing can be written there.
    """
    place = real_place(path)
    _check_named_as_folder(path, place)
    _check_not_around_here(path, place)
    clear(place)
    with explained(path):
        if os.path.lexists(place):
            _check_replaceable(path, place, mark)
    _check_parent(path, place.parent)


def _check_named_as_folder(path: str | Path, place: Path) -> None:
    suffix = place.suffix.lower()
    if suffix in _FILES and not os.path.lexists(place):
        more = f"; one {suffix} file is written by `sapwood export`" if suffix in _EXPORTED else ""
        raise ConfigError(
            f"{path}: is a folder that several files go into, and {suffix} is how one file ends; expected a name such "
            f"as {place.with_suffix('').name}{more}"
        )


def _check_not_around_here(path: str | Path, place: Path) -> None:
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working directory was removed
        return
    if place == here or place in here.parents:
        where = "the working directory" if place == here else "above the working directory"
        raise ConfigError(f"{path}: is {where} ({place}), which cannot be replaced; expected another directory")


def _check_replaceable(path: str | Path, place: Path, mark: str) -> None:
    if not place.is_dir():
        raise ConfigError(f"{path}: is a file, which Sapwood does not replace by a directory; expected no file there")
    if not (place / mark).is_file() and any(place.iterdir()):
        raise ConfigError(
            f"{path}: it would be replaced, and Sapwood did not write it: there is no {mark} in it; expected a new or "
            f"empty directory, or one that an earlier run wrote"
        )
    if place.is_mount():
        raise ConfigError(f"{path}: a file system is mounted there, which cannot be replaced; expected a path below it")


def check_folder(path: str | Path) -> None:
    """Checks that files can be written into a folder, which may not exist yet.

    Raises:
        ConfigError: If it is a file, or new and named as files are.
        WriteError: If nothing can be written into it.
    """
    place = real_place(path)
    _check_named_as_folder(path, place)
    if os.path.lexists(place) and not place.is_dir():
        raise ConfigError(f"{path}: a file; expected a folder, or nothing there")
    _check_parent(path, place)


def check_pair(first: str | Path, second: str | Path) -> None:
    """Checks two files that are written together, of which a caller named only the ``first``.

    Raises:
        ConfigError: If a directory or a device stands there, or only the ``second``, which no earlier run wrote then.
        WriteError: If one cannot be written.
    """
    check_file(second)
    check_file(first)
    if os.path.lexists(second) and not os.path.lexists(first):
        raise ConfigError(
            f"{second}: it would be replaced, and Sapwood did not write it: there is no {first} beside it; expected "
            "another name, or neither of the two there"
        )


@contextmanager
def alone_in(path: str | Path) -> Iterator[None]:
    """Makes a folder that files go into one by one, and keeps other processes from doing the same meanwhile.

    What killed processes left anywhere in it is cleared.

    Raises:
        ConfigError: If another process is inside such a block.
        WriteError: If the folder cannot be written.
    """
    check_folder(path)
    with explained(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    with only_writer(Path(path)) as alone:
        if not alone:
            raise ConfigError(f"{path}: another process of Sapwood is writing there; expected a folder of its own")
        clear_below(Path(path))
        yield


@contextmanager
def explained(path: str | Path, names: Mapping[Path, str | Path] = MappingProxyType({})) -> Iterator[None]:
    """Turns what the system says about writing ``path`` into an error that names it.

    Args:
        path: What is written.
        names: Files and directories in a temporary folder, and what they will be called.

    Raises:
        WriteError: For any :class:`OSError` but one about a file elsewhere.
    """
    try:
        yield
    except OSError as error:
        about = _name(path, names, error)
        if about is None:
            raise
        raise unwritten(about, error) from error


def unwritten(path: str | Path, error: OSError) -> WriteError:
    """The error that says why ``path`` was not written."""
    reason = error.strerror or str(error)
    problem = WriteError(f"{path}: cannot be written ({reason}); what stood there before is as it was")
    problem.errno, problem.strerror, problem.filename = error.errno, reason, str(path)
    return problem


def _name(path: str | Path, names: Mapping[Path, str | Path], error: OSError) -> str | Path | None:
    """What an error is about; None if that is something else than what is written."""
    if not isinstance(error.filename, (str, bytes)):
        return path
    about = Path(os.fsdecode(error.filename))
    for made, name in names.items():
        if about.is_relative_to(made):
            return Path(name, about.relative_to(made))
    return path if not names or SIGN in str(about) else None


@contextmanager
def blaming_the_disk(folder: Path, size: int) -> Iterator[None]:
    """For libraries that write by themselves, and do not say so where a disk is full or a file may not be as large.

    Args:
        folder: Where they write.
        size: About as many bytes as they write.

    Raises:
        OSError: If the block raises, and as much cannot be written there.
    """
    try:
        yield
    except Exception:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
        raise


def _check_parent(path: str | Path, folder: Path) -> None:
    """Refuses a folder into which nothing can be written, or that cannot be made."""
    nearest = folder
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ConfigError(f"{path}: {nearest} is a file; expected a folder")
    effective = os.access in os.supports_effective_ids
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=effective):
        is_read_only = hasattr(os, "statvfs") and os.statvfs(nearest).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise unwritten(path, OSError(number, f"{os.strerror(number)}: {nearest}"))
