"""The formats of detection data sets, each registered by the file that reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sapwood.data.checks import OnBad
from sapwood.registry import Registry
from sapwood.types import DetectionDataset

Opener: TypeAlias = "Callable[[str, Sequence[str], OnBad], DetectionDataset]"
"""Opens a split: of (its name, the model's class names or none, what bad annotations do)."""


@dataclass(frozen=True)
class FolderForm:
    """How a folder is recognised.

    Attributes:
        rank: Forms are tried from the lowest rank; a folder is what the first says that recognises it.
        recognise: What opens a folder, or None where it holds something else.
    """

    rank: int
    recognise: Callable[[Path], Opener | None]


@dataclass(frozen=True)
class FileForm:
    """A file that stands for a data set.

    Attributes:
        title: How messages call it, with its article.
        suffixes: How its name ends, in lower case.
        read: What opens a file of such a name.
        parted: Whether it has splits; otherwise it is one split by itself.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Opener]
    parted: bool = True


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        title: How the documentation calls it.
        layout: What is expected where nothing is recognised.
        folders: The forms its folders have.
        files: The files that stand for one of its data sets.
    """

    title: str
    layout: str
    folders: tuple[FolderForm, ...] = ()
    files: tuple[FileForm, ...] = ()


FORMATS: Registry[Format] = Registry("data format")
"""The formats by name."""

BUILT_IN: Registry[Callable[[str], DetectionDataset]] = Registry("built-in data set")
"""What makes a split of a data set that is no file, by the name that is given for its path."""

BUILT_IN_PREFIX = "builtin:"
"""May stand before such a name, as it does before a network's."""


def built_in(path: str | Path) -> Callable[[str], DetectionDataset] | None:
    """Returns what makes the splits of a built-in data set, or None of any other path.

    Examples:
        >>> built_in("pictures") is None
        True
    """
    name = str(path).removeprefix(BUILT_IN_PREFIX)
    if name not in BUILT_IN:
        return None
    return BUILT_IN[name]


def file_form(path: Path) -> FileForm | None:
    """Returns the form of a file by its name, or None where no format has such files."""
    return next((form for form in file_forms() if path.suffix.lower() in form.suffixes), None)


def file_forms() -> list[FileForm]:
    """Returns the forms of files of all formats."""
    return [form for name in FORMATS for form in FORMATS[name].files]


def folder_forms() -> list[FolderForm]:
    """Returns the forms of folders of all formats, in the order they are tried."""
    return sorted((form for name in FORMATS for form in FORMATS[name].folders), key=lambda form: form.rank)
