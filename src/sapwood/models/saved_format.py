"""What stands in the ``plan.json`` of a saved model, and how it is read and written."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pydantic
import safetensors.torch
from torch import Tensor

from sapwood.arguments import check_path
from sapwood.errors import ConfigError, SavedModelError
from sapwood.files import check_directory, new_directory
from sapwood.limits import check_limit
from sapwood.models.framework import FRAMEWORKS
from sapwood.models.meant_specs import meant_inside
from sapwood.models.plan import Plan
from sapwood.models.plan_json import plan_from_dict
from sapwood.reading import parse_json, read_bytes, reading, shown
from sapwood.task_kinds import NO_TASK, TASKS, is_task
from sapwood.types import TaskSpec, YoloHead

SCHEMA_VERSION = 3
"""Version 1 had no plans, no verification and no list of what could not be pruned, and version 2 a field for Darknet in
the place of ``framework``; both still load."""

WEIGHTS_NAME = "model.safetensors"
PLAN_NAME = "plan.json"
OWN_NAMES = (PLAN_NAME, WEIGHTS_NAME, "report.json", "mask.json", "report.html")
"""Of the files that Sapwood writes of any model, beside those of its framework; others there are the user's own."""

EXPECTED = "what sapwood.save or save_model wrote"

_ADDED_IN_2: dict[str, Any] = {"plans": [], "verification": None, "unpruned": []}
_FLAT_LIST = re.compile(r"\[\n\s+(-?\d[^\[\]{}\"]*?)\n\s+\]")


def new_saved(directory: str | Path) -> AbstractContextManager[Path]:
    """An empty directory that takes the place of a saved model; see :func:`sapwood.files.new_directory`."""
    of_frameworks = [name for framework in FRAMEWORKS for name in FRAMEWORKS[framework].own_files]
    return new_directory(directory, PLAN_NAME, (*OWN_NAMES, *of_frameworks))


def check_target(directory: str | Path) -> None:
    """Checks, before the work, that a model can be saved in a directory.

    Raises:
        ConfigError: If it holds files and no saved model, or is the working directory or above it.
        WriteError: If it cannot be written.
    """
    check_directory(directory, PLAN_NAME)


def check_no_model(directory: str | Path) -> None:
    """Checks, before the work, that files which go into a directory one by one do not end up among a model's.

    Raises:
        ConfigError: If a saved model is there: some of its files would be replaced, and others not.
    """
    if Path(directory, PLAN_NAME).exists():
        raise ConfigError(
            f"{directory}: holds a saved model, whose files would be replaced; expected another directory"
        )


class SavedSource(pydantic.BaseModel):
    """Where the model came from, as ``plan.json`` says it; ``files`` are the names of files beside it."""

    model_config = pydantic.ConfigDict(extra="forbid")

    spec: str
    kind: str
    weights: str | None
    files: tuple[str, ...]


class SavedPlan(pydantic.BaseModel):
    """What ``plan.json`` holds.

    Attributes:
        schema_version: Of this description.
        source: Where the model came from.
        task: What it is for.
        plans: What was removed from the model of ``source``, step by step.
        verification: How the last of the plans was proven, or None.
        unpruned: What could not be pruned by the last of the plans, each with its reason.
        masks: The parameters under a live mask.
        aliases: Names that share the tensor of another name, which is the one stored.
        framework: What the model's framework keeps of it beside its tensors, as it checks itself.
        record: Whatever the caller gave, such as what was done to the model.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    schema_version: int
    source: SavedSource
    task: TaskSpec
    plans: tuple[dict[str, Any], ...]
    verification: dict[str, Any] | None
    unpruned: tuple[dict[str, Any], ...]
    masks: tuple[str, ...]
    aliases: dict[str, str]
    framework: dict[str, Any]
    record: dict[str, Any]


def read_plan(directory: str | Path) -> SavedPlan:
    """Reads the ``plan.json`` of a saved model.

    Raises:
        SavedModelError: If it is missing, damaged or of an unknown schema version.
    """
    path = Path(directory) / PLAN_NAME
    if not os.path.lexists(path) and (meant := meant_inside(directory)):
        raise SavedModelError(f"{path}: no such file; expected a saved model{meant}")
    content = parse_json(read_text(path), path, EXPECTED, SavedModelError)
    with reading(path, EXPECTED, SavedModelError):
        if not isinstance(content, dict) or "schema_version" not in content:
            raise SavedModelError(f"{path}: has no schema_version; expected {EXPECTED}")
        version = content["schema_version"]
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise SavedModelError(f"{path}: schema version {version!r}; expected 1 to {SCHEMA_VERSION}")
        content = _ADDED_IN_2 | content if version == 1 else content
        content = _without_header(content) if version < 3 else content
        try:
            saved = SavedPlan.model_validate_json(json.dumps(content))
        except pydantic.ValidationError as error:
            raise SavedModelError(f"{path}: {place_of(error)}") from error
        _check_task(path, saved.task)
    return saved


def _without_header(content: dict[str, Any]) -> dict[str, Any]:
    """What a file of before version 3 says, its one note of a framework among the others."""
    header = content.get("darknet_header")
    rest = {name: value for name, value in content.items() if name != "darknet_header"}
    return {**rest, "framework": {} if header is None else {"darknet_header": header}}


def place_of(error: pydantic.ValidationError) -> str:
    """The first thing that is wrong, with its place."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _check_task(path: Path, task: TaskSpec) -> None:
    """Checks that the task is known, and the numbers that pictures and outputs are brought into shape by."""
    if not is_task(task.kind):
        raise SavedModelError(
            f"{path}: task.kind: unknown task {shown(task.kind)}; expected {NO_TASK} or one of: {', '.join(TASKS)}. A "
            "package that adds a task registers it (docs/plugins.md)"
        )
    height, width = task.input_size
    if height < 0 or width < 0:
        raise SavedModelError(f"{path}: task.input_size: {height} x {width}; expected no negative size")
    check_limit("picture_pixels", height * width, f"{path}: task.input_size", SavedModelError)
    anchors = [size for head in task.heads if isinstance(head, YoloHead) for pair in head.anchors for size in pair]
    if not 0 < task.crop <= 1:
        raise SavedModelError(f"{path}: task.crop: {task.crop}; expected a part of 1")
    if not all(map(math.isfinite, (*task.mean, *task.std, *anchors))) or 0.0 in task.std:
        raise SavedModelError(f"{path}: task: a mean, std or anchor is not finite, or a std is 0; expected finite ones")


