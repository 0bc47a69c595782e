"""In which directions the results of each layer vary, and how much, over a few pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sapwood.models import Basis, copy_model, own_basis

SUMS_BYTES = 1 << 30
"""What the sums of one pass over the pictures take at most; layers beyond it are looked at in a further pass."""

SMALLEST = 1e-4
"""The smallest gain of a norm that counts, as a fraction of the largest: directions are told by dividing by it."""


@dataclass(frozen=True)
class Directions:
    """How the results of a layer vary.

    Attributes:
        basis: The directions, that of most variance first.
        variances: Shape (N,): the variance in each, of results as the norm behind the layer scales them.
    """

    basis: Basis
    variances: Tensor

    def rank(self, share: float) -> int:
        """The fewest directions that hold a share of the variance; at least one."""
        total = self.variances.cumsum(0)
        return min(len(total), 1 + int((total < share * total[-1]).sum()))


@dataclass
class _Covariance:
    """Of one layer, over all places of all batches."""

    products: Tensor
    sums: Tensor
    count: int = 0
    gain: Tensor | None = None

    @property
    def tell(self) -> bool:
        """Whether there are directions in them: something was added, and all of it was finite."""
        return self.count > 0 and bool(self.products.isfinite().all())

    def add(self, rows: Tensor) -> None:  # shape: (N, places)
        self.products += (rows @ rows.T).double()
        self.sums += rows.sum(1).double()
        self.count += rows.shape[1]


def find_directions(
    model: nn.Module,
    names: Sequence[str],
    runs: Callable[[nn.Module], None],
) -> dict[str, Directions]:
    """Measures in which directions the results of layers vary.

    Args:
        model: Read only; a copy is run, in evaluation mode.
        names: Of convolutions and linear layers with ``groups`` of 1.
        runs: Runs a model over pictures.

    Returns:
        Directions by name, of the layers that were called and whose results are finite. Results are scaled as a
        BatchNorm scales them that reads nothing else, so that a channel counts by what is made of it.
    """
    twin = copy_model(model).eval()
    found: dict[str, Directions] = {}
    for some in _in_passes(twin, names):
        sums: dict[str, _Covariance] = {}
        with torch.no_grad(), _watched(twin, some, sums):
            runs(twin)
        found |= {name: _directions(sums[name]) for name in some if name in sums and sums[name].tell}
    return found


def count_places(model: nn.Module, names: Sequence[str], runs: Callable[[nn.Module], None]) -> dict[str, int]:
    """How often the weight of each layer is used: its cells, or tokens; only of those that are called."""
    places: dict[str, int] = {}
    twin = copy_model(model).eval()

    def gave(name: str) -> Callable[..., None]:
        def see(layer: Any, _: Any, result: Tensor) -> None:
            places[name] = places.get(name, 0) + result.numel() // len(layer.weight)

        return see

    with torch.no_grad(), ExitStack() as hooks:
        for name in names:
            hooks.callback(twin.get_submodule(name).register_forward_hook(gave(name)).remove)
        runs(twin)
    return places


def weight_directions(model: nn.Module, names: Iterable[str]) -> dict[str, Directions]:
    """Directions that weights tell alone, without a picture: their singular vectors."""
    found = {}
    for name in names:
        layer: Any = model.get_submodule(name)
        basis = own_basis(layer)
        sizes = torch.linalg.vector_norm(basis.down @ layer.weight.detach().double().flatten(1), dim=1)
        found[name] = Directions(basis.balanced(sizes), sizes**2)
    return found


def _in_passes(model: nn.Module, names: Sequence[str]) -> Iterator[list[str]]:
    some: list[str] = []
    held = 0
    for name in names:
        size = 8 * len(model.get_submodule(name).weight) ** 2  # type: ignore[arg-type]
        if some and held + size > SUMS_BYTES:
            yield some
            some, held = [], 0
        some.append(name)
        held += size
    if some:
        yield some


def _channels(layer: Any) -> int:
    """Which dimension of its result channels are in, from the end: pictures may come without one for the batch."""
    return -1 if isinstance(layer, nn.Linear) else -1 - len(layer.kernel_size)


@contextmanager
def _watched(model: nn.Module, names: Collection[str], sums: dict[str, _Covariance]) -> Iterator[None]:
    """Adds up what layers give, and notes which norm reads it."""
    given: list[tuple[Any, str]] = []

    def gave(name: str) -> Callable[..., None]:
        def see(layer: Any, _: Any, result: Tensor) -> None:
            width = len(layer.weight)
            rows = result.detach().movedim(_channels(layer), 0).reshape(width, -1).float()
            if name not in sums:
                sums[name] = _Covariance(
                    rows.new_zeros(width, width, dtype=torch.float64), rows.new_zeros(width).double()
                )
            sums[name].add(rows)
            given[:] = [*given[-1:], (result, name)]

        return see

    def normed(norm: Any, read: tuple[Any, ...]) -> None:
        for result, name in given:
            if read and read[0] is result and norm.running_var is not None:
                scale = 1.0 if norm.weight is None else norm.weight.detach().double()
                sums[name].gain = scale / (norm.running_var.double() + norm.eps).sqrt()

    with ExitStack() as hooks:
        for name in names:
            hooks.callback(model.get_submodule(name).register_forward_hook(gave(name)).remove)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                hooks.callback(module.register_forward_pre_hook(normed).remove)
        yield


def _directions(sums: _Covariance) -> Directions:
    mean = sums.sums / sums.count
    covariance = sums.products / sums.count - torch.outer(mean, mean)
    gain = torch.ones_like(mean) if sums.gain is None else sums.gain.abs()
    gain = gain.clamp(min=SMALLEST * (float(gain.max()) or 1.0))
    values, vectors = torch.linalg.eigh(gain[:, None] * covariance * gain)
    vectors = vectors.flip(1)
    basis = Basis((vectors.T * gain).contiguous(), (vectors / gain[:, None]).contiguous(), mean)
    variances = values.flip(0).clamp(min=0.0)
    return Directions(basis.balanced(variances.sqrt()), variances)
