"""What stands in the ``plan.json`` of a saved model, and how it is read and written."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pydantic

from sapwood.errors import SavedModelError
from sapwood.files import check_directory, new_directory
from sapwood.models.plan import Plan
from sapwood.models.plan_json import plan_from_dict
from sapwood.types import TaskSpec

SCHEMA_VERSION = 2
"""Version 1 had no plans, no verification and no list of what could not be pruned; it still loads."""

WEIGHTS_NAME = "model.safetensors"
PLAN_NAME = "plan.json"
OWN_NAMES = (PLAN_NAME, WEIGHTS_NAME, "model.cfg", "model.weights", "report.json", "report.html")
"""Of all files that Sapwood writes beside a model; others there are the user's own."""

_ADDED_IN_2: dict[str, Any] = {"plans": [], "verification": None, "unpruned": []}
_FLAT_LIST = re.compile(r"\[\n\s+(-?\d[^\[\]{}\"]*?)\n\s+\]")


def new_saved(directory: str | Path) -> AbstractContextManager[Path]:
    """An empty directory that takes the place of a saved model; see :func:`sapwood.files.new_directory`."""
    return new_directory(directory, PLAN_NAME, OWN_NAMES)


def check_target(directory: str | Path) -> None:
    """Checks, before the work, that a model can be saved in a directory.

    Raises:
        ConfigError: If it holds files and no saved model, or is the working directory or above it.
        WriteError: If it cannot be written.
    """
    check_directory(directory, PLAN_NAME)


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
        darknet_header: The header of the ``.weights`` file the model was read from.
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
    darknet_header: tuple[int, int, int, int] | None
    record: dict[str, Any]


def read_plan(directory: str | Path) -> SavedPlan:
    """Reads the ``plan.json`` of a saved model.

    Raises:
        SavedModelError: If it is missing, damaged or of an unknown schema version.
    """
    path = Path(directory) / PLAN_NAME
    text = read_text(path)
    try:
        content = json.loads(text)
        version = content["schema_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise SavedModelError(f"{path}: damaged, or not written by Sapwood ({error!r})") from error
    if version == 1:
        content = _ADDED_IN_2 | content
    elif version != SCHEMA_VERSION:
        raise SavedModelError(f"{path}: schema version {version!r}; expected {SCHEMA_VERSION} or 1")
    try:
        return SavedPlan.model_validate_json(json.dumps(content))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SavedModelError(f"{path}: {place}: {first['msg']}") from error


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
    return decode_plans(Path(directory), read_plan(directory))


def decode_plans(directory: Path, saved: SavedPlan) -> tuple[Plan, ...]:
    """Returns the plans of a ``plan.json`` that was read."""
    return tuple(_decode_plan(directory, number, data) for number, data in enumerate(saved.plans))


def _decode_plan(directory: Path, number: int, data: dict[str, Any]) -> Plan:
    try:
        return plan_from_dict(data)
    except SavedModelError as error:
        raise SavedModelError(f"{directory / PLAN_NAME}: plans.{number}.{error}") from error


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
    """Reads a text file of a saved model.

    Raises:
        SavedModelError: If it is missing or no UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        raise SavedModelError(f"{path}: cannot be read ({error.strerror}); expected a saved model") from error
    except UnicodeDecodeError as error:
        raise SavedModelError(f"{path}: damaged: not UTF-8 text") from error