def load_plans(directory: str | Path) -> tuple[Plan, ...]:
    """Reads what was removed from a saved model, without loading it.

    Args:
        directory: What :func:`sapwood.save` or :func:`~sapwood.models.save_model` wrote.

    Returns:
        The plans in order: applied one after the other with :func:`~sapwood.models.apply_plan` to the dense model and
        its weights, they give the compact model again. None for a model that was never pruned.

    Raises:
        SavedModelError: If ``plan.json`` is missing or damaged; the message names the place.
    """
    check_path(directory, "directory")
    return decode_plans(Path(directory), read_plan(directory))


def decode_plans(directory: Path, saved: SavedPlan) -> tuple[Plan, ...]:
    """Returns the plans of a ``plan.json`` that was read."""
    return tuple(_decode_plan(directory, number, data) for number, data in enumerate(saved.plans))


def _decode_plan(directory: Path, number: int, data: dict[str, Any]) -> Plan:
    try:
        return plan_from_dict(data)
    except SavedModelError as error:
        raise SavedModelError(f"{directory / PLAN_NAME}: plans.{number}.{error}") from error
    except RecursionError as error:
        raise SavedModelError(f"{directory / PLAN_NAME}: plans.{number}: is nested too deeply") from error


def plan_text(content: dict[str, Any]) -> str:
    """Returns ``content`` as indented JSON with each list of numbers on a line of its own.

    Raises:
        ValueError: If it holds NaN or infinity.
        TypeError: If it holds what JSON does not know.

    Examples:
        >>> print(plan_text({"kept": [0, 2], "names": ["a"]}))
        {
          "kept": [0, 2],
          "names": [
            "a"
          ]
        }
        <BLANKLINE>
    """
    text = json.dumps(content, indent=2, allow_nan=False)
    return _FLAT_LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def read_text(path: Path) -> str:
    """Reads a text file of a saved model, its line ends as they are.

    Raises:
        SavedModelError: If it is missing or no UTF-8 text.
    """
    return _read(path, "strict")


def _read(path: Path, errors: str) -> str:
    data = read_bytes(path, "a saved model", SavedModelError, limited_by="text_bytes")
    with reading(path, "a saved model", SavedModelError):
        return data.decode("utf-8", errors)


def read_beside(directory: Path, name: str) -> str:
    """Reads a text file that ``plan.json`` names: one of the directory itself, not one that a link leads to elsewhere.

    Raises:
        SavedModelError: As :func:`read_text`, or if it lies elsewhere.
    """
    path = directory / check_name(name)
    with reading(path, "a saved model", SavedModelError):
        home, target = os.path.realpath(directory), os.path.realpath(path)
    if os.path.dirname(target) != home:
        raise SavedModelError(f"{path}: leads to {target}; expected a file of the directory itself")
    return _read(path, "surrogateescape")  # comments of a .cfg may be of any encoding


def check_name(name: str) -> str:
    """Returns the name of a file beside ``plan.json``.

    Raises:
        SavedModelError: If it is none.
    """
    if Path(name).name != name or name in {"", ".", "..", PLAN_NAME, WEIGHTS_NAME}:
        raise SavedModelError(f"{name!r} is no name for a file beside {PLAN_NAME}")
    return name


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file, the same for the same tensors.

    Raises:
        SavedModelError: If this release of safetensors cannot hold a type; names the tensor.
    """
    try:
        return _in_order(safetensors.torch.save(dict(tensors), metadata=dict(metadata)))
    except KeyError as error:  # early releases of safetensors know fewer types, and look them up
        named = next((name for name, tensor in tensors.items() if tensor.dtype in error.args), "a tensor")
        raise SavedModelError(
            f"{named}: this release of safetensors cannot hold {error}; expected a later one, or another type"
        ) from error


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its metadata in order: the library writes them in a new one each time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return data[:8] + text.ljust(end - 8) + data[end:] if len(text) <= end - 8 else data
