"""Applies a plan to a copy of the dense model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.arguments import check_kind, check_model
from sapwood.errors import ShapeError
from sapwood.models.copying import copy_model
from sapwood.models.framework import framework_of
from sapwood.models.gains import gain_factors
from sapwood.models.low_rank import Basis, layer_named, own_basis
from sapwood.models.places import set_checked_
from sapwood.models.plan import AttributeEdit, Cut, Factored, Gain, Merge, Plan, Rescale, Shift
from sapwood.models.removed import remove_
from sapwood.models.shortened import shorten_
from sapwood.models.walking import all_modules, named_modules

Model = TypeVar("Model", bound=nn.Module)

OF_NUMPY = frozenset({torch.float32, torch.float64})
"""Types of which NumPy takes slices."""


def apply_plan(model: Model, plan: Plan) -> Model:
    """Returns the compact model; ``model`` is not touched, and what goes is not copied first.

    Args:
        model: The dense model, with the widths that the plan was made for.
        plan: What stays of it.

    Returns:
        A module of the same class with smaller tensors, in the mode (training or not) of ``model``. Tensors that were
        shared stay shared, ``requires_grad`` stays as it was. The ``cfg`` of a Darknet network has the new widths.

    Raises:
        ShapeError: If a tensor or module of the plan is missing, a tensor has another width, or an attribute is not
            plain data with the value that the plan says; the message names it.
    """
    check_model(model)
    own = "; its .plan is one" if isinstance(getattr(plan, "plan", None), Plan) else ""
    check_kind("plan", plan, Plan, f"a sapwood.models.Plan{own}")
    if plan.removed or plan.shortened:
        model = copy_model(model)
        shorten_(model, plan.shortened)
        remove_(model, plan.removed)
    if plan.factored:
        bases = {one.module: _first(own_basis(layer_named(model, one.module)), one) for one in plan.factored}
        model = framework_of(model).in_two_layers(copy_model(model), bases).model  # type: ignore[assignment]
    tensors = _Tensors(model)
    _check_rows(tensors, plan)
    replaced: dict[int, Tensor] = {}
    made: dict[str, Tensor] = {}
    edited: dict[int, tuple[str, _Edits]] = {}
    places = _KeptIndices()
    for name, edits in _by_tensor(plan).items():
        if tensors.get(name) is None:
            made[name] = _made(tensors, name, edits, places)
        if edits.gain is not None:
            edits.factors = _factors(tensors, plan, edits.gain)
        for old in _holders(tensors, plan, name):
            _check_alone(edited.setdefault(id(old), (name, edits)), name, edits)
            new = edits.of(name, old.detach(), places)
            replaced[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
    compact = copy_model(model, replaced)
    if made:
        tables = _Tensors(compact)
        for name, tensor in made.items():
            table, leaf = tables.table(name)
            table[leaf] = tensor
    set_attributes_(compact, plan.attributes)
    forget_cached_(compact)
    framework_of(compact).refit_(compact, plan)
    _check_shapes(compact, plan)
    return compact


def with_shapes(plan: Plan, compact: nn.Module) -> Plan:
    """A plan, with the shapes of what it leaves where it cuts nothing."""
    if plan.cuts:
        return plan
    return replace(plan, shapes={name: tuple(value.shape) for name, value in compact.named_parameters()})


def _check_shapes(compact: nn.Module, plan: Plan) -> None:
    """Checks that what a plan leaves that cuts nothing is as large as it says."""
    for name, value in compact.named_parameters() if plan.shapes else ():
        wanted = plan.shapes.get(name, value.shape)
        if tuple(value.shape) != tuple(wanted):
            raise ShapeError(f"{name} has shape {tuple(value.shape)}; expected {tuple(wanted)}")


def _first(basis: Basis, one: Factored) -> Basis:
    """As many directions as a plan says; where the layer has no more, the plan is of another."""
    if one.rank > basis.rank:
        raise ShapeError(
            f"the plan keeps {one.rank} channels between two layers of {one.module}, which has only {basis.rank} itself"
        )
    return basis.first(one.rank)


def forget_cached_(model: nn.Module) -> None:
    """Has modules that cache tensors (of the dense widths) forget them, as they do when they are converted.

    PyTorch's own way of converting caches nothing, and takes its time for each tensor.
    """
    if any(type(module)._apply is not nn.Module._apply for module in all_modules(model)):
        model._apply(lambda tensor: tensor)  # type: ignore[no-untyped-call]


def make_biases_(model: nn.Module, plans: Iterable[Plan], state: Mapping[str, Tensor]) -> None:
    """Gives modules the biases that plans made and ``state`` holds, where the model was built without them."""
    for name in {shift.tensor for plan in plans for shift in plan.shifts}:
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path) if name in state else None
        if module is not None and leaf in module._parameters and module._parameters[leaf] is None:
            frozen = not all(parameter.requires_grad for parameter in module.parameters(recurse=False))
            module._parameters[leaf] = nn.Parameter(torch.zeros_like(state[name]), requires_grad=not frozen)


@dataclass
class _Edits:
    """What a plan does to one tensor, in this order."""

    merges: list[Merge] = field(default_factory=list)
    rescales: list[Rescale] = field(default_factory=list)
    gain: Gain | None = None
    factors: Tensor | None = None
    shift: Shift | None = None
    cuts: list[Cut] = field(default_factory=list)

    @property
    def nameless(self) -> tuple[Any, ...]:
        """What is done, to be compared."""
        single = tuple(one for one in (self.gain, self.shift) if one is not None)
        return tuple(replace(one, tensor="") for one in (*self.merges, *self.rescales, *single, *self.cuts))

    @property
    def size(self) -> int:
        """Rows of a tensor that is made for the shift."""
        return 0 if self.shift is None else len(self.shift.values)

    def of(self, name: str, value: Tensor, places: _KeptIndices) -> Tensor:
        """What becomes of ``value``, in memory of its own."""
        for merge in self.merges:
            value = _merged(value, merge)
        if self.rescales and self.factors is None and self.shift is None:  # then what goes need not be scaled first
            rows = next((cut.kept for cut in self.cuts if cut.dim == 0), None)
            kept = _cut(name, value, self.cuts, places)
            for rescale in self.rescales:
                factors = _row_factors(rescale, value)
                kept.mul_(_over_rows(factors if rows is None else factors[places.of(rows, value.device)], kept))
            return kept
        for rescale in self.rescales:
            value = value * _over_rows(_row_factors(rescale, value), value)
        if self.factors is not None:
            value = value * self.factors.to(value.dtype)
        if self.shift is not None:
            value = value + torch.tensor(self.shift.values, dtype=value.dtype, device=value.device)
        return _cut(name, value, self.cuts, places)


def _by_tensor(plan: Plan) -> dict[str, _Edits]:
    found: dict[str, _Edits] = defaultdict(_Edits)
    for cut in plan.cuts:
        found[cut.tensor].cuts.append(cut)
    for merge in plan.merges:
        found[merge.tensor].merges.append(merge)
    for rescale in plan.rescales:
        found[rescale.tensor].rescales.append(rescale)
    for gain in plan.gains:
        found[gain.tensor].gain = gain
    for shift in plan.shifts:
        found[shift.tensor].shift = shift
    return found


def _factors(tensors: _Tensors, plan: Plan, gain: Gain) -> Tensor:
    """What a gain is multiplied by, in its own shape."""
    gains, direction = tensors.get(gain.tensor), tensors.get(gain.of)
    if gains is None or direction is None or gain.dim >= direction.dim():
        raise ShapeError(f"the plan lets {gain.tensor} follow the norm of {gain.of}; the model has no such norm")
    factors = gain_factors(direction.detach(), gain.dim, [cut for cut in plan.cuts if cut.tensor == gain.of])
    if gains.shape != factors.shape:
        raise ShapeError(
            f"the plan lets {gain.tensor} follow the norm of {gain.of}; expected shape {tuple(factors.shape)}, came "
            f"{tuple(gains.shape)}"
        )
    return factors


def _check_rows(tensors: _Tensors, plan: Plan) -> None:
    """Checks that what is scaled and shifted has the rows that the plan names."""
    for rescale in plan.rescales:
        tensor = tensors.get(rescale.tensor)
        if tensor is not None and max(rescale.rows, default=0) >= len(tensor):
            raise ShapeError(f"the plan scales row {max(rescale.rows)} of {rescale.tensor}, which has {len(tensor)}")
    for merge in plan.merges:
        tensor = tensors.get(merge.tensor)
        size = 0 if tensor is None or merge.dim >= tensor.dim() else tensor.shape[merge.dim]
        fits = max((merge.into, *merge.sources)) < size and len(merge.sources) == len(merge.factors)
        if not merge.sources or not fits:
            raise ShapeError(
                f"the plan merges slices {merge.sources} of {merge.tensor}[{merge.dim}], which has {size}, "
                f"into slice {merge.into} with {len(merge.factors)} factors"
            )
    for shift in plan.shifts:
        tensor = tensors.get(shift.tensor)
        if tensor is not None and tuple(tensor.shape) != (len(shift.values),):
            raise ShapeError(
                f"the plan adds {len(shift.values)} values to {shift.tensor}, which has shape {tuple(tensor.shape)}"
            )


def _made(tensors: _Tensors, name: str, edits: _Edits, places: _KeptIndices) -> nn.Parameter:
    """The bias that a plan makes."""
    if edits.shift is None:
        raise ShapeError(f"the plan names {name}; the model holds None there")
    weight = _weight(tensors, name)
    return nn.Parameter(edits.of(name, weight.detach().new_zeros(edits.size), places), weight.requires_grad)


def _holders(tensors: _Tensors, plan: Plan, name: str) -> list[Tensor]:
    """The tensor of that name, and those that were the same when the plan was made, each once."""
    found = {id(tensor): tensor for tensor in (tensors.get(name),) if tensor is not None}
    for other in plan.aliases.get(name, ()):
        with suppress(ShapeError):  # not in this model
            tensor = tensors.get(other)
            if tensor is not None:
                found.setdefault(id(tensor), tensor)
    return list(found.values())


def _check_alone(before: tuple[str, _Edits], name: str, edits: _Edits) -> None:
    """Refuses to do two things to one tensor."""
    if before[0] != name and before[1].nameless != edits.nameless:
        raise ShapeError(
            f"the plan does other things to {before[0]} than to {name}; the model shares one tensor between them "
            "(were masks made permanent before it was planned? sapwood.remove_masks_)"
        )


class _Tensors:
    """The parameters and buffers of a model, found by their names: asked for three times a name in a plan."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(named_modules(model, every=True))

    def module(self, name: str) -> nn.Module | None:
        """The module that holds a tensor of that name, if there is one."""
        return self._modules.get(name.rpartition(".")[0])

    def table(self, name: str) -> tuple[dict[str, Tensor | None], str]:
        """The table that holds a parameter or buffer, and its key there."""
        path, _, leaf = name.rpartition(".")
        module = self._modules.get(path)
        if module is None:
            raise ShapeError(f"the plan names {name}; the model has no module {path!r}")
        table: Any = module._parameters if leaf in module._parameters else module._buffers
        if leaf not in table:
            raise ShapeError(f"the plan names {name}; the model has no such parameter or buffer")
        return table, leaf

    def get(self, name: str) -> Tensor | None:
        """The tensor, or the None that stands in its place."""
        table, leaf = self.table(name)
        return table[leaf]


