"""What every reader of annotations shares: stopping or skipping at bad input, checks of boxes and classes, ids."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from sapwood import reading
from sapwood.errors import ConfigError, DataError
from sapwood.reading import MAX_DIGITS, is_plain, shown

OnBad = Literal["error", "skip"]
Box: TypeAlias = "tuple[float, float, float, float]"

PICTURE_FORMATS = MappingProxyType(
    {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".png": "PNG",
        ".bmp": "BMP",
        ".webp": "WEBP",
        ".tif": "TIFF",
        ".tiff": "TIFF",
        ".ppm": "PPM",
        ".pgm": "PPM",
    }
)
"""The endings of picture files -> what Pillow calls their formats; no other format is ever decoded."""

PICTURE_SUFFIXES = frozenset(PICTURE_FORMATS)

UNREAD_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jxl", ".tga"})
"""The endings of pictures that are not decoded. In a data set they are broken ones, as one left out changes figures."""

_DEEPEST = 16
_SAME_CLASS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
}
"""Pascal VOC's and Darknet's spelling of six classes -> COCO's."""


@dataclass
class Findings:
    """Decides what bad input does: raise at the first, or note each and go on."""

    on_bad: OnBad
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.on_bad not in ("error", "skip"):
            raise ConfigError(f"on_bad is 'error' or 'skip'; got {self.on_bad!r}")

    def bad(self, message: str, error: type[DataError] = DataError) -> None:
        """Raises ``error`` with ``message``, or notes it where bad input is skipped."""
        if self.on_bad == "error":
            raise error(message)
        self.skipped.append(message)


def box_problem(
    box: Box,
    size: tuple[int, int],
) -> str | None:
    """Says what is wrong with a box x1, y1, x2, y2 in a picture of ``size`` (height, width), or None.

    Examples:
        >>> box_problem((0, 0, 10, 5), (100, 100))
        >>> box_problem((10, 0, 10, 5), (100, 100))
        'a box of width 0 and height 5; expected positive sizes'
    """
    x1, y1, x2, y2 = box
    if not all(math.isfinite(edge) for edge in box):
        return f"a box with edges {x1:g}, {y1:g}, {x2:g}, {y2:g}; expected finite numbers"
    if x2 <= x1 or y2 <= y1:
        return f"a box of width {x2 - x1:g} and height {y2 - y1:g}; expected positive sizes"
    height, width = size
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return f"a box {x1:g}, {y1:g}, {x2:g}, {y2:g} outside its picture of {width} x {height} pixels"
    return None


def clipped(box: Box, size: tuple[int, int]) -> Box:
    """Cuts a box x1, y1, x2, y2 to its picture of ``size`` (height, width)."""
    height, width = size
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))


@dataclass(frozen=True)
class ClassMap:
    """How a data set's classes become labels.

    Attributes:
        own_names: The data set's own class names, in the order of its class numbers.
        class_names: The names that the labels index.
        label_of: For each of the data set's own classes, its label; None where the model has no such class.
    """

    own_names: tuple[str, ...]
    class_names: tuple[str, ...]
    label_of: tuple[int | None, ...]


