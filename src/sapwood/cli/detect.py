"""``sapwood detect``: boxes drawn on pictures, and as JSON."""

from __future__ import annotations

import io
import json
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.common import (
    JsonOption,
    LoadOptions,
    ModelArgument,
    ResizeOption,
    ThreadsOption,
    print_json,
    progress_bar,
    set_threads,
)
from sapwood.cli.devices import DeviceOption, on_device
from sapwood.cli.groups import grouped
from sapwood.cli.next_steps import model_words, next_step, words
from sapwood.errors import ConfigError, ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sapwood.types import Detections

RECORD = "detections.json"
COMMENT = b"drawn by sapwood detect"
"""In each picture, so that another run knows that it may replace it."""


@grouped
def detect(
    *,
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them.")],
    files: LoadOptions,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the pictures and detections.json go.")] = Path(
        "detections"
    ),
    score_threshold: Annotated[
        float, typer.Option("--score-threshold", min=0.0, max=1.0, help="Detections below are left out.")
    ] = 0.25,
    iou_threshold: Annotated[
        float, typer.Option("--iou-threshold", min=0.0, max=1.0, help="Overlap at which NMS drops the weaker box.")
    ] = 0.45,
    resize: ResizeOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finds objects in pictures; writes each picture with its boxes, and all detections as JSON.

    Example: `sapwood detect yolov3-tiny.cfg --weights yolov3-tiny.weights dog.jpg -o found`
    """
    from sapwood import tasks
    from sapwood.data import draw_detections, picture_size, read_image
    from sapwood.files import alone_in, check_folder, write_bytes, write_json

    check_folder(out)
    set_threads(threads)
    bundle = on_device(files.load(model, resize), device)
    if bundle.task.kind != "detection":
        raise ConfigError(f"{model} is not a detector (its task is {bundle.task.kind}); expected a model with boxes")
    records = []
    paths = _pictures(images)
    for path in paths:
        picture_size(path)  # what is no picture is said before anything is written
    read_image(paths[0])  # and what is only half of one, at least of the first
    names_drawn = _unique_names(paths)
    _check_pictures(out, names_drawn)
    with alone_in(out), progress_bar("detecting") as progress:
        for number, (path, name) in enumerate(zip(paths, names_drawn, strict=True), start=1):
            picture = read_image(path)
            (found,) = tasks.detect(bundle, [picture], score_threshold=score_threshold, iou_threshold=iou_threshold)
            drawn = out / name
            write_bytes(drawn, _as_jpeg(draw_detections(picture, found, bundle.task.class_names)))
            records.append(
                {"image": str(path), "drawn": str(drawn), "detections": _rows(found, bundle.task.class_names)}
            )
            progress(number, len(paths))
        result = {
            "model": model, "score_threshold": score_threshold, "iou_threshold": iou_threshold, "images": records,
        }  # fmt: skip
        write_json(out / RECORD, result)
    if as_json:
        print_json(result)
    else:
        _print(records)
        print(f"record: {out / RECORD}")
        next_step(
            words("sapwood", "eval", *model_words(model, bundle.source), "--data", "DIR"),
            because="Boxes on pictures are no measure.",
        )


def _pictures(arguments: list[Path]) -> list[Path]:
    from sapwood.data import PICTURE_SUFFIXES
    from sapwood.data.places import entries, is_dir

    found: list[Path] = []
    for argument in arguments:
        if is_dir(argument):
            inside = [path for path in entries(argument) if path.suffix.lower() in PICTURE_SUFFIXES]
            if not inside:
                listed = ", ".join(sorted(PICTURE_SUFFIXES))
                raise ImageError(f"{argument}: a folder without pictures; expected {listed}")
            found += inside
        else:
            found.append(argument)
    return found


def _unique_names(paths: list[Path]) -> list[str]:
    """A file name for each drawn picture: its stem, with a number where several pictures share one."""
    names: dict[str, None] = {}
    for path in paths:
        numbered = (f"{path.stem}-{number}.jpg" for number in count(2))
        names[next(name for name in chain((f"{path.stem}.jpg",), numbered) if name not in names)] = None
    return list(names)


def _as_jpeg(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=92, comment=COMMENT)
    return data.getvalue()


def _check_pictures(out: Path, names: list[str]) -> None:
    """Refuses to replace pictures in a folder that were not drawn by an earlier run."""
    record = out / RECORD
    drawn = record.read_text(encoding="utf-8", errors="replace") if record.is_file() else ""
    for path in (out / name for name in names):
        if path.exists() and json.dumps(str(path)) not in drawn and not _is_drawn(path):
            raise ConfigError(
                f"{path}: it would be replaced, and `sapwood detect` did not draw it; expected another folder for -o"
            )


def _is_drawn(path: Path) -> bool:
    """Whether an earlier run drew a picture."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return COMMENT in file.read(4096)


def _rows(found: Detections, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"class": class_names[label], "score": round(score, 4), "box": [round(edge, 1) for edge in box]}
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ]


def _print(records: list[dict[str, Any]]) -> None:
    for record in records:
        typer.echo(f"{record['image']} -> {record['drawn']}")
        for row in record["detections"]:
            typer.echo(f"  {row['class']:<20} {row['score']:.2f}  {row['box']}")
        if not record["detections"]:
            typer.echo("  nothing found")
