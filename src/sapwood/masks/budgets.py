"""How parameters share an overall sparsity: how many units each one keeps, exact in sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from sapwood.errors import MaskError
from sapwood.masks.select import keep_largest
from sapwood.registry import Registry


class Budget(Protocol):
    """Says how many units of each parameter stay.

    Within a parameter the largest scores do, of equal ones those of lower index.
    """

    def __call__(
        self,
        scores: Sequence[Tensor],
        shapes: Sequence[Sequence[int]],
        num_kept: int,
        uses: Sequence[float] | None = None,
        /,
    ) -> tuple[int, ...]:
        """Shares the units that are kept.

        Args:
            scores: Of each parameter's units, shape (U_p,) each.
            shapes: Of the parameters.
            num_kept: Units that stay in all.
            uses: How many products each weight of a parameter is in, in one run; None where nobody knows.

        Returns:
            Units that stay in each parameter; their sum is ``num_kept``.
        """
        ...


BUDGETS: Registry[Budget] = Registry("budget")
"""Every budget by its name."""


@BUDGETS.register("uniform")
def uniform_budget(
    scores: Sequence[Tensor],
    shapes: Sequence[Sequence[int]],
    num_kept: int,
    uses: Sequence[float] | None = None,
) -> tuple[int, ...]:
    """Every parameter keeps the same fraction, up to rounding.

    Examples:
        >>> uniform_budget([torch.ones(10), torch.ones(5)], [(2, 5), (5, 1)], 7)
        (5, 2)
    """
    del shapes, uses
    sizes = [len(own) for own in scores]
    return _whole([num_kept / sum(sizes) * size for size in sizes], sizes, num_kept)


@BUDGETS.register("erk")
def erk_budget(
    scores: Sequence[Tensor],
    shapes: Sequence[Sequence[int]],
    num_kept: int,
    uses: Sequence[float] | None = None,
) -> tuple[int, ...]:
    r"""Large parameters lose a larger fraction: Erdos-Renyi-Kernel.

    .. math:: d_l = \min\Big(1, \varepsilon \frac{\sum_i s_{l,i}}{\prod_i s_{l,i}}\Big)

    with s the sizes of parameter l; the factor is such that the sum comes out, with those that would keep more than
    they have kept whole.

    Examples:
        A 2 x 2 and a 10 x 10 have sums of 4 and 20: of 60 weights they would keep 10 and 50, but the first has only 4.

        >>> erk_budget([torch.ones(4), torch.ones(100)], [(2, 2), (10, 10)], 60)
        (4, 56)
        >>> erk_budget([torch.ones(4), torch.ones(100)], [(2, 2), (10, 10)], 18)
        (3, 15)

    References:
        Evci et al., Rigging the Lottery: Making All Tickets Winners, 2020, arXiv:1911.11134, section 3.1.
    """
    del uses
    sizes = [len(own) for own in scores]
    shares = [size * sum(shape) / math.prod(shape) for size, shape in zip(sizes, shapes, strict=True)]
    whole: set[int] = set()
    while True:
        free = [number for number in range(len(sizes)) if number not in whole]
        left = num_kept - sum(sizes[number] for number in whole)
        factor = left / sum(shares[number] for number in free) if free else 0.0
        full = {number for number in free if factor * shares[number] > sizes[number]}
        if not full:
            break
        whole |= full
    ideal = [sizes[number] if number in whole else factor * shares[number] for number in range(len(sizes))]
    return _whole(ideal, sizes, num_kept)


@BUDGETS.register("global")
def global_budget(
    scores: Sequence[Tensor],
    shapes: Sequence[Sequence[int]],
    num_kept: int,
    uses: Sequence[float] | None = None,
) -> tuple[int, ...]:
    """The largest scores of all parameters together stay; of equal ones those of the earlier parameter.

    Examples:
        >>> global_budget([torch.tensor([1.0, 4.0]), torch.tensor([3.0, 2.0, 5.0])], [(2, 1), (3, 1)], 3)
        (1, 2)
    """
    del shapes, uses
    kept = keep_largest(torch.cat([own.double().cpu() for own in scores]), num_kept)
    return tuple(int(own.sum()) for own in torch.split(kept, [len(own) for own in scores]))


@BUDGETS.register("lamp")
def lamp_budget(
    scores: Sequence[Tensor],
    shapes: Sequence[Sequence[int]],
    num_kept: int,
    uses: Sequence[float] | None = None,
) -> tuple[int, ...]:
    """The largest LAMP scores of all parameters together stay; the best unit of each has 1, so that it is not emptied.

    Raises:
        MaskError: If a score is negative.

    Examples:
        The squares are 9, 1 and 100, 64: LAMP scores 9/9, 1/10 and 100/100, 64/164.

        >>> lamp_budget([torch.tensor([3.0, 1.0]), torch.tensor([10.0, 8.0])], [(2, 1), (2, 1)], 3)
        (1, 2)
        >>> lamp_budget([torch.tensor([3.0, 1.0]), torch.tensor([10.0, 8.0])], [(2, 1), (2, 1)], 2)
        (1, 1)
    """
    del uses
    return global_budget([lamp_scores(own) for own in scores], shapes, num_kept)


@BUDGETS.register("lamp_macs")
def lamp_macs_budget(
    scores: Sequence[Tensor],
    shapes: Sequence[Sequence[int]],
    num_kept: int,
    uses: Sequence[float] | None = None,
) -> tuple[int, ...]:
    r"""LAMP scores over the root of how often a weight is used: layers with large maps keep fewer than by LAMP.

    .. math:: \frac{\mathrm{lamp}_u}{\sqrt{\mathrm{MACs}_l / N_l}}

    with N the weights of parameter l. LAMP keeps early layers of convolutional networks nearly whole, which is where
    most products are. The best unit of each parameter stays first, so that none is emptied.

    Raises:
        MaskError: If a score is negative, or ``uses`` are not given.

    Examples:
        >>> scores = [torch.tensor([3.0, 2.0, 2.0]), torch.tensor([3.0, 2.0, 2.0])]
        >>> lamp_macs_budget(scores, [(3, 1), (3, 1)], 3, [100.0, 1.0])
        (1, 2)
    """
    if uses is None:
        raise MaskError(
            "budget 'lamp_macs': nothing says how often weights are used; expected uses= of apply_masks_, as "
            "sapwood.measure.weight_uses counts them, or another budget"
        )
    found = [lamp_scores(own) for own in scores]
    roots = [math.sqrt(max(times, 1.0)) for times in uses]
    found = [torch.where(own < 1.0, own / root, own) for own, root in zip(found, roots, strict=True)]
    return global_budget(found, shapes, num_kept)


def lamp_scores(scores: Tensor) -> Tensor:  # scores shape: (U,); result shape: (U,)
    r"""Layer-adaptive scores: how much of what is at least as large a unit is.

    .. math:: \mathrm{lamp}_u = \frac{s_u^2}{\sum_{v:\, s_v \ge s_u} s_v^2}

    Of equal scores the one of lower index counts as the larger.

    Args:
        scores: Non-negative; with \|w\| it is the score of the paper.

    Returns:
        float64, in [0, 1].

    Raises:
        MaskError: If a score is negative.

    References:
        Lee et al., Layer-adaptive sparsity for the Magnitude-based Pruning, 2021, arXiv:2010.07611, eq. 4.
    """
    if bool((scores < 0).any()):
        raise MaskError("budget 'lamp': a score is negative; expected scores of at least 0")
    order = torch.argsort(scores, descending=True, stable=True)
    squares = scores[order].double() ** 2
    sums = squares.cumsum(0)
    result = torch.zeros_like(squares)
    result[order] = torch.where(sums > 0, squares / sums.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return result


def _whole(ideal: Sequence[float], sizes: Sequence[int], total: int) -> tuple[int, ...]:
    """Rounds shares to whole numbers with the sum ``total``: down, and then up where most was lost."""
    counts = [min(size, math.floor(share)) for share, size in zip(ideal, sizes, strict=True)]
    order = sorted(range(len(sizes)), key=lambda number: counts[number] - ideal[number])
    while (missing := total - sum(counts)) > 0:
        for number in [number for number in order if counts[number] < sizes[number]][:missing]:
            counts[number] += 1
    return tuple(counts)
