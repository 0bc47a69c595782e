"""Least squares where most weights have to be zero: which ones stay, and what they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sapwood.masks import Pattern
from sapwood.recovery.reconstruction.least_squares import NormalSums, Solved, Sums, System, intercept_of

ITERATIONS = 60
"""Iterations of the search for the weights that stay, at most."""

PENALTY = 0.03
"""The penalty of the first iterations, in a system whose diagonal is 1."""

GROWTH = 1.3
"""The factor by which the penalty grows every :data:`HOLD` iterations."""

HOLD = 3

SETTLED = 1e-4
"""The search ends when less than this fraction of the weights that stay changes."""

CHOOSING = 1e-1
"""Ridge while weights are chosen, as a fraction of the mean square of an input."""

DAMPINGS = (1.0, 1e-1, 1e-2, 1e-3)
"""Ridges that are tried for the weights that stay."""

DESCENTS = 100
"""Steps of conjugate gradients, at most; where an output keeps so many weights that factors cost more."""

CLOSE = 1e-8
"""Conjugate gradients end when every output's residual has fallen to this fraction."""


@dataclass(frozen=True)
class Rule:
    """Which weights of a layer may differ from zero.

    Attributes:
        mask: True = may; shape of the weight. Where there is a ``pattern``, only its number of units counts.
        pattern: Of the units that stay; None where ``mask`` says which.
    """

    mask: Tensor
    pattern: Pattern | None = None


def solve_by_rule(
    fit: Sums, held: NormalSums, weight: Tensor, bias: Tensor, rule: Rule, *, intercept: bool
) -> tuple[Solved, Tensor]:
    """Chooses weights as the rule says and solves for them; the ridge is chosen on ``held``, as for a dense layer.

    Args:
        fit: Rows to fit.
        held: Rows to choose the ridge on.
        weight: The weights that are there, (g, n, o).
        bias: Their bias, (g, o).
        rule: Which weights may differ from zero.
        intercept: Whether the bias may change.

    Returns:
        The weights, ``before`` being the error of the old ones with the rule's own mask; and the mask, in the shape of
        the layer's weight.
    """
    groups, shape = len(weight), rule.mask.shape
    given = as_columns(rule.mask.flatten(1), groups)
    before = held.error(weight * given, bias)
    unit = held.unit()
    mask = given
    if not fit.count:
        return Solved(weight * mask, bias, None, before / unit, before / unit, before / unit), rule.mask
    system = System(fit, weight, intercept)
    if rule.pattern is not None:
        num_kept = int(rule.pattern.unit_scores(rule.mask.double()).gt(0).sum())
        mask = choose(*system.damped(CHOOSING), weight, pattern=rule.pattern, num_kept=num_kept, shape=shape)
    fitted = [solve_masked(gram, right, weight, mask) for gram, right in map(system.damped, DAMPINGS)]
    errors = [held.error(one, intercept_of(fit, one) if intercept else bias) for one in fitted]
    error, damping, start = min(zip(errors, DAMPINGS, fitted, strict=True), key=lambda found: found[0])
    del system, fitted
    everything = fit.joined(held)
    solved = solve_masked(*System(everything, weight, intercept).damped(damping), start, mask)
    new_bias = intercept_of(everything, solved) if intercept else bias
    chosen = as_rows(mask).reshape(shape)
    return Solved(solved, new_bias, damping, before / unit, error / unit, error / unit), chosen


def masked_error(fit: Sums, held: NormalSums, weight: Tensor, bias: Tensor, rule: Rule, *, intercept: bool) -> float:
    """The squared error on ``held`` of weights solved for with the rule's own mask, under :data:`CHOOSING`."""
    if not fit.count:
        return held.error(weight, bias)
    mask = as_columns(rule.mask.flatten(1), len(weight))
    solved = solve_masked(*System(fit, weight, intercept).damped(CHOOSING), weight, mask)
    return held.error(solved, intercept_of(fit, solved) if intercept else bias)


