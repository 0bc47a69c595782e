"""Options of int8, and what is printed of a file that holds it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.common import progress_bar
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from sapwood.pipeline import Int8File, Int8Options

NUM_PICTURES, TRAIN_SPLIT, SPLIT = 128, "train", "val"
"""Pictures that ranges are taken from and the parts of the data that are looked at, unless told otherwise."""


@dataclass(frozen=True)
class QuantisingOptions:
    """Whether a file holds int8, and how."""

    int8: Annotated[
        bool, typer.Option("--int8", help="Static int8, of `onnx` and `openvino`; looks at the pictures of --data.")
    ] = False
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Of --int8: a data set, or any folder of pictures.", show_default=False),
    ] = None
    train_split: Annotated[
        str | None,
        typer.Option(
            "--train-split",
            help="Of --int8: the part that ranges are taken from, without its labels.",
            show_default=TRAIN_SPLIT,
        ),
    ] = None
    split: Annotated[
        str | None,
        typer.Option("--split", help="Of --int8: the part that the file is measured on.", show_default=SPLIT),
    ] = None
    num_pictures: Annotated[
        int | None,
        typer.Option(
            "--int8-pictures",
            min=1,
            help="Of --int8: pictures that ranges are taken from, at most.",
            show_default=str(NUM_PICTURES),
        ),
    ] = None
    int8_ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--int8-ignore", metavar="GLOB", help="Layers that stay in float32, as `layers.15*`; may be repeated."
        ),
    ] = None
    int8_max_drop: Annotated[
        float | None,
        typer.Option(
            "--int8-max-drop",
            help="How much mAP@0.5 or top-1 int8 may lose; the fewest layers that this takes stay in float32. Of "
            "pictures without labels: how much of what float32 finds.",
        ),
    ] = None
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of --int8: threads that the runtime may use.")
    ] = None

    def read(self) -> Int8Options | None:
        """How the file is quantised; None if it is not.

        Raises:
            ConfigError: If there are no pictures, or options of int8 without it.
        """
        from sapwood.pipeline import Int8Options

        if not self.int8:
            self._check_none()
            return None
        if self.data is None:
            raise ConfigError("--int8 takes the range of every value from pictures (no labels); expected --data")
        return Int8Options(
            str(self.data),
            TRAIN_SPLIT if self.train_split is None else self.train_split,
            SPLIT if self.split is None else self.split,
            self.num_pictures or NUM_PICTURES,
            tuple(self.int8_ignore or ()),
            self.int8_max_drop,
            self.threads,
        )

    def _check_none(self) -> None:
        given = {
            "--data": self.data,
            "--train-split": self.train_split,
            "--split": self.split,
            "--int8-pictures": self.num_pictures,
            "--threads": self.threads,
            "--int8-ignore": self.int8_ignore or None,
            "--int8-max-drop": self.int8_max_drop,
        }
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name} is of --int8; expected --int8 beside it")


def stage(name: str) -> AbstractContextManager[Any]:
    """A bar for a stage of the work."""
    return progress_bar(name)


def lines(result: Int8File) -> list[str]:
    """What is told of an int8 file, beside what is told of every file."""
    judged, left = result.judged, result.left
    layers = f"{result.num_int8} of {result.num_layers} layers"
    pictures = f"{result.num_calibrated} picture{'s' * (result.num_calibrated > 1)}"
    said = [f"int8: {layers}, {result.kind}, ranges from {pictures}"]
    said += [f"float32: {', '.join(f'{name} ({reason})' for name, reason in left.items())}"] if left else []
    same = f"agrees with float32 on {judged.agreement:.1%} of what both find in {result.num_measured} pictures"
    if judged.before is None or judged.after is None:
        return [*said, f"{same}, on {result.runtime}"]
    return [*said, f"{same}; {judged.metric} {judged.before:.4f}, on {result.runtime} {judged.after:.4f}"]
