"""Applies a plan to a copy of the dense model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import nn

from sapwood.errors import ShapeError
from sapwood.models.copying import copy_model, refresh_masked
from sapwood.models.darknet import DarknetNetwork, refit_
from sapwood.models.places import Place
from sapwood.models.plan import AttributeEdit, Cut, Plan, Rescale, Shift

Model = TypeVar("Model", bound=nn.Module)


def apply_plan(model: Model, plan: Plan) -> Model:
    """Returns the compact model; ``model`` is not touched.

    Args:
        model: The dense model, with the widths that the plan was made for.
        plan: What stays of it.

    Returns:
        A module of the same class with smaller tensors, in the mode (training or not) of ``model``. A Darknet network's
        ``cfg`` has the new widths.

    Raises:
        ShapeError: If a tensor of the plan is missing or has another width; the message names it.
    """
    compact = copy_model(model)
    rescale_(compact, plan.rescales)
    shift_(compact, plan.shifts)
    cut_tensors_(compact, plan.cuts, plan.aliases)
    refresh_masked(compact)
    set_attributes_(compact, plan.attributes)
    if isinstance(compact, DarknetNetwork):
        refit_(compact)
    return compact


def _owner(model: nn.Module, name: str) -> tuple[dict[str, torch.Tensor | None], str]:
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


def cut_tensors_(model: nn.Module, cuts: Iterable[Cut], aliases: Mapping[str, tuple[str, ...]]) -> None:
    """Slices parameters and buffers; shared tensors stay shared, ``requires_grad`` stays as it was."""
    by_tensor: dict[str, list[Cut]] = {}
    for cut in cuts:
        by_tensor.setdefault(cut.tensor, []).append(cut)
    for name, own in by_tensor.items():
        table, leaf = _owner(model, name)
        old = table[leaf]
        if old is None:
            raise ShapeError(f"the plan names {name}; the model holds None there")
        value = old.detach()
        for cut in own:
            found = value.shape[cut.dim] if cut.dim < value.dim() else 0
            if found != cut.width:
                raise ShapeError(f"{name} has {found} indices in dimension {cut.dim}; expected {cut.width}")
            value = value.index_select(cut.dim, torch.tensor(cut.kept, device=value.device))
        new = value.clone(memory_format=torch.contiguous_format)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
        for alias in aliases.get(name, (name,)):
            place, key = _owner(model, alias)
            place[key] = new


def rescale_(model: nn.Module, rescales: Iterable[Rescale]) -> None:
    """Multiplies rows of parameters, before anything is cut."""
    for rescale in rescales:
        table, leaf = _owner(model, rescale.tensor)
        tensor = table[leaf]
        if tensor is None:
            raise ShapeError(f"the plan names {rescale.tensor}; the model holds None there")
        if max(rescale.rows, default=0) >= len(tensor):
            raise ShapeError(f"the plan scales row {max(rescale.rows)} of {rescale.tensor}, which has {len(tensor)}")
        with torch.no_grad():
            tensor[list(rescale.rows)] *= rescale.factor


def shift_(model: nn.Module, shifts: Iterable[Shift]) -> None:
    """Adds values to parameters and buffers, before anything is cut; a bias that is not there is made."""
    for shift in shifts:
        table, leaf = _owner(model, shift.tensor)
        tensor = table[leaf]
        if tensor is None:
            weight = model.get_parameter(f"{shift.tensor.rpartition('.')[0]}.weight".lstrip("."))
            tensor = table[leaf] = nn.Parameter(weight.new_zeros(len(shift.values)))
        if tuple(tensor.shape) != (len(shift.values),):
            raise ShapeError(
                f"the plan adds {len(shift.values)} values to {shift.tensor}, which has shape {tuple(tensor.shape)}"
            )
        with torch.no_grad():
            tensor += torch.tensor(shift.values, dtype=tensor.dtype, device=tensor.device)


def set_attributes_(model: nn.Module, edits: Iterable[AttributeEdit]) -> None:
    """Sets module attributes."""
    for edit in edits:
        place = Place.of(edit)
        try:
            place.get(model)
        except (AttributeError, TypeError, IndexError):
            raise ShapeError(f"the plan sets {edit.attribute} of {edit.module!r}; the model has none") from None
        place.set(model, edit.after)
