"""Whether what was written loads, and computes what was saved: tensors and plans say nothing of what code remembers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import SavedModelError, SpecError
from sapwood.models.containers import map_tensors
from sapwood.models.copying import copy_model
from sapwood.types import ExampleInputs, ModelBundle

SEED = 0
"""Of what a model draws, in either run."""

ROUNDINGS = 1000
"""How many roundings of the largest output two runs of the same numbers may be apart: kernels may sum in another order
where memory lies otherwise. A remembered constant is wrong by far more."""

SHOWN = 5
"""Attributes that a message names."""


def check_loads_back(bundle: ModelBundle, load: Callable[[], ModelBundle]) -> None:
    """Loads what was written, and runs it beside what was saved, once each, in evaluation mode.

    Nothing is checked where that is not possible: without example inputs, off the CPU, and where only the caller has
    the factory.

    Args:
        bundle: What was saved; not touched.
        load: Loads it.

    Raises:
        SavedModelError: If it does not load, does not run or gives something else; names the attributes that differ.
    """
    inputs = bundle.example_inputs
    if (isinstance(inputs, tuple) and not inputs) or any(one.device.type != "cpu" for one in _state(bundle.model)):
        return
    with torch.random.fork_rng(devices=[]):
        try:
            loaded = load()
        except SavedModelError as error:
            if isinstance(error.__cause__, SpecError):
                return  # only the caller can make the dense model
            raise
        _compare(bundle.model, loaded.model, inputs)


def _compare(model: nn.Module, loaded: nn.Module, inputs: ExampleInputs) -> None:
    wanted = _outputs(copy_model(model).eval(), inputs)
    try:
        came = _outputs(copy_model(loaded), inputs)
    except Exception as error:
        came_to = f"{type(error).__name__}: {error}"
        raise SavedModelError(
            f"the model that is loaded again does not run: {came_to}{_remembered(model, loaded)}; nothing is written"
        ) from error
    if _differ(wanted, came) and not _differ(wanted, _outputs(copy_model(model).eval(), inputs)):
        raise SavedModelError(
            f"the model that is loaded again does not compute what the saved one does{_remembered(model, loaded)}; "
            "nothing is written"
        )


def _outputs(model: nn.Module, inputs: ExampleInputs) -> list[Tensor]:
    """The tensors that a model returns, the inputs being of its own."""
    given: Any = copy.deepcopy(inputs)
    torch.manual_seed(SEED)
    with torch.no_grad():
        result = (
            model(**given) if isinstance(given, dict) else model(*(given if isinstance(given, tuple) else (given,)))
        )
    found: list[Tensor] = []
    map_tensors(found.append, result)
    return found


def _differ(wanted: list[Tensor], came: list[Tensor]) -> bool:
    return len(wanted) != len(came) or any(not _same(one, other) for one, other in zip(wanted, came, strict=True))


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return True  # what is counted or chosen may be a tie, which rounding decides
    largest = one.abs()[one.isfinite()].max().item() if one.isfinite().any() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=ROUNDINGS * torch.finfo(one.dtype).eps * largest, equal_nan=True)


def _remembered(model: nn.Module, loaded: nn.Module) -> str:
    """The numbers and tensors that modules have beside their parameters and buffers, where loading gives others."""
    others = dict(loaded.named_modules())
    names = []
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            there = vars(others[path]).get(name) if path in others else None
            if isinstance(value, int | float | Tensor) and name != "training" and not _equal(value, there):
                names.append(f"{path}.{name}".lstrip("."))
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; of what its modules remember these differ: {', '.join(names[:SHOWN])}{more}"


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape == other.shape and torch.equal(value, other)
    return not isinstance(value, Tensor) and not isinstance(other, Tensor) and bool(value == other)


def _state(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