def ordered_names(own: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The sorted class names of a data set, where their order alone says which of the model's classes each is.

    Args:
        own: The data set's class names.
        wanted: The model's; empty for unknown.

    Examples:
        >>> ordered_names(["dog", "cat"], ["LABEL_0", "LABEL_1"]), ordered_names(["dog", "cat"], ["cat", "dog"])
        (('cat', 'dog'), ())
    """
    names = sorted(own)
    if not wanted or _numbered(names) or {*map(_key, names)} & {*map(_key, wanted)}:
        return ()
    return tuple(names)


def order_note(where: str, ordered: Sequence[str], wanted: Sequence[str]) -> str:
    """Says which names were taken for which classes.

    Examples:
        >>> order_note("films", ["bad", "good"], ["LABEL_0", "LABEL_1"]).partition(";")[0]
        "films: bad, good are taken for the model's LABEL_0, LABEL_1, in the order of the alphabet"
    """
    return (
        f"{where}: {_listed(ordered)} are taken for the model's {_listed(wanted)}, in the order of the alphabet; where "
        "the model counts otherwise, --names FILE says so: a name a line, in its order"
    )


_NUMBERED = re.compile(r"(\D*)\d+")


def map_classes(own: Sequence[str], wanted: Sequence[str]) -> ClassMap:
    """Maps a data set's classes to the model's by name, ignoring case, ``_`` and the VOC spelling of six COCO classes.

    Where no name matches (the model's are placeholders, say) the data set's own names and order are kept. Where only
    some match, the others have no label.

    Args:
        own: The data set's class names, in the order of its class numbers.
        wanted: The model's class names; empty for unknown.

    Raises:
        DataError: If a matching name stands for several of the model's classes, or is no text that can be shown.

    Examples:
        >>> map_classes(["Cat", "aeroplane"], ["airplane", "dog", "cat"]).label_of
        (2, 0)
        >>> map_classes(["x", "y"], ["class0", "class1"]).class_names
        ('x', 'y')
    """
    garbled = [name for name in own if not is_plain(name)]
    if garbled:
        raise DataError(f"class {shown(garbled[0])}: expected a name without control characters")
    keys = [_key(name) for name in wanted]
    counts = Counter(keys)
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    labels: list[int | None] = [first.get(_key(name)) for name in own]
    if all(label is None for label in labels):
        return ClassMap(tuple(own), tuple(own), tuple(range(len(own))))
    ambiguous = sorted({name for name in own if counts[_key(name)] > 1})
    if ambiguous:
        raise DataError(f"class {ambiguous[0]!r} stands for {counts[_key(ambiguous[0])]} of the model's classes")
    return ClassMap(tuple(own), tuple(wanted), tuple(labels))


def unknown_class(name: str, known: Sequence[str]) -> str:
    """The message for a class that has no label although others of the data set have.

    Examples:
        >>> unknown_class("zebra", ["cat", "dog"])
        "class 'zebra' is not one of the 2 known: cat, dog"
    """
    return f"class {name!r} is not one of the {len(known)} known: {_listed(known)}"


def check_same_classes(where: str, own: Sequence[str], wanted: Sequence[str]) -> None:
    """Checks that labels of a data set can be the model's classes: that one name at least is known to both.

    Nothing is said where the names of either are numbers behind one word (``class0``, ``LABEL_1``, ImageNet's
    ``n01440764``): they mean an order.

    Args:
        where: The data set, in the message.
        own: Its class names.
        wanted: The model's; empty for unknown.

    Raises:
        DataError: If no name is the other's.

    Examples:
        >>> check_same_classes("cells", ["x", "y"], ["class0", "class1"])
        >>> check_same_classes("cells", ["x", "y"], ["cat", "dog"])
        Traceback (most recent call last):
        sapwood.errors.DataError: cells has the classes x, y, and the model cat, dog: none is the other's; ...
    """
    if not own or not wanted or _numbered(own) or _numbered(wanted) or {*map(_key, own)} & {*map(_key, wanted)}:
        return
    raise DataError(
        f"{where} has the classes {_listed(own)}, and the model {_listed(wanted)}: none is the other's; expected data "
        "of the model's classes, or --names FILE with what the data calls them, in the model's order"
    )


def _numbered(names: Sequence[str]) -> bool:
    found = [_NUMBERED.fullmatch(name) for name in names]
    return len({one and one[1] for one in found}) == 1 and found[0] is not None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def whole(value: Any) -> int | None:
    """The whole number that a value of JSON or YAML is, or None: true and "1" are none.

    Examples:
        >>> whole(3), whole(3.0), whole(3.5), whole(True), whole("3")
        (3, 3, None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**MAX_DIGITS else None


def image_ids(files: Sequence[Path]) -> list[str]:
    """An id for each picture: its stem, or the shortest longer path where several share a stem.

    Where the last 16 parts of two are the same, it is the whole path.

    Examples:
        >>> image_ids([Path("a/1.jpg"), Path("b/1.jpg"), Path("b/2.jpg")])
        ['a/1', 'b/1', '2']
    """
    ids = [file.stem for file in files]
    for depth in range(2, 1 + min(_DEEPEST, max((len(file.parts) for file in files), default=0))):
        taken = Counter(ids)
        if len(taken) == len(ids):
            return ids
        ids = [
            "/".join((*file.parts[-depth:-1], file.stem)) if taken[name] > 1 else name
            for file, name in zip(files, ids, strict=True)
        ]
    taken = Counter(ids)
    return [str(file) if taken[name] > 1 else name for file, name in zip(files, ids, strict=True)]


def read_text(path: Path, what: str) -> str:
    """Reads a UTF-8 text file.

    Raises:
        DataError: If it is missing, a directory or not UTF-8; ``what`` says what was expected.
    """
    return reading.read_text(path, what, DataError)


def _key(name: str) -> str:
    plain = " ".join(name.lower().replace("_", " ").split())
    return _SAME_CLASS.get(plain, plain)
