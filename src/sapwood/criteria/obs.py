"""Block optimal brain surgeon: what a channel costs once the channels that stay have taken over its work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sapwood.criteria.activations import readers_of
from sapwood.criteria.criterion import CRITERIA, Checked, finite
from sapwood.criteria.view import ModelView
from sapwood.errors import CriterionError
from sapwood.graph import ChannelGroup
from sapwood.ops import Axis

ROUNDS = 32
"""Costs are computed anew when a fraction of ``1 / ROUNDS`` of the channels that are left has gone."""

TIE = 1e-9
"""By which fraction a channel that goes later scores more at least, so that scores tell the order."""


@CRITERIA.register("obs")
@dataclass(frozen=True)
class BlockObs(Checked):
    r"""Scores a channel by how much the outputs of the modules that read it change when it goes *and* their other
    weights are solved anew, each output weighted by the gradient of the loss; loss units.

    With H the inverse of the damped mean of :math:`x x^T`, over a channel's block c of weights W,

    .. math:: s_c = \frac{1}{2} \sum_o g_o \, (W_c^T (H_{cc})^{-1} W_c)_{oo}

    The cheapest goes first; then H and W are updated by the Schur complement, and the costs of the others are computed
    anew. Scores never fall in that order, so that the sum of the lowest is the cost of removing them all.

    A single weight of input j and output o has the score of a block of one, as long as no other goes:
    :math:`\frac{1}{2} g_o W_{jo}^2 / H_{jj}`.

    Attributes:
        damping: Added to the diagonal, as a fraction of its mean.

    References:
        Hassibi and Stork, Second Order Derivatives for Network Pruning: Optimal Brain Surgeon, 1993, for one weight;
        Frantar and Alistarh, Optimal Brain Compression, 2022, arXiv:2208.11580, sec. 4, for blocks.
    """

    name: ClassVar[str] = "obs"
    needs: ClassVar[frozenset[str]] = frozenset({"input_gram", "output_grad_squared"})
    loss_units: ClassVar[bool] = True
    scores_weights: ClassVar[bool] = True

    damping: float = 1e-2

    def group_scores(self, group: ChannelGroup, view: ModelView) -> Tensor:
        """Scores the channels of a group; see :class:`sapwood.criteria.Criterion`."""
        readers = readers_of(group, view, sums=True)
        problems = [
            _Elimination(problem, self.damping)
            for module, places in readers.items()
            for problem in problems_of(module, places, group, view)
        ]
        if not view.statistic("output_grad_squared").keys() & readers.keys():
            raise CriterionError(f"{group.name}: the loss hangs on no module that reads it")
        count = group.num_channels
        scores = torch.zeros(count, dtype=torch.float64)
        left = torch.ones(count, dtype=torch.bool)
        highest = 0.0
        while bool(left.any()):
            costs = torch.zeros(count, dtype=torch.float64)
            for problem in problems:
                costs += problem.costs(count)
            costs[~left] = torch.inf
            chosen = costs.argsort(stable=True)[: max(1, int(left.sum()) // ROUNDS)]
            values = torch.cummax(costs[chosen].clamp(min=highest), dim=0).values
            values *= 1.0 + TIE * torch.arange(1, len(values) + 1, dtype=torch.float64)
            scores[chosen] = values
            highest = float(values[-1])
            left[chosen] = False
            for problem in problems:
                problem.remove(chosen)
        return finite(scores, f"{group.name}: its scores by {self.name!r}")

    def weight_scores(self, name: str, view: ModelView) -> Tensor:
        """Scores each weight of a convolution or linear module; see :class:`sapwood.criteria.Criterion`."""
        module = name.removesuffix("weight").removesuffix(".")
        grams = view.statistic("input_gram")
        if name != f"{module}.weight".lstrip(".") or module not in grams:
            raise CriterionError(f"{name}: 'obs' scores weights of convolution and linear modules that ran")
        weight = view.parameter(name).detach().double()
        transposed = view.readers.modules[module].transposed
        outputs = weight.shape[1] * view.readers.modules[module].groups if transposed else len(weight)
        importance = _importance(module, outputs, view)
        inverses = torch.stack(
            [
                torch.cholesky_inverse(torch.linalg.cholesky(damped(gram, self.damping))).diagonal()
                for gram in grams[module]
            ]
        )  # (g, n)
        groups, unknowns = inverses.shape
        if transposed:  # (g, n, outputs, taps): each tap has outputs of its own
            squares = weight.square().reshape(groups, unknowns, -1, weight[0, 0].numel())
            parts = squares * importance.reshape(groups, 1, -1, 1) / inverses[:, :, None, None]
        else:
            squares = weight.square().reshape(groups, -1, unknowns)
            parts = squares * importance.reshape(groups, -1, 1) / inverses[:, None]
        return finite(parts.reshape(weight.shape), f"{name}: its scores by {self.name!r}")


@dataclass(frozen=True)
class WeightProblem:
    """The weights of one conv group of a module, and what they are multiplied with.

    Attributes:
        gram: Mean of x xᵀ, shape (n, n).
        weight: Shape (n, o).
        importance: What a squared error of each output costs, shape (o,).
        columns: For each of the n unknowns, the channel of the group that it belongs to, or -1.
        module: Where it is.
        part: Which conv group.
    """

    gram: Tensor
    weight: Tensor
    importance: Tensor
    columns: Tensor
    module: str
    part: int


def problems_of(module: str, places: Axis, group: ChannelGroup, view: ModelView) -> Iterator[WeightProblem]:
    """The problems in which channels of a group are unknowns.

    Raises:
        CriterionError: If the module has no Gram matrix, or one of its inputs hangs on two channels of the group.
    """
    grams = view.statistic("input_gram")
    if module not in grams:
        raise CriterionError(f"{group.name}: the patches that {module!r} reads are not known")
    if ((places >= 0).sum(axis=1) > 1).any():
        raise CriterionError(f"{group.name}: an input of {module!r} hangs on two of its channels")
    channels = torch.from_numpy(np.asarray(places.max(axis=1)))
    gram = grams[module]
    weight = view.weight(module).double()
    groups, unknowns = len(gram), gram.shape[1]
    transposed = view.readers.modules[module].transposed
    taps = weight[0, 0].numel() if transposed else 1
    importance = _importance(module, weight.numel() // (unknowns * taps), view)
    if transposed:
        weight = weight.reshape(groups, unknowns, -1)
        importance = importance.repeat_interleave(taps)
    else:
        weight = weight.reshape(groups, -1, unknowns).transpose(1, 2)
    columns = channels.repeat_interleave(groups * unknowns // len(channels)).reshape(groups, unknowns)
    for part in range(groups):
        if bool((columns[part] >= 0).any()):
            yield WeightProblem(
                gram[part], weight[part], importance.reshape(groups, -1)[part], columns[part], module, part
            )


def _importance(module: str, outputs: int, view: ModelView) -> Tensor:
    """What a squared error of each output costs: nothing where the loss does not hang on the module."""
    squared = view.statistic("output_grad_squared").get(module)
    return torch.zeros(outputs, dtype=torch.float64) if squared is None else 0.5 * squared


def damped(gram: Tensor, damping: float) -> Tensor:
    """The matrix with a ridge, so that it can be inverted whatever it is."""
    scale = float(gram.diagonal().mean())
    return gram + torch.eye(len(gram), dtype=gram.dtype) * (damping * scale if scale > 0 else 1.0)


def compensated(problem: WeightProblem, removed: Tensor, damping: float) -> Tensor:  # shape: (n, o)
    """The weights that do best without some channels of the group: those that went are zero.

    Args:
        problem: The weights.
        removed: Whether each channel of the group went, shape (C,).
        damping: As of :class:`BlockObs`.
    """
    gone = (problem.columns >= 0) & removed[problem.columns.clamp(min=0)]
    weight = problem.weight.clone()
    weight[gone] = 0.0
    if bool(gone.all()) or not bool(gone.any()):
        return weight
    gram = damped(problem.gram, damping)
    factor = torch.linalg.cholesky(gram[~gone][:, ~gone])
    weight[~gone] += torch.cholesky_solve(problem.gram[~gone][:, gone] @ problem.weight[gone], factor)
    return weight


class _Elimination:
    """One problem while channels go."""

    def __init__(self, problem: WeightProblem, damping: float) -> None:
        factor = torch.linalg.cholesky(damped(problem.gram, damping))
        self._inverse = torch.cholesky_inverse(factor)
        self._weight = problem.weight * problem.importance.sqrt()
        order = problem.columns.argsort(stable=True)
        order = order[problem.columns[order] >= 0]
        self._channels, sizes = problem.columns[order].unique_consecutive(return_counts=True)  # type: ignore[no-untyped-call]
        self._same = bool((sizes == sizes[0]).all())
        self._blocks = list(torch.split(order, sizes.tolist()))
        self._left = torch.ones(len(self._blocks), dtype=torch.bool)
        self._dead = torch.zeros(len(problem.columns), dtype=torch.bool)

    def costs(self, count: int) -> Tensor:  # shape: (count,)
        """What each channel that is left costs here; 0 for those without weights here."""
        found = torch.zeros(count, dtype=torch.float64)
        numbers = self._left.nonzero().flatten()
        if not len(numbers):
            return found
        if self._same:
            index = torch.stack([self._blocks[number] for number in numbers.tolist()])  # (L, b)
            blocks = self._inverse[index[:, :, None], index[:, None, :]]
            rows = self._weight[index]  # (L, b, o)
            found[self._channels[numbers]] = _quadratic(blocks, rows)
            return found
        for number in numbers.tolist():
            index = self._blocks[number]
            own = _quadratic(self._inverse[index][:, index][None], self._weight[index][None])
            found[self._channels[number]] = own[0]
        return found

    def remove(self, chosen: Tensor) -> None:
        """Lets channels go, and the weights that stay take over."""
        numbers = (torch.isin(self._channels, chosen) & self._left).nonzero().flatten()
        if not len(numbers):
            return
        self._left[numbers] = False
        index = torch.cat([self._blocks[number] for number in numbers.tolist()])
        rows = self._inverse[index]  # (r, n)
        solved = torch.linalg.solve(rows[:, index], torch.cat([rows, self._weight[index]], dim=1))
        self._weight.addmm_(rows.T, solved[:, len(self._inverse) :], alpha=-1.0)
        self._inverse.addmm_(rows.T, solved[:, : len(self._inverse)], alpha=-1.0)
        for tensor in (self._weight, self._inverse):
            tensor[index] = 0.0
        self._inverse[:, index] = 0.0
        self._dead[index] = True
        if 2 * int(self._dead.sum()) > len(self._dead):
            self._shrink()

    def _shrink(self) -> None:
        """Leaves out the rows that are gone: half of them make a round cost four times what it needs to."""
        alive = (~self._dead).nonzero().flatten()
        moved = torch.full((len(self._dead),), -1, dtype=torch.int64)
        moved[alive] = torch.arange(len(alive))
        self._blocks = [moved[block] for block in self._blocks]  # of what is gone all are -1, and nobody asks
        self._inverse = self._inverse[alive][:, alive]
        self._weight = self._weight[alive]
        self._dead = self._dead[alive]


def _quadratic(blocks: Tensor, rows: Tensor) -> Tensor:  # shapes: (L, b, b), (L, b, o) -> (L,)
    """The traces of rowsᵀ blocks⁻¹ rows."""
    traces: Tensor = (torch.linalg.inv(blocks) * (rows @ rows.transpose(1, 2))).sum(dim=(1, 2))
    return traces.clamp(min=0.0)
