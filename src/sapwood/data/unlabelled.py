"""Opens a folder of pictures that nobody has labelled, for what looks at pictures only."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sapwood.data.checks import PICTURE_SUFFIXES, image_ids
from sapwood.data.images import read_image
from sapwood.data.places import exists, is_dir, is_file, pictures_below
from sapwood.errors import DataError
from sapwood.meant import meant_path
from sapwood.task_kinds import TASKS
from sapwood.types import ClassificationDataset, ClassificationSample, DetectionDataset, DetectionSample, TaskKind

NO_LABEL = -1
"""The class of a picture of which nothing is known."""


def picture_files(path: str | Path) -> list[Path]:
    """The picture files in a folder and the folders below that can be read, sorted; none if it is no folder."""
    root = Path(path)
    files = pictures_below(root) if is_dir(root) else []
    return [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES and is_file(file)]


def open_unlabelled(path: str | Path, kind: TaskKind, *, split: str = "") -> DetectionDataset | ClassificationDataset:
    """Opens all pictures in a folder and the folders below.

    Args:
        path: The folder.
        kind: The task that the pictures are for: samples of class :data:`NO_LABEL` where its data sets hold classes,
            without boxes for any other.
        split: A folder in it, whose pictures alone are opened where it is there.

    Raises:
        DataError: If there is no such folder, or no picture in it.
    """
    root = Path(path)
    if split and is_dir(root / split):
        root = root / split
    files = picture_files(root)
    if not files:
        reason = "holds no pictures" if is_dir(root) else "is a file" if exists(root) else "no such folder"
        raise DataError(f"{root}: {reason}; expected a folder of pictures{meant_path(root)}")
    ids = image_ids([file.relative_to(root) for file in files])
    loads = [(image_id, partial(read_image, file)) for image_id, file in zip(ids, files, strict=True)]
    name = f"{root.name} (no labels)"
    if kind in TASKS and issubclass(TASKS[kind].dataset, ClassificationDataset):
        return ClassificationDataset(name, tuple(ClassificationSample(one, NO_LABEL, load) for one, load in loads), ())
    boxes, labels = np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
    difficult = np.zeros(0, dtype=np.bool_)
    return DetectionDataset(
        name, tuple(DetectionSample(one, boxes, labels, difficult, load) for one, load in loads), ()
    )
