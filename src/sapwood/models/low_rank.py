"""A layer as two, with few channels between them: low-rank factorisation, exact as long as all channels are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sapwood.errors import ShapeError

Layer: TypeAlias = "nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear"

LAYERS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""What can be two layers; not classes that are made of these, which may compute something else."""

READ_OF_FIRST = frozenset(
    "in_channels in_features kernel_size stride padding padding_mode dilation groups transposed output_padding".split()
)
"""Attributes of a layer that the first of two answers."""

READ_OF_SECOND = frozenset(["out_channels", "out_features"])
"""Attributes that the second does."""

SMALLEST = 1e-6
"""The smallest size of a direction that counts, as a fraction of the largest: units are told by dividing by it."""


@dataclass(frozen=True)
class Basis:
    """Directions in which the results of a layer are told, most important first.

    ``up @ down`` is the identity, so that ``up @ (down @ (y - centre)) + centre`` is ``y``.

    Attributes:
        down: Shape (N, N) for N results: what tells how much of each direction is in them. Shape (R, N) of the first R.
        up: Shape (N, N): the directions, one a column. Shape (N, R) of the first R.
        centre: Shape (N,): their mean.
    """

    down: Tensor
    up: Tensor
    centre: Tensor

    @property
    def rank(self) -> int:
        """How many directions there are."""
        return len(self.down)

    def first(self, rank: int) -> Basis:
        """Its first so many directions."""
        return Basis(self.down[:rank], self.up[:, :rank], self.centre)

    def balanced(self, sizes: Tensor) -> Basis:
        """The same directions in units in which ``down`` and ``up`` have a part in the size of each, the root of it.

        A value between two layers has no unit of its own. Where all of a size is in ``down``, what looks at the
        magnitude of weights takes a direction in which nothing happens for one of weight 1, by its column of ``up``.

        Args:
            sizes: Shape (R,): how large what ``down`` tells of each direction is, a deviation.
        """
        roots = sizes.clamp(min=SMALLEST * (float(sizes.max()) or 1.0)).sqrt()
        return Basis(self.down / roots[:, None], self.up * roots, self.centre)


class LowRank(nn.Sequential):
    """Stands where a layer was: two of its kind behind each other, ``0`` and ``1``.

    What is read of the layer beside calling it is answered as before: its widths, how it strides and pads, and its
    weight and bias, which are the product's.

    Args:
        first: From what the layer reads to the channels between the two.
        second: From these to what it gives, at each place alone.

    Examples:
        >>> layer = LowRank(nn.Linear(8, 2), nn.Linear(2, 6))
        >>> layer(torch.ones(3, 8)).shape, layer.weight.shape, layer.out_features
        (torch.Size([3, 6]), torch.Size([6, 8]), 6)
    """

    __jit_unused_properties__ = ("weight", "bias")  # TorchScript would compile them

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__(first, second)

    @property
    def weight(self) -> Tensor:
        """The product of the two weights, in the shape that the layer's had."""
        first, second = self._parts()
        product: Tensor = torch.tensordot(second.weight.flatten(1), first.weight, dims=1)
        return product

    @property
    def bias(self) -> Tensor:  # shape: (N,)
        """What the two add to results in all."""
        first, second = self._parts()
        added: Tensor = second.weight.flatten(1) @ first.bias + second.bias
        return added

    def _parts(self) -> tuple[Any, Any]:
        return self[0], self[1]

    def __getattr__(self, name: str) -> Any:
        if name in READ_OF_FIRST:
            return getattr(self[0], name)
        if name in READ_OF_SECOND:
            return getattr(self[1], name)
        return super().__getattr__(name)


def in_directions(layer: Layer, basis: Basis) -> tuple[nn.Module, nn.Module]:
    """Two layers that do together what one does: into the directions of a basis, and back.

    Args:
        layer: With ``groups`` of 1; read only.
        basis: Of its results.

    Returns:
        Two of the same class, type of numbers and device, each with a bias; the second is of size 1.
    """
    with torch.no_grad():
        weight, down, up = layer.weight.double(), basis.down.to(layer.weight.device), basis.up.to(layer.weight.device)
        bias = torch.zeros_like(basis.centre) if layer.bias is None else layer.bias.double()
        first, second = _empty_pair(layer, basis.rank)
        first.weight.copy_(torch.tensordot(down, weight, dims=1))
        first.bias.copy_(down @ (bias.to(down.device) - basis.centre))
        second.weight.copy_(up.reshape(second.weight.shape))
        second.bias.copy_(basis.centre)
    for part in (first, second):
        part.weight.requires_grad_(layer.weight.requires_grad)
        part.bias.requires_grad_((layer.weight if layer.bias is None else layer.bias).requires_grad)
    return first.train(layer.training), second.train(layer.training)


def _empty_pair(layer: Any, rank: int) -> tuple[Any, Any]:
    how = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    kind = type(layer)
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, rank, **how), nn.Linear(rank, layer.out_features, **how)
    first = kind(
        layer.in_channels,
        rank,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        padding_mode=layer.padding_mode,
        **how,
    )
    return first, kind(rank, layer.out_channels, 1, **how)


def own_basis(layer: Layer) -> Basis:
    """The directions of a layer's results that its weight alone tells, by its singular values, around its bias."""
    weight = layer.weight.detach().double().flatten(1)
    _, vectors = torch.linalg.eigh(weight @ weight.T)
    vectors = vectors.flip(1)
    centre = vectors.new_zeros(len(vectors)) if layer.bias is None else layer.bias.detach().double()
    return Basis(vectors.T.contiguous(), vectors, centre)


def layer_named(model: nn.Module, name: str) -> Layer:
    """The layer of that name, which can be two.

    Raises:
        ShapeError: If there is none, or it is of another kind.
    """
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        raise ShapeError(f"the plan makes two layers of {name}; the model has no such module") from None
    if type(layer) not in LAYERS or getattr(layer, "groups", 1) != 1:
        raise ShapeError(
            f"the plan makes two layers of {name}; expected a convolution without groups or a linear layer, came a "
            f"{type(layer).__name__}"
        )
    return layer  # type: ignore[return-value]


def replace_by_two_(model: nn.Module, bases: Mapping[str, Basis]) -> dict[str, tuple[str, ...]]:
    """Puts a :class:`LowRank` in the place of each layer, wherever it stands; the names that its parts have then."""
    for name, basis in bases.items():
        layer = layer_named(model, name)
        pair = LowRank(*in_directions(layer, basis)).train(layer.training)
        for table, place in list(places_of(model, layer)):
            table[place] = pair
    return {name: (f"{name}.0", f"{name}.1") for name in bases}


def places_of(model: nn.Module, old: nn.Module) -> Iterator[tuple[dict[str, nn.Module | None], str]]:
    """Where a module stands in others."""
    for module in model.modules():
        for name, child in module._modules.items():
            if child is old:
                yield module._modules, name
