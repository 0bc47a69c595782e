"""A training run's state in one file: tensors as safetensors, the rest as JSON in its header; nothing is executed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from sapwood.errors import TrainingError, WriteError
from sapwood.files import new_files
from sapwood.reading import parse_json, read_safetensors

SCHEMA = 1
EXPECTED = "a checkpoint of `sapwood train`"
_RECORD = "sapwood_training"


@dataclass(frozen=True)
class Checkpoint:
    """What one file holds.

    Attributes:
        tensors: By name; parts of a run are told apart by a prefix and a slash (``"model/conv.weight"``).
        record: JSON-able facts.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Returns the tensors of one part, without the prefix."""
        start = f"{prefix}/"
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}

    def copied(self) -> Checkpoint:
        """Returns a copy that no later step changes, its tensors in the CPU's memory and in plain order."""
        tensors = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in self.tensors.items()
        }
        return Checkpoint(tensors, json.loads(json.dumps(self.record, allow_nan=False)))


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns ``tensors`` named as one part of a checkpoint."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Writes a :meth:`~Checkpoint.copied` checkpoint in one step: killed or out of disk, the previous file is intact.

    Raises:
        TrainingError: If it cannot be written.
    """
    record = json.dumps({"schema": SCHEMA, **checkpoint.record}, allow_nan=False)
    try:
        with new_files(path) as (file,):
            save_file(dict(checkpoint.tensors), file, metadata={_RECORD: record})
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, WriteError) else error
        raise TrainingError(f"{path}: cannot be written ({reason}); the file before it is intact") from None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        TrainingError: If the file is missing, damaged, from another program, or of an unknown schema.
    """
    tensors, metadata = read_safetensors(path, EXPECTED, TrainingError)
    if _RECORD not in metadata:
        raise TrainingError(f"{path}: a safetensors file, but not a checkpoint of `sapwood train`")
    record = parse_json(metadata[_RECORD], path, EXPECTED, TrainingError)
    if not isinstance(record, dict) or "schema" not in record:
        raise TrainingError(f"{path}: its record has no schema; expected {EXPECTED}")
    schema = record.pop("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise TrainingError(f"{path}: a checkpoint of schema {schema!r}; this version reads {SCHEMA}")
    return Checkpoint(tensors, record)


def progress_of(record: Mapping[str, Any], path: str | Path) -> tuple[list[dict[str, Any]], float | None, int]:
    """Returns how far a checkpoint's run had come: its history, its best figure, the updates of its average.

    Raises:
        TrainingError: If the record does not say.
    """
    history, best, updates = record.get("history"), record.get("best"), record.get("num_updates")
    if not isinstance(history, list) or not all(isinstance(one, dict) for one in history):
        raise TrainingError(f"{path}: its history is no list of epochs; expected {EXPECTED}")
    if best is not None and not (type(best) in {int, float} and math.isfinite(best)):
        raise TrainingError(f"{path}: its best figure is {best!r}; expected a finite number, or none")
    if type(updates) is not int or not 0 <= updates < 2**53:
        raise TrainingError(f"{path}: its number of updates is {updates!r}; expected a whole number")
    return history, best, updates


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Returns an optimizer's state as tensors named ``"<parameter number>/<state>"``."""
    return {
        f"{number}/{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Continues from :func:`optimizer_tensors` of an optimizer over equal parameters, in their memory order.

    Raises:
        ValueError: If there is a state of no parameter, or of one of another shape.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        if not (number.isascii() and number.isdigit() and int(number) < len(parameters)) or not name:
            raise ValueError(f"the state {key!r} of an optimizer over {len(parameters)} parameters")
        like = parameters[int(number)]
        if value.shape != like.shape and value.dim():
            raise ValueError(f"a state of shape {tuple(value.shape)} of a parameter of shape {tuple(like.shape)}")
        kept = torch.empty_like(like, dtype=value.dtype).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(number), {})[name] = kept
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def restore_model(model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Loads a model's state.

    Raises:
        TrainingError: If names or shapes differ from the model's.
    """
    check_fits(model.state_dict(), tensors, path)
    model.load_state_dict(dict(tensors))


def check_fits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Checks that a part of a checkpoint has the names and shapes of what it is to replace.

    Raises:
        TrainingError: If it has not; names the first that differs.
    """
    wanted = {name: tuple(value.shape) for name, value in own.items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if wanted != found:
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        name = differing[0]
        raise TrainingError(
            f"{path}: a checkpoint of another model: {name} is {found.get(name, 'missing')} there and "
            f"{wanted.get(name, 'missing')} in the model ({len(differing)} differences)"
        )
