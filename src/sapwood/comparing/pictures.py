"""The chosen pictures of a comparison: read, kept small for the report, and shown to each candidate."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from sapwood.data import read_image
from sapwood.report import Found, PictureResult, ShownPicture
from sapwood.tasks import TASKS, Sighting
from sapwood.types import Dataset, ModelBundle, Picture, TextDataset

LONGEST_SIDE = 960
"""Pixels of the longer side of a picture in the report; boxes are drawn over it in the picture's own pixels."""
JPEG_QUALITY = 82
DEFAULT_PICTURES = 3


def read_pictures(paths: Iterable[str | Path]) -> dict[str, Picture]:
    """Reads picture files, each under its name; under its whole path where two files have one name.

    Raises:
        ImageError: If a file cannot be read.
    """
    pictures: dict[str, Picture] = {}
    for path in map(Path, paths):
        name = path.name if path.name not in pictures else str(path)
        pictures[name] = read_image(path)
    return pictures


def first_pictures(dataset: Dataset, count: int = DEFAULT_PICTURES) -> dict[str, Picture]:
    """Returns the first pictures of a data set; none of texts.

    Raises:
        ImageError: If one of them cannot be read.
    """
    if isinstance(dataset, TextDataset):
        return {}
    return {sample.image_id: sample.load() for sample in dataset.samples[:count]}


def shown_picture(picture_id: str, picture: Picture) -> ShownPicture:
    """Returns a picture as the report keeps it: its true size, and a JPEG no larger than a page needs."""
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return ShownPicture(id=picture_id, width=width, height=height, jpeg=uri)


def find_in(
    bundle: ModelBundle, pictures: Mapping[str, Picture], *, score_threshold: float, iou_threshold: float
) -> tuple[PictureResult, ...]:
    """Returns what a model finds in each picture: objects with boxes, or a classifier's best five classes."""
    found = TASKS[bundle.task.kind].find(
        bundle, list(pictures.values()), score_threshold=score_threshold, iou_threshold=iou_threshold
    )
    return tuple(
        PictureResult(id=name, found=tuple(_found(one, bundle.task.class_names) for one in sightings))
        for name, sightings in zip(pictures, found, strict=True)
    )


def _found(sighting: Sighting, class_names: tuple[str, ...]) -> Found:
    name, score = class_name(class_names, sighting.label), round(min(1.0, max(0.0, sighting.score)), 4)
    if sighting.box is None:
        return Found(class_name=name, score=score)
    x1, y1, x2, y2 = (round(edge, 1) for edge in sighting.box)
    return Found(class_name=name, score=score, box=(x1, y1, x2, y2))


def class_name(class_names: tuple[str, ...], label: int) -> str:
    """Returns the name of a class, or its number where the model has no names."""
    return class_names[label] if label < len(class_names) else f"class {label}"
