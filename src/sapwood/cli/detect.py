"""``sapwood detect``: boxes drawn on pictures, and as JSON."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from PIL import Image

from sapwood.cli.commanded import made
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
from sapwood.cli.next_steps import data_word, model_words, next_step, words
from sapwood.cli.record_files import PAGE, check_run
from sapwood.cli.stopping import same_command, saying
from sapwood.errors import ConfigError, ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sapwood.report import Detecting
    from sapwood.types import Detections

RECORD = "detections.json"
LONGEST_SIDE = 720
"""Pixels of the longer side of a picture on the page."""
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
    """Finds objects in pictures; writes each picture with its boxes, all detections as JSON, and a page of both.

    Example: `sapwood detect yolov3-tiny.cfg --weights yolov3-tiny.weights dog.jpg -o found`
    """
    from sapwood import tasks
    from sapwood.data import draw_detections, picture_size, read_image
    from sapwood.files import alone_in, write_bytes, write_json, write_text
    from sapwood.report import records, render_detect

    check_run(out, RECORD)
    set_threads(threads)
    bundle = on_device(files.load(model, resize), device)
    if bundle.task.kind != "detection":
        raise ConfigError(f"{model} is not a detector (its task is {bundle.task.kind}); expected a model with boxes")
    paths = _pictures(images)
    for path in paths:
        picture_size(path)  # what is no picture is said before anything is written
    read_image(paths[0])  # and what is only half of one, at least of the first
    names_drawn = _unique_names(paths)
    _check_pictures(out, names_drawn)
    found: list[dict[str, Any]] = []
    seconds = 0.0

    def where() -> str:
        return f"{len(found)} of {len(paths)} pictures are drawn in {out}; all are drawn by: {same_command()}"

    with alone_in(out), progress_bar("detecting") as progress, saying(where):
        for number, (path, name) in enumerate(zip(paths, names_drawn, strict=True), start=1):
            picture = read_image(path)
            start = time.perf_counter()
            (boxes,) = tasks.detect(bundle, [picture], score_threshold=score_threshold, iou_threshold=iou_threshold)
            seconds += time.perf_counter() - start
            drawn = out / name
            write_bytes(drawn, _as_jpeg(draw_detections(picture, boxes, bundle.task.class_names)))
            found.append({"image": str(path), "drawn": str(drawn), "detections": _rows(boxes, bundle.task.class_names)})
            progress(number, len(paths))
        then = words("sapwood", "eval", *model_words(model, bundle.source), "--data", data_word(bundle.source))
        record = records.make_part(
            records.Detecting,
            {
                "model": model, "score_threshold": score_threshold, "iou_threshold": iou_threshold, "images": found,
                "seconds": seconds, "input_size": bundle.task.input_size, "made": made([then]),
            },
        )  # fmt: skip
        write_json(out / RECORD, record.plain())
        write_text(out / PAGE, render_detect(record, photos(out, record)))
    if as_json:
        print_json(record.plain())
    else:
        _print(record)
        print(f"record: {out / RECORD}")
        print(f"report: {out / PAGE}")
        next_step(then, because="Boxes on pictures are no measure.")


def photos(folder: Path, record: Detecting) -> dict[str, str]:
    """The first pictures with their boxes, small, as addresses that hold them; what cannot be read is left out.

    Args:
        folder: Where they are looked for, by the names that they were drawn with.
        record: Which those are.
    """
    from sapwood.report import NUM_PHOTOS

    found = {}
    for one in record.images[:NUM_PHOTOS]:
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
            found[one.drawn] = _small(folder / Path(one.drawn).name)
    return found


def _small(path: Path) -> str:
    with Image.open(path) as image:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


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


def _print(record: Detecting) -> None:
    for one in record.images:
        typer.echo(f"{one.image} -> {one.drawn}")
        for row in one.detections:
            typer.echo(f"  {row.class_name:<20} {row.score:.2f}  {list(row.box)}")
        if not one.detections:
            typer.echo("  nothing found")
