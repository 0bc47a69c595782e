"""What a ``data.yaml`` says of a data set, checked key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sapwood.data.checks import whole
from sapwood.errors import DataError
from sapwood.limits import check_limit
from sapwood.reading import read_yaml, shown

_SPLITS = ("train", "val", "valid", "validation", "test")
_MOST_KEYPOINTS = 10_000
_DIGITS = frozenset(map(str, range(10_000)))
"""Numbers of classes that are written as texts."""


@dataclass(frozen=True)
class DataYaml:
    """The keys of a ``data.yaml`` that say where things are.

    Attributes:
        root: The ``path``: below it, or else beside the file, the splits are looked for.
        splits: For each split its folders, or files that list pictures, as they are written.
        class_names: The ``names``, empty where there are none.
        num_keypoint_values: How many numbers of key points follow a box in a line of labels (``kpt_shape``); 0 where
            there are none.
        downloads: Whether it says where the pictures could be had from, which is never done here.
    """

    root: str
    splits: Mapping[str, tuple[str, ...]]
    class_names: tuple[str, ...]
    num_keypoint_values: int = 0
    downloads: bool = False


def read_data_yaml(file: Path) -> DataYaml:
    """Reads a ``data.yaml``.

    Raises:
        DataError: If it is not YAML, or a key does not hold what it should; the message names the key.
    """
    record = read_yaml(file, "a data.yaml", DataError).value
    if not isinstance(record, dict):
        raise DataError(f"{file}: expected a mapping with train, val and names")
    root = record.get("path")
    if not (root is None or isinstance(root, str)):
        raise DataError(f"{file}: path: {shown(root)}; expected the name of a folder, in quotes if it is a number")
    places = {split: _places(record.get(split), split, file) for split in _SPLITS}
    names = _names(record.get("names"), file)
    if record.get("nc") is not None:
        count = check_count(record["nc"], "nc", str(file))
        if names and len(names) != count:
            raise DataError(f"{file}: nc: {count} and {len(names)} names; expected as many")
    there = {split: found for split, found in places.items() if found}
    return DataYaml(root or "", there, names, _keypoints(record.get("kpt_shape"), file), bool(record.get("download")))


def check_count(value: Any, key: str, where: str) -> int:
    """Returns the number of classes that a file states.

    Raises:
        DataError: If it is no whole number, not positive, or above the limit ``classes``.
    """
    count = whole(value)
    if count is None or count < 1:
        raise DataError(f"{where}: {key}: {shown(value)}; expected a positive whole number, of classes")
    check_limit("classes", count, f"{where}: {key}", DataError)
    return count


def _places(value: Any, split: str, file: Path) -> tuple[str, ...]:
    """The folders or lists of a split; none where the key is missing or empty."""
    places = () if value is None or value == "" else (value,) if isinstance(value, str) else value
    if not isinstance(places, tuple | list) or not all(isinstance(place, str) and place for place in places):
        expected = "a folder, a file that lists pictures, or a list of them"
        raise DataError(f"{file}: {split}: {shown(value)}; expected {expected}")
    return tuple(places)


def _keypoints(shape: Any, file: Path) -> int:
    """How many numbers the key points of a box are; 0 where none are named."""
    if shape is None:
        return 0
    sizes = [whole(one) or 0 for one in shape] if isinstance(shape, list) else []
    if len(sizes) != 2 or sizes[1] not in (2, 3) or not 0 < sizes[0] <= _MOST_KEYPOINTS:
        raise DataError(f"{file}: kpt_shape: {shown(shape)}; expected [how many, 2 or 3]")
    return sizes[0] * sizes[1]


def _names(names: Any, file: Path) -> tuple[str, ...]:
    if names is None:
        return ()
    if isinstance(names, dict) and all(isinstance(key, str) and key in _DIGITS for key in names):
        names = {int(key): name for key, name in names.items()}
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise DataError(f"{file}: names is a list, or a mapping from 0, 1, ... to names; got {shown(names)}")
    for number, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise DataError(
                f"{file}: names[{number}]: {shown(name)}; expected text, in quotes if YAML takes it for else"
            )
    return tuple(map(str, names))
