"""What stands in a directory that Sapwood did not write: it goes over into the directory that takes its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from sapwood.files.temporary import is_temporary


def take_over(old: Path, new: Path, own: Collection[str]) -> None:
    """Gives everything in ``old`` but what is named in ``own`` a name in ``new`` too; what is there already stays.

    Files are not copied where their file system can give one a second name: whichever directory goes, they stay.
    """
    for entry in old.iterdir():
        if entry.name not in own and not is_temporary(entry):
            _give_name(entry, new / entry.name)


def _give_name(entry: Path, name: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        if not os.path.lexists(name):
            name.mkdir()
            shutil.copystat(entry, name)
        for inside in entry.iterdir():
            _give_name(inside, name / inside.name)
    elif not os.path.lexists(name):
        try:
            os.link(entry, name, follow_symlinks=False)
        except OSError:
            shutil.copy2(entry, name, follow_symlinks=False)
