"""Several folders as one: ``coco+pictures``."""

from __future__ import annotations

from pathlib import Path

from sapwood.data.formats import BUILT_IN, built_in
from sapwood.data.places import exists
from sapwood.errors import DataError
from sapwood.meant import meant_path

BETWEEN = "+"


def data_parts(data: str | Path) -> tuple[str, ...]:
    """Returns the folders that a text names, with ``+`` between them; a path that is there is one, whatever its name.

    Args:
        data: A folder, an annotation file or ``"digits"``, or several.

    Raises:
        DataError: If there are several, and one is missing or named twice.

    Examples:
        >>> data_parts("coco")
        ('coco',)
    """
    text = str(data)
    if BETWEEN not in text or exists(Path(text)):
        return (text,)
    parts = tuple(text.split(BETWEEN))
    expected = f"expected folders that are there, with {BETWEEN} between them"
    for part in parts:
        if not part or (built_in(part) is None and not exists(Path(part))):
            meant = BUILT_IN.meant(part) or meant_path(part)
            raise DataError(f"{text}: {part or 'nothing'}: no such file or folder; {expected}{meant}")
    twice = next((part for part in parts if parts.count(part) > 1), None)
    if twice is not None:
        raise DataError(f"{text}: {twice} is there twice; {expected}")
    return parts
