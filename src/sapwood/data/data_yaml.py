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

_SPLITS = ("train", "val", "valid", "test")


@dataclass(frozen=True)
class DataYaml:
    """The keys of a ``data.yaml`` that say where things are.

    Attributes:
        root: The ``path``: below it, or else beside the file, the splits are looked for.
        splits: For each split its folders, or files that list pictures, as they are written.
        class_names: The ``names``, empty where there are none.
    """

    root: str
    splits: Mapping[str, tuple[str, ...]]
    class_names: tuple[str, ...]


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
    return DataYaml(root or "", {split: found for split, found in places.items() if found}, names)


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


def _names(names: Any, file: Path) -> tuple[str, ...]:
    if names is None:
        return ()
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
