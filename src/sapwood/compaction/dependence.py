"""Which values depend on the model's input: the model runs once, and every tensor carries a mask beside it.

The mask is True where the element may change with the input. The rules err on that side only: what they call constant
is the same for every input of these shapes. A product with a constant zero is constant, whatever the other factor is,
for activations are taken to be finite. Masks are views of each other wherever the tensors are, so writes in place reach
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from sapwood.graph import Replay, output_tensors, plain_kernels, run_model
from sapwood.ops import Call, Graph, bound
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class RecordedStep:
    """One call of the run, just before it is made.

    Attributes:
        call: The call as it was recorded.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        masks: The positional arguments with each tensor's mask in its place.
        more_masks: The masks of the tensors among the keyword arguments.
    """

    call: Call
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    masks: tuple[Any, ...]
    more_masks: tuple[Tensor, ...]

    def named(self) -> dict[str, Any]:
        """The arguments by the names of the operator's schema."""
        return bound(replace(self.call, args=self.args, kwargs=self.kwargs))


Observer: TypeAlias = Callable[[RecordedStep], None]


class _MaskCarrier(Replay):
    """Makes the recorded calls and carries the masks along."""

    def __init__(self, graph: Graph, inputs: Sequence[Tensor], observe: Observer) -> None:
        super().__init__(graph.calls, keeps_all=True)
        self._observe = observe
        self._masks = {id(tensor): (tensor, torch.ones_like(tensor, dtype=torch.bool)) for tensor in inputs}

    def mask(self, tensor: Tensor) -> Tensor:
        """The tensor's mask; what no call made and nobody gave is constant."""
        entry = self._masks.get(id(tensor))
        if entry is None or entry[1].shape != tensor.shape:  # some in-place views change a tensor's shape
            entry = self._masks[id(tensor)] = (tensor, _shaped(tensor, torch.zeros((), dtype=torch.bool)))
        return entry[1]

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call, and the masks of what it returns."""
        masks = tree_map(lambda leaf: self.mask(leaf) if isinstance(leaf, Tensor) else leaf, args)
        step = RecordedStep(call, _dense(args), kwargs, masks, tuple(map(self.mask, _tensors(kwargs))))
        self._observe(step)
        view = _is_view(func) and not call.facts.recasts
        found = self._views(step) if view else outputs_mask(step)
        result = self.pass_on(func, args, kwargs)
        self._keep(result, found, view)
        return result

    def _views(self, step: RecordedStep) -> list[Tensor]:
        if any(isinstance(argument, torch.dtype) for argument in step.args):  # the same bytes as another type
            return [_reread(step)]
        result = step.call.op(*step.masks, **step.kwargs)
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def _keep(self, result: Any, found: list[Tensor], view: bool) -> None:
        leaves = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
        for number, leaf in enumerate(leaves):
            mask = found[min(number, len(found) - 1)]
            known = self._masks.get(id(leaf))
            if known is not None and known[1].shape == leaf.shape:  # written in place
                known[1].copy_(_fitted(mask, leaf))
            elif view:
                self._masks[id(leaf)] = (leaf, mask)
            else:
                self._masks[id(leaf)] = (leaf, _shaped(leaf, _fitted(mask, leaf)))


def _dense(args: Any) -> Any:
    """Arguments with sparse tensors written out, as their masks are."""
    return tree_map(
        lambda leaf: leaf.to_dense() if isinstance(leaf, Tensor) and leaf.layout is not torch.strided else leaf, args
    )


def _fitted(mask: Tensor, tensor: Tensor) -> Tensor:
    """The mask for an output of another shape than the first: all of it as soon as anything depends."""
    try:
        return mask.expand(tensor.shape)
    except RuntimeError:
        return mask.any().expand(tensor.shape)


def _reread(step: RecordedStep) -> Tensor:
    """The bytes of a tensor as another type: element by element where both are as long, else all of them."""
    mask = _same(step)
    output = step.call.tensor_outputs()[0]
    return mask if output.shape == mask.shape else mask.any().expand(output.shape)


def _shaped(tensor: Tensor, mask: Tensor) -> Tensor:
    """A mask of its own that lies in memory as ``tensor`` does, so that views of the one are views of the other."""
    if tensor.layout is not torch.strided:
        return mask.expand(tensor.shape).clone()
    return torch.empty_like(tensor, dtype=torch.bool, memory_format=torch.preserve_format).copy_(mask)


def _is_view(func: Any) -> bool:
    return any(a.alias_info is not None and not a.alias_info.is_write for a in func._schema.arguments[:1])


def outputs_mask(step: RecordedStep) -> list[Tensor]:
    """The masks of what a call returns (the last one stands for all that follow)."""
    rule = _rule_of(step.call)
    if any(bool(mask.any()) for mask in step.more_masks):
        rule = _everything
    found = rule(step)
    return found if isinstance(found, list) else [found]


def _tensors(masks: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(masks)[0] if isinstance(leaf, Tensor)]


def _any_of(step: RecordedStep) -> Tensor:
    return reduce(torch.logical_or, _tensors(step.masks), torch.zeros((), dtype=torch.bool))


def _all_of(step: RecordedStep) -> Tensor:
    """Everything depends on the input as soon as anything does."""
    return torch.tensor(any(bool(mask.any()) for mask in _tensors(step.masks)))


def _moved(step: RecordedStep) -> list[Tensor]:
    """The same move made on the masks; places that depend on the input make everything depend on it."""
    masks: list[Any] = tree_map(
        lambda leaf: leaf.to(torch.uint8) if isinstance(leaf, Tensor) and leaf.dtype == torch.bool else leaf,
        list(step.masks),
    )
    for number, argument in enumerate(step.call.op._schema.arguments[: len(masks)]):
        if argument.name in {"index", "indices"}:
            if any(bool(mask.any()) for mask in _tensors(masks[number])):
                return [torch.ones((), dtype=torch.bool)]
            masks[number] = step.args[number]
    if step.call.facts.pads:
        masks[2:] = [0]
    result = step.call.op(*masks, **step.kwargs)
    return [part != 0 for part in (result if isinstance(result, (list, tuple)) else [result])]


def _pooled(step: RecordedStep) -> Tensor:
    """Whole maps: one depends on the input as soon as a position does."""
    mask: Tensor = step.masks[0]
    return mask.any(dim=tuple(range(-step.call.facts.windows, 0)), keepdim=True)


def _reduction(step: RecordedStep) -> Tensor:
    values = step.named()
    if "other" in values:
        return _any_of(step)
    mask = _same(step)
    dims = step.call.facts.pooled_dims(step.call)
    return mask.any(dim=dims, keepdim=bool(values.get("keepdim", False))) if dims else mask


def _multiplied(step: RecordedStep) -> Tensor:
    """A product depends on the input where a factor does and the other is not a constant zero."""
    first, second = step.masks[:2]
    if not isinstance(second, Tensor):
        return _same(step) if second != 0 else _constant(step)
    moves: Tensor = (first & alive(step.args[1], second)) | (second & alive(step.args[0], first))
    return moves


def alive(tensor: Tensor, mask: Tensor) -> Tensor:
    """Where a tensor is anything but a constant zero."""
    return mask | (tensor != 0)


def _product(step: RecordedStep) -> Tensor:
    found = step.call.facts.sum
    assert found is not None
    place = found.source
    first, second = step.args[place : place + 2]
    left, right = step.masks[place : place + 2]
    right_alive = alive(second, right)
    if found.turned:
        right, right_alive = right.t(), right_alive.t()
    met: Tensor = torch.matmul(left.float(), right_alive.float()) > 0.5
    if right.any():
        met |= torch.matmul(alive(first, left).float(), right.float()) > 0.5
    bias = [step.masks[0]] if place == 1 else _tensors(step.masks[2:])
    return reduce(torch.logical_or, bias, met)


def kernels_alive(weight: Tensor, groups: int, transposed: bool) -> Tensor:
    """Which kernels of a convolution hold a True, shape (groups, inputs a group, outputs a group)."""
    flat = weight.flatten(2).any(dim=2) if weight.dim() > 2 else weight
    grouped = flat.reshape(groups, -1, flat.shape[1])
    return grouped if transposed else grouped.transpose(1, 2)


def _convolution(step: RecordedStep) -> Tensor:
    """Whole channels: one depends on the input where it reads any channel that does."""
    x, weight = step.args[:2]
    x_mask, weight_mask = step.masks[:2]
    values = step.named()
    transposed, groups = bool(values["transposed"]), int(values["groups"])
    spatial = tuple(range(2 - weight.dim(), 0))

    def met(channels: Tensor, kernels: Tensor) -> Tensor:
        grouped = channels.any(dim=spatial).reshape(-1, groups, channels.shape[spatial[0] - 1] // groups)
        read = kernels_alive(kernels, groups, transposed).float()
        return torch.einsum("bgi,gio->bgo", grouped.float(), read).flatten(1) > 0.5

    result = met(x_mask, alive(weight, weight_mask))
    if weight_mask.any():
        result |= met(alive(x, x_mask), weight_mask)
    if isinstance(step.masks[2], Tensor):
        result |= step.masks[2]
    result = result.reshape(*result.shape, *([1] * len(spatial)))
    return result if x.dim() == weight.dim() else result[0]


def _batch_norm(step: RecordedStep) -> Tensor:
    x_mask, weight = _same(step), step.args[1]
    rest = _tensors(step.masks[1:5])
    if any(bool(mask.any()) for mask in rest):
        return _all_of(step)
    pooled = step.call.facts.pooled_dims(step.call)
    if pooled:
        x_mask = x_mask.any(dim=pooled, keepdim=True)
    if isinstance(weight, Tensor):
        x_mask = x_mask & (weight != 0).reshape(-1, *([1] * (x_mask.dim() - 2)))
    return x_mask


def _layer_norm(step: RecordedStep) -> Tensor:
    values = step.named()
    weight = values.get("weight")
    mask = _same(step).any(dim=list(range(-len(step.args[1]), 0)), keepdim=True)
    if isinstance(weight, Tensor):
        mask = mask & (weight != 0)
    extra = step.masks[2:4]
    return torch.ones((), dtype=torch.bool) if any(bool(part.any()) for part in _tensors(extra)) else mask


def _along(step: RecordedStep) -> Tensor:
    """One depends on the input as soon as another along the same dimensions does."""
    return _same(step).any(dim=step.call.facts.pooled_dims(step.call), keepdim=True)


def _embedding(step: RecordedStep) -> Tensor:
    """A looked-up column is constant where all rows of the table hold the same."""
    table: Tensor = step.args[0]
    if step.masks[0].any():
        return _all_of(step)
    varies: Tensor = step.masks[1][..., None] & (table != table[:1]).any(dim=0)
    return varies


def _attention(step: RecordedStep) -> Tensor:
    """Attention over (..., tokens, width): a width whose values are constant zeros stays zero, whatever the weights."""
    query, key, value = _tensors(step.masks[:3])
    if query.shape[:-2] != value.shape[:-2] or any(bool(mask.any()) for mask in _tensors(step.masks[3:])):
        return _all_of(step)
    weights = query.any(dim=-1, keepdim=True) | key.any(dim=-1).any(dim=-1)[..., None, None]
    read = alive(step.args[2], value).any(dim=-2, keepdim=True)
    return value.any(dim=-2, keepdim=True) | (weights & read)


def _glu(step: RecordedStep) -> Tensor:
    """The first half times the sigmoid of the second: constant where the first is a constant zero.

    A gate of zero lets half of it through, so it makes nothing constant.
    """
    dim = int(step.args[1]) if len(step.args) > 1 else -1
    value, mask = step.args[0].chunk(2, dim)[0], _same(step)
    value_mask, gate_mask = mask.chunk(2, dim)
    return (value_mask | gate_mask) & alive(value, value_mask)


def _everything(step: RecordedStep) -> Tensor:
    """All of it, as random numbers are other ones every time."""
    return torch.ones((), dtype=torch.bool)


def _constant(step: RecordedStep) -> Tensor:
    return torch.zeros((), dtype=torch.bool)


def _copied(step: RecordedStep) -> Tensor:
    return reduce(torch.logical_or, _tensors(step.masks[1:]), torch.zeros((), dtype=torch.bool))


def _same(step: RecordedStep) -> Tensor:
    mask: Tensor = step.masks[0]
    return mask


Rule: TypeAlias = Callable[[RecordedStep], "Tensor | list[Tensor]"]

_SUMS: dict[str, Rule] = {
    "convolution": _convolution,
    "deformed": _all_of,
    "product": _product,
    "attention": _attention,
}
_NORMS: dict[str, Rule] = {"batch": _batch_norm, "layer": _layer_norm, "group": _all_of}
_SPREADS: dict[str, Rule] = {
    "each": _any_of, "moved": _moved, "along": _along, "reduced": _reduction, "all": _all_of,
}  # fmt: skip


def _rule_of(call: Call) -> Rule:
    """How masks go through a call."""
    facts = call.facts
    own: tuple[tuple[object, Rule], ...] = (
        (facts.looks_up, _embedding),
        (facts.gates, _glu),
        (facts.scales == "times", _multiplied),
        (facts.random, _everything),
        (facts.constant, _constant),
        (facts.copies, _copied),
        (facts.windows, _pooled),
        (facts.moves and facts.in_place, _same),
    )
    if facts.sum is not None:
        return _SUMS[facts.sum.kind]
    if facts.norm is not None:
        return _NORMS[facts.norm.kind]
    return next((rule for applies, rule in own if applies), _SPREADS[facts.spreads])


def follow_dependence(model: nn.Module, inputs: ExampleInputs, graph: Graph, observe: Observer) -> list[Tensor]:
    """Runs ``model`` as it was recorded and shows each call with the masks of what it reads.

    Args:
        model: The model, or a copy of it.
        inputs: The inputs that ``graph`` was recorded with.
        graph: From :func:`sapwood.graph.trace`.
        observe: Called before each call.

    Returns:
        For each tensor that the model returns, which of its elements depend on the input.

    Raises:
        CheckFailedError: If the model makes other calls than before.
    """
    follower = _MaskCarrier(graph, output_tensors(inputs), observe)
    with plain_kernels(model), follower:
        outputs = output_tensors(run_model(model, inputs))
    return [follower.mask(output) for output in outputs]