def _weight(tensors: _Tensors, name: str) -> Tensor:
    """What a bias that the module does not have yet is modelled on."""
    module = tensors.module(name)
    weight = None if module is None else next(module.parameters(), None)
    if weight is None or name.rpartition(".")[2] != "bias":
        raise ShapeError(f"the plan makes {name}; expected the bias of a module that has a weight")
    return weight


def _merged(value: Tensor, merge: Merge) -> Tensor:
    """One slice takes up others, which are zero afterwards."""
    sources = torch.tensor(merge.sources, device=value.device)
    factors = torch.tensor(merge.factors, dtype=value.dtype, device=value.device)
    added = torch.tensordot(value.index_select(merge.dim, sources), factors, dims=([merge.dim], [0]))
    value = value.index_fill(merge.dim, sources, 0.0)
    value.select(merge.dim, merge.into).add_(added)
    return value


def _row_factors(rescale: Rescale, value: Tensor) -> Tensor:
    """What each row of a tensor is multiplied by."""
    factors = np.ones(len(value))
    factors[list(rescale.rows)] = rescale.factor
    return torch.from_numpy(factors).to(value.device, value.dtype)


def _over_rows(factors: Tensor, value: Tensor) -> Tensor:
    return factors.reshape(-1, *[1] * (value.dim() - 1))


