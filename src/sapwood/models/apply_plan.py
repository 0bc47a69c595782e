"""Applies a plan to a copy of the dense model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from sapwood.errors import ShapeError
from sapwood.models.copying import copy_model
from sapwood.models.darknet import DarknetNetwork, refit_
from sapwood.models.places import Place
from sapwood.models.plan import AttributeEdit, Cut, Plan

Model = TypeVar("Model", bound=nn.Module)


def apply_plan(model: Model, plan: Plan) -> Model:
    """Returns the compact model; ``model`` is not touched, and what goes is not copied first.

    Args:
        model: The dense model, with the widths that the plan was made for.
        plan: What stays of it.

    Returns:
        A module of the same class with smaller tensors, in the mode (training or not) of ``model``. Tensors that were
        shared stay shared, ``requires_grad`` stays as it was. The ``cfg`` of a Darknet network has the new widths.

    Raises:
        ShapeError: If a tensor of the plan is missing or has another width; the message names it.
    """
    _check_rows(model, plan)
    rescales, shifts, cuts = defaultdict(list), {shift.tensor: shift for shift in plan.shifts}, defaultdict(list)
    for rescale in plan.rescales:
        rescales[rescale.tensor].append(rescale)
    for cut in plan.cuts:
        cuts[cut.tensor].append(cut)
    replaced: dict[int, Tensor] = {}
    made: dict[str, Tensor] = {}
    for name in dict.fromkeys([*cuts, *rescales, *shifts]):
        old = _tensor(model, name)
        if old is None and name not in shifts:
            raise ShapeError(f"the plan names {name}; the model holds None there")
        value = _weight(model, name).detach().new_zeros(len(shifts[name].values)) if old is None else old.detach()
        for rescale in rescales[name]:
            factors = value.new_ones(len(value))
            factors[list(rescale.rows)] = rescale.factor
            value = value * factors.reshape(-1, *[1] * (value.dim() - 1))
        if name in shifts:
            value = value + torch.tensor(shifts[name].values, dtype=value.dtype, device=value.device)
        new = _cut(name, value, cuts[name])
        if old is None:
            made[name] = nn.Parameter(new, requires_grad=_weight(model, name).requires_grad)
        else:
            is_parameter = isinstance(old, nn.Parameter)
            replaced[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad) if is_parameter else new
    compact = copy_model(model, replaced)
    for name, tensor in made.items():
        table, leaf = _owner(compact, name)
        table[leaf] = tensor
    set_attributes_(compact, plan.attributes)
    # Modules that cache tensors of the dense widths forget them on such a call.
    compact._apply(lambda tensor: tensor)  # type: ignore[no-untyped-call]
    if isinstance(compact, DarknetNetwork):
        refit_(compact)
    return compact


def _check_rows(model: nn.Module, plan: Plan) -> None:
    """Checks that what is scaled and shifted has the rows that the plan names."""
    for rescale in plan.rescales:
        tensor = _tensor(model, rescale.tensor)
        if tensor is not None and max(rescale.rows, default=0) >= len(tensor):
            raise ShapeError(f"the plan scales row {max(rescale.rows)} of {rescale.tensor}, which has {len(tensor)}")
    for shift in plan.shifts:
        tensor = _tensor(model, shift.tensor)
        if tensor is not None and tuple(tensor.shape) != (len(shift.values),):
            raise ShapeError(
                f"the plan adds {len(shift.values)} values to {shift.tensor}, which has shape {tuple(tensor.shape)}"
            )


def _owner(model: nn.Module, name: str) -> tuple[dict[str, Tensor | None], str]:
    """The table that holds a parameter or buffer, and its key there."""
    module_name, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(module_name)
    except AttributeError:
        raise ShapeError(f"the plan names {name}; the model has no module {module_name!r}") from None
    table = module._parameters if leaf in module._parameters else module._buffers
    if leaf not in table:
        raise ShapeError(f"the plan names {name}; the model has no such parameter or buffer")
    return table, leaf  # type: ignore[return-value]


def _tensor(model: nn.Module, name: str) -> Tensor | None:
    table, leaf = _owner(model, name)
    return table[leaf]


def _weight(model: nn.Module, name: str) -> Tensor:
    """What a bias that the module does not have yet is modelled on."""
    module = model.get_submodule(name.rpartition(".")[0])
    return next(module.parameters())


def _cut(name: str, value: Tensor, cuts: Iterable[Cut]) -> Tensor:
    """What stays of one tensor, in memory of its own."""
    for cut in cuts:
        width = value.shape[cut.dim] if cut.dim < value.dim() else None
        if width != cut.width:
            raise ShapeError(f"{name} has {width} indices in dimension {cut.dim}; expected {cut.width}")
        value = value.index_select(cut.dim, torch.tensor(cut.kept, device=value.device))
    return value.clone(memory_format=torch.contiguous_format)


def set_attributes_(model: nn.Module, edits: Iterable[AttributeEdit]) -> None:
    """Sets module attributes."""
    for edit in edits:
        place = Place.of(edit)
        try:
            place.get(model)
        except (AttributeError, TypeError, IndexError):
            raise ShapeError(f"the plan sets {edit.attribute} of {edit.module!r}; the model has none") from None
        place.set(model, edit.after)
