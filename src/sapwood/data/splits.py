"""Several parts of a data set as one: ``train+val``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sapwood.types import ClassificationDataset, DetectionDataset

Dataset = TypeVar("Dataset", DetectionDataset, ClassificationDataset)


def joined(
    split: str, class_names: Sequence[str], open_part: Callable[[str, Sequence[str]], Dataset], *, parted: bool = True
) -> Dataset:
    """Opens the parts that ``split`` names, ``+`` between them, as one data set.

    Args:
        split: ``"train"``, or ``"train+val"``.
        class_names: The model's class names; if there are none, later parts have those of the first.
        open_part: Opens one part, given its name and the class names.
        parted: Whether there are parts at all; all the names mean the whole where not.
    """
    names: list[str] = list(dict.fromkeys(split.split("+")))
    first = open_part(names[0], class_names)
    if len(names) == 1 or not parted:
        return first
    known: Sequence[str] = class_names or first.class_names
    parts: list[Any] = [first, *(open_part(name, known) for name in names[1:])]
    ids = [sample.image_id for part in parts for sample in part.samples]
    clash = len(set(ids)) < len(ids)  # two pictures of one name, as train/1.jpg and val/1.jpg
    samples = [
        replace(sample, image_id=f"{name}/{sample.image_id}") if clash else sample
        for name, part in zip(names, parts, strict=True)
        for sample in part.samples
    ]
    skipped = tuple(one for part in parts for one in part.skipped)
    return replace(first, samples=tuple(samples), skipped=skipped)
