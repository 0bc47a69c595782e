"""What the verbs share: their common options, loading what those name, and JSON output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from sapwood.cli.output import complain
from sapwood.cli.progress import doing, progress_bar
from sapwood.cli.volume import is_quiet

if TYPE_CHECKING:
    from rich.console import Console

    from sapwood.types import Dataset, ModelBundle, ModelSource

__all__ = [
    "DataOption",
    "JsonOption",
    "LoadOptions",
    "ModelArgument",
    "ModelFactoryOption",
    "NamesOption",
    "OnBad",
    "OnBadOption",
    "ResizeChoice",
    "ResizeOption",
    "SplitOption",
    "ThreadsOption",
    "WeightsOption",
    "load_bundle",
    "make_console",
    "note_threads",
    "open_data",
    "print_json",
    "progress_bar",
    "set_threads",
]

WIDTH_WITHOUT_TERMINAL = 140

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="`net.cfg`, `net.pt`, `ultralytics:NAME.yaml`, `torchvision:NAME`, `timm:NAME`, `transformers:FOLDER`, "
        "`package.module:factory`, `file.py:factory`, `builtin:digits`, or a directory that Sapwood wrote.",
        show_default=False,
    ),
]
WeightsOption = Annotated[Path | None, typer.Option("--weights", help="Darknet `.weights`, or a state dict.")]
NamesOption = Annotated[Path | None, typer.Option("--names", help="Class names, one a line.")]
ModelFactoryOption = Annotated[
    str | None,
    typer.Option(
        "--model-factory",
        metavar="MODULE:FACTORY",
        help="Of a saved MODEL that came from a function of yours: what makes the dense model, as `mynet:net` or "
        "`nets/mynet.py:net`. No file is trusted to name it.",
    ),
]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="COCO json, YOLO txt, VOC xml or an image folder, recognised by its content; or `digits`. Of "
        "`A+B`, A is measured on.",
        show_default=False,
    ),
]
SplitOption = Annotated[str, typer.Option("--split", help="Which part of the data set.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else to standard output.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="Threads PyTorch may use.")]


class OnBad(str, Enum):
    """What a broken picture or label does."""

    error = "error"
    skip = "skip"


class ResizeChoice(str, Enum):
    """How a picture becomes the network's input size."""

    stretch = "stretch"
    letterbox = "letterbox"
    letterbox_yolo = "letterbox_yolo"


OnBadOption = Annotated[OnBad, typer.Option("--on-bad", help="Stop at a broken picture or label, or skip and list it.")]
ResizeOption = Annotated[
    ResizeChoice | None,
    typer.Option("--resize", help="How a picture becomes the input size; the model's own way if not given."),
]


@dataclass(frozen=True)
class LoadOptions:
    """What a model needs besides its name."""

    panel: ClassVar[str] = "The model"

    weights: WeightsOption = None
    names: NamesOption = None
    model_factory: ModelFactoryOption = None

    def load(self, model: str, resize: ResizeChoice | None = None, *, any_weights: bool = False) -> ModelBundle:
        """Loads it; see :func:`load_bundle`."""
        return load_bundle(model, self.weights, self.names, resize, factory=self.model_factory, any_weights=any_weights)


def load_bundle(
    spec: str,
    weights: Path | None,
    names: Path | None = None,
    resize: ResizeChoice | None = None,
    *,
    factory: str | None = None,
    any_weights: bool = False,
    seed: int = 0,
) -> ModelBundle:
    """Loads a model the way every verb does; what is written of it later names the ``factory`` that made it.

    Random weights are told of, unless ``any_weights`` will do: the verb trains them, or times layers. They are drawn by
    ``seed``, so that the same name is the same network in every command: what was pruned is compared with what it was.
    """
    from sapwood.models import find_factory, load_model

    made_by = None if factory is None else find_factory(factory)
    with doing(f"loading {spec}"), _drawn_by(seed):
        bundle = load_model(spec, weights=weights, names=names, factory=made_by)
    if not any_weights and is_random(spec, bundle.source) and not is_quiet():
        complain(
            f"note: the weights of {spec} are random; expected --weights FILE beside a network that was trained", 0
        )
    if factory is not None:
        bundle = replace(bundle, source=replace(bundle.source, spec=factory, kind="factory"))
    if resize is None:
        return bundle
    return replace(bundle, task=replace(bundle.task, resize=resize.value))


@contextmanager
def _drawn_by(seed: int) -> Iterator[None]:
    """Draws PyTorch's random numbers in the block by a seed; those after it are as without."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def is_random(spec: str, source: ModelSource) -> bool:
    """Whether a network that no file of weights was given for is one that nobody trained: it was built by its name.

    Examples:
        >>> from sapwood.types import ModelSource
        >>> source = ModelSource("torchvision:resnet18", "torchvision")
        >>> is_random("torchvision:resnet18", source), is_random("a_saved_one", source)
        (True, False)
    """
    by_name = source.kind in {"torchvision", "timm", "darknet"} or spec.endswith((".yaml", ".yml"))
    return by_name and spec == source.spec and source.weights is None


def open_data(bundle: ModelBundle, data: str, split: str, on_bad: OnBad, *, learnt: bool = False) -> Dataset:
    """Opens the data set that fits the model's task; of several the first, which alone is measured on.

    That classes have their order for a reason that nobody gave is told, where a network is measured that knows one.
    """
    from sapwood import tasks
    from sapwood.data import data_parts, order_note

    with doing(f"reading {data}"):
        dataset = tasks.open_data(bundle, data_parts(data)[0], split=split, on_bad=on_bad.value)
    ordered: tuple[str, ...] = getattr(dataset, "ordered", ())
    if ordered and not learnt and not is_quiet():
        complain(f"note: {order_note(dataset.name, ordered, bundle.task.class_names)}", 0)
    return dataset


def set_threads(threads: int | None) -> None:
    """Limits PyTorch to ``threads``, where given, until the process ends; a recipe puts it back after each step.

    For verbs that run the model themselves; those that time it hand the number on.
    """
    if threads is not None:
        import torch

        note_threads(threads)
        torch.set_num_threads(threads)


def note_threads(threads: int | None) -> None:
    """Says so where there are more threads than processors, which then wait for each other."""
    processors = os.cpu_count()
    if threads is not None and processors is not None and threads > processors:
        complain(f"note: --threads {threads} on {processors} processors: threads will wait for each other", 0)


def print_json(value: Any) -> None:
    """Prints ``value`` as JSON to standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))


def make_console() -> Console:
    """Returns a console on standard output; a table that goes to a file or a pipe is as wide as it likes."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDTH_WITHOUT_TERMINAL)