def choose(
    gram: Tensor,  # shape: (g, n, n)
    right: Tensor,  # shape: (g, n, o)
    weight: Tensor,  # shape: (g, n, o)
    *,
    pattern: Pattern,
    num_kept: int,
    shape: Sequence[int],
) -> Tensor:  # shape: (g, n, o)
    r"""Chooses the weights that stay by alternating directions.

    .. math:: \min_{W, D} \operatorname{tr}(\tfrac12 W^T A W - W^T B) \quad \text{with } W = D, \; D \text{ sparse}

    W is solved for without a mask, pulled towards D; D keeps the units of largest \|W\|, in a system whose diagonal
    is 1; the pull grows until the two agree.

    Args:
        gram: A, positive definite.
        right: B.
        weight: Where W and D start.
        pattern: Which weights go together.
        num_kept: Units that stay.
        shape: Of the layer's weight, as the pattern is to see it.

    Returns:
        True = stays.

    References:
        Meng et al., ALPS: Improved Optimization for Highly Sparse One-Shot Pruning, 2024, arXiv:2406.07831;
        Boža, Fast and Effective Weight Update for Pruned Large Language Models, 2024, arXiv:2401.02938.
    """
    root = gram.diagonal(dim1=1, dim2=2).sqrt()[:, :, None]  # (g, n, 1)
    system = (gram / root).div_(root.transpose(1, 2)).float()
    wanted, dense = (right / root).float(), (weight * root).float()
    mask = _projected(dense, pattern, num_kept, shape)
    sparse, dual = dense * mask, torch.zeros_like(dense)
    penalty, factor = PENALTY, None
    for iteration in range(ITERATIONS):
        if factor is None:
            ridged = system.clone()
            ridged.diagonal(dim1=1, dim2=2).add_(penalty)
            factor = torch.linalg.cholesky(ridged)
        dense = torch.cholesky_solve(wanted + penalty * sparse - dual, factor)
        moved = dense + dual / penalty
        again = _projected(moved, pattern, num_kept, shape)
        changed = int((again != mask).sum()) / max(1, int(mask.sum()))
        mask, sparse = again, moved * again
        dual += penalty * (dense - sparse)
        if iteration % HOLD == HOLD - 1:
            if changed < SETTLED:
                break
            penalty, factor = penalty * GROWTH, None
    return mask


def solve_masked(
    gram: Tensor,  # shape: (g, n, n)
    right: Tensor,  # shape: (g, n, o)
    weight: Tensor,  # shape: (g, n, o)
    mask: Tensor,  # shape: (g, n, o)
) -> Tensor:  # shape: (g, n, o)
    """Solves ``gram @ W = right`` on the weights that stay, all others zero, each output by itself.

    Args:
        gram: Positive definite.
        right: Right-hand sides.
        weight: Where to start, where it is solved step by step.
        mask: True = may differ from zero.
    """
    kept = mask.sum(dim=1).double()
    unknowns, outputs = right.shape[1:]
    if float(kept.pow(3).sum()) / 3.0 > 2.0 * DESCENTS * len(gram) * outputs * unknowns**2:
        return _descended(gram, right, weight, mask)
    found = torch.zeros_like(right)
    for group in range(len(gram)):
        for output in range(outputs):
            own = mask[group, :, output].nonzero()[:, 0]
            if len(own):
                factor = torch.linalg.cholesky(gram[group][own[:, None], own])
                found[group, own, output] = torch.cholesky_solve(right[group, own, output, None], factor)[:, 0]
    return found


def _descended(gram: Tensor, right: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """The same by conjugate gradients of all outputs at once, with the diagonal as preconditioner."""
    inverse = mask / gram.diagonal(dim1=1, dim2=2)[:, :, None]
    solution = weight * mask
    residual = (right - gram @ solution) * mask
    scaled = residual * inverse
    direction = scaled
    product = (residual * scaled).sum(dim=1, keepdim=True)  # (g, 1, o)
    goal = CLOSE**2 * (right.square() * inverse).sum(dim=1, keepdim=True)
    for _ in range(DESCENTS):
        if bool((product <= goal).all()):
            break
        image = gram @ direction
        curvature = (direction * image).sum(dim=1, keepdim=True)
        step = torch.where(curvature > 0, product / curvature.clamp(min=torch.finfo(gram.dtype).tiny), 0.0)
        solution = solution + step * direction
        residual = residual - step * (image * mask)
        scaled = residual * inverse
        before, product = product, (residual * scaled).sum(dim=1, keepdim=True)
        direction = scaled + product / before.clamp(min=torch.finfo(gram.dtype).tiny) * direction
    return solution


def as_rows(values: Tensor) -> Tensor:  # (g, n, o) -> (g * o, n)
    """One row an output, as the layer's weight has them."""
    return values.transpose(1, 2).flatten(0, 1)


def as_columns(rows: Tensor, groups: int) -> Tensor:  # (g * o, n) -> (g, n, o)
    """The way back."""
    return rows.reshape(groups, -1, rows.shape[1]).transpose(1, 2)


def _projected(values: Tensor, pattern: Pattern, num_kept: int, shape: Sequence[int]) -> Tensor:
    """True for the units of largest norm."""
    mask = pattern.mask(as_rows(values).square().reshape(tuple(shape)), num_kept)
    return as_columns(mask.flatten(1), len(values))