def _cut(name: str, value: Tensor, cuts: Sequence[Cut], places: _KeptIndices) -> Tensor:
    """What stays of one tensor, in memory of its own."""
    for cut in cuts:
        width = value.shape[cut.dim] if cut.dim < value.dim() else None
        if width != cut.width:
            raise ShapeError(f"{name} has {width} indices in dimension {cut.dim}; expected {cut.width}")
        if value.is_meta:
            value = value.new_empty([*value.shape[: cut.dim], len(cut.kept), *value.shape[cut.dim + 1 :]])
        else:
            value = places.taken(value, cut)
    return value.contiguous() if cuts else value.clone(memory_format=torch.contiguous_format)


class _KeptIndices:
    """Indices as tensors, made once for all cuts of a plan that share a tuple of them."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, torch.device], Tensor] = {}

    def taken(self, value: Tensor, cut: Cut) -> Tensor:
        """The slices of ``value`` that a cut keeps; NumPy takes columns of float64 in an eighth of PyTorch's time."""
        if value.device.type != "cpu" or value.dtype not in OF_NUMPY or not cut.kept:
            return value.index_select(cut.dim, self.of(cut.kept, value.device))
        return torch.from_numpy(value.detach().numpy().take(self.of(cut.kept, value.device).numpy(), axis=cut.dim))

    def of(self, kept: Sequence[int], device: torch.device) -> Tensor:
        """The tensor; five times as fast as ``torch.tensor``, which looks at each index more than once."""
        key = (id(kept), device)  # the plan keeps it alive
        if key not in self._made:
            if device.type == "meta":
                self._made[key] = torch.empty(len(kept), dtype=torch.int64, device=device)
            else:
                self._made[key] = torch.from_numpy(np.array(kept, dtype=np.int64)).to(device)
        return self._made[key]


def set_attributes_(model: nn.Module, edits: Iterable[AttributeEdit]) -> None:
    """Sets module attributes, in order.

    Raises:
        ShapeError: If one is not what the plan was made for; those before it are set already.
    """
    for edit in edits:
        set_checked_(model, edit)
