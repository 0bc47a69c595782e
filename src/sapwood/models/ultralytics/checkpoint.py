"""A ``.pt`` of Ultralytics: a pickle, of which only the framework's own classes are built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapwood.errors import SpecError
from sapwood.foreign import foreign
from sapwood.models.ultralytics.package import ultralytics_tasks, version
from sapwood.models.ultralytics.yaml_text import read_yaml_text, yaml_text
from sapwood.pickled import Inert, named_in, read_pickled
from sapwood.reading import check_regular, reading

MARK = "sapwood"
"""The attribute of a network that was written by Sapwood: the JSON of its ``.yaml`` and its plans."""

EXPECTED = "a checkpoint of Ultralytics that holds a whole network, and classes of Ultralytics and PyTorch only"


@dataclass(frozen=True)
class ReadNetwork:
    """What a ``.pt`` holds.

    Attributes:
        network: In evaluation mode, float32, its parameters trainable.
        yaml: The text of the ``.yaml`` that builds the dense network.
        plans: What was removed from it since: the JSON of each plan.
        image_size: What it was trained at, in pixels.
    """

    network: nn.Module
    yaml: str
    plans: tuple[str, ...]
    image_size: int | tuple[int, int]


def read_checkpoint(path: Path) -> ReadNetwork:
    """Reads a ``.pt``; nothing in it is executed.

    Raises:
        SpecError: If it is no such file, or holds a class that is neither Ultralytics' nor PyTorch's; it is named.
        MissingDependencyError: If Ultralytics is not installed, or too old to read files safely.
    """
    tasks = ultralytics_tasks()
    check_regular(path, EXPECTED, SpecError)
    _check_kind(path)
    with reading(path, EXPECTED, SpecError):
        try:
            content, _ = tasks.torch_safe_load(str(path), safe_only=True)
        except TypeError as error:
            raise SpecError(f"{path}: {' '.join(str(error).split())[:300]}; expected {EXPECTED}") from error
    network = (content.get("ema") or content.get("model")) if isinstance(content, Mapping) else None
    if not isinstance(network, tasks.BaseModel):
        raise SpecError(f"{path}: holds {_described(content, network)}; expected {EXPECTED}")
    yaml, plans = origin(path, network)
    network = network.float().eval()
    network.criterion = None
    for name, parameter in network.named_parameters():
        parameter.requires_grad = ".dfl." not in name  # frozen when it was written, but for the one that always is
    settings = content.get("train_args") or {}
    return ReadNetwork(network, yaml, plans, _size(settings.get("imgsz")))


def write_checkpoint(path: Path, network: nn.Module, yaml: str, plans: tuple[str, ...], image_size: int) -> None:
    """Writes a network as Ultralytics does, so that ``YOLO(path)`` takes it.

    One whose widths its ``.yaml`` does not say gets one that Ultralytics cannot build from; see :func:`mark_`.
    """
    mark_(network, yaml, plans, str(path))
    task = ultralytics_tasks().guess_model_task(network)
    torch.save(
        {
            "epoch": -1,
            "best_fitness": None,
            "model": network,
            "ema": None,
            "updates": None,
            "optimizer": None,
            "train_args": {"task": task, "imgsz": image_size},
            "version": version(),
        },
        path,
    )


def mark_(network: nn.Module, yaml: str, plans: tuple[str, ...], where: str) -> None:
    """Notes in a network of Ultralytics what it was made from.

    If something was removed, Ultralytics cannot build from its ``.yaml`` any more: training would make the dense
    network again without a word, and now says what to do.
    """
    content = read_yaml_text(yaml, where)
    if plans:
        content["backbone"][0][2] = TRAIN_WITH
    marked: Any = network
    marked.yaml = content
    setattr(marked, MARK, json.dumps({"yaml": yaml, "plans": list(plans)}))


TRAIN_WITH = "pruned: train it with trainer=sapwood.models.ultralytics.keep_widths"
"""Stands for the first layer in the ``.yaml`` of a pruned network, and so in the error of whoever builds from it."""


def origin(where: Path, network: Any) -> tuple[str, tuple[str, ...]]:
    """The ``.yaml`` of the dense network, and the plans since."""
    own = dict(network.yaml)
    if hasattr(network, MARK):
        with reading(where, "what Sapwood noted of a network that it pruned", SpecError):
            kept = json.loads(getattr(network, MARK))
            own, plans = read_yaml_text(kept["yaml"], str(where)), tuple(str(plan) for plan in kept["plans"])
    else:
        plans = ()
    names = getattr(network, "names", {})
    return yaml_text({**own, "channels": own.get("channels", own.get("ch", 3)), "nc": len(names) or own["nc"]}), plans


def _check_kind(path: Path) -> None:
    """Names files of other kinds, and classes of other packages, before anything is read."""
    what = foreign(path)
    if what:
        raise SpecError(f"{path}: {what}; expected {EXPECTED}")
    names = named_in(path)
    strange = sorted(name for name in names if not name.startswith(_HOMES))
    if strange:
        old = " of the repositories of YOLOv5 or YOLOv7" if any(name.startswith(_OLD) for name in strange) else ""
        raise SpecError(f"{path}: holds {', '.join(strange[:3])}{old}; expected {EXPECTED}. Nothing of it was executed")
    if not any(name.startswith("ultralytics.") for name in names):
        content = read_pickled(path, EXPECTED, SpecError)
        network = content.get("model") if isinstance(content, Mapping) else content
        raise SpecError(f"{path}: holds {_described(content, network)}; expected {EXPECTED}")


_OLD = ("models.yolo.", "models.experimental.")
_HOMES = (
    "ultralytics.",
    "torch.",
    "torchvision.",
    "numpy.",
    "pathlib.",
    "collections.",
    "_codecs.encode",
    "builtins.getattr",
    "builtins.set",
    "builtins.bytearray",
    "builtins.complex",
)
"""Where what Ultralytics writes comes from; its own reader is stricter, and decides."""


def _size(value: Any) -> int | tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    return int(value[0] if isinstance(value, list | tuple) else value or 640)


def _described(content: Any, network: Any) -> str:
    held = content if network is None else network
    if isinstance(held, Inert):
        return f"a module of {held.named}"
    if not isinstance(held, Mapping):
        return f"a {type(held).__name__}"
    listed = ", ".join(map(str, list(held)[:4]))
    if held and all(isinstance(value, torch.Tensor) for value in held.values()):
        return f"tensors without their network ({listed}), which --weights takes beside a model that is built"
    return listed or "an empty dict"
