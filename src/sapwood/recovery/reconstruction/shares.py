"""How many weights each layer keeps, of as many in all: by how far outputs move when it alone is masked and solved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from sapwood.allocation import solve_separable
from sapwood.arguments import check_batches, check_model
from sapwood.errors import MeasureError
from sapwood.graph import output_tensors
from sapwood.masks import Pattern
from sapwood.models import Plan, copy_model
from sapwood.recovery.reconstruction.layer_sums import LayerSums
from sapwood.recovery.reconstruction.least_squares import System, intercept_of
from sapwood.recovery.reconstruction.masked import CHOOSING, Rule, as_columns, as_rows, num_units, solve_masked
from sapwood.recovery.reconstruction.reconstruct import TwoNetworks
from sapwood.recovery.reconstruction.solved_layer import SolvedLayer
from sapwood.types import ExampleInputs

TRIED = (0.3, 0.8, 2.0, 4.0)
"""Densities at which each layer alone is tried, as multiples of that of all of them."""

OPTIONS = 121
"""Densities that a layer may get, from all to :data:`FEWEST`, evenly in their logarithm."""

FEWEST = 0.1
"""The lowest density that a layer may get, as a multiple of that of all of them."""

NUM_PATCHES = 8192
"""Rows of each layer that are looked at."""


def share_zeros(
    model: nn.Module,
    rules: Mapping[str, Rule],
    batches: Sequence[ExampleInputs],
    measure: Callable[[nn.Module], float],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Rule]:
    """Says anew how many weights each layer keeps; all layers together keep as many as before.

    Each layer alone is masked at several densities (the largest weights, in a system whose diagonal is 1) and solved,
    and the model measured: what compensation brings back does not count as loss. The densities of least loss in all
    are taken (:func:`sapwood.allocation.solve_separable`).

    Args:
        model: The dense network; not touched.
        rules: What may differ from zero. Those with a pattern of free density are shared anew; others stay.
        batches: Pictures, as the model takes them.
        measure: A figure of a model that rises with harm, such as its divergence from the dense one.
        seed: Of the places that are looked at.
        progress: Called with (done, total) layers.

    Returns:
        The rules, with masks of the new numbers.

    Raises:
        ConfigError: If there is no batch.
        MeasureError: If the untouched model's figure is not finite.
    """
    check_model(model, "model")
    check_batches(batches)
    free = {name: rule for name, rule in rules.items() if rule.pattern is not None and rule.pattern.sparsity is None}
    work = _dense_twice(model, batches, seed)
    sites = [site for site in work.sites if site.weight in free and _num_all(free[site.weight]) > 1]
    if len(sites) < 2:
        return dict(rules)
    own = [free[site.weight] for site in sites]
    units, kept = [_num_all(rule) for rule in own], sum(map(num_units, own))
    sums, dense = work.dense_sums(sites), float(measure(work.model))
    if not math.isfinite(dense):
        raise MeasureError(f"the figure of the untouched model is {dense}; expected a finite number")
    curves = []
    for site, rule, count in zip(sites, own, units, strict=True):
        tried = sorted(
            {max(1, min(round(times * kept / sum(units) * count), kept, count)) for times in TRIED} - {count}
        )
        layer = _TriedLayer(SolvedLayer(site, work.tensors), rule, sums.pop(site.weight))
        curves.append((tried, [_harm(layer, one, work.model, measure) - dense for one in tried]))
        if progress is not None:
            progress(len(curves), len(sites))
    counts = shared_counts(units, curves, kept)
    weights = [work.tensors[site.weight] for site in sites]
    found = {
        site.weight: replace(rule, mask=_pattern(rule).mask(weight.abs(), count))
        for site, rule, weight, count in zip(sites, own, weights, counts, strict=True)
    }
    return {**rules, **found}


def shared_counts(
    units: Sequence[int], curves: Sequence[tuple[Sequence[int], Sequence[float]]], kept: int
) -> tuple[int, ...]:
    """How many units each layer keeps, ``kept`` in all.

    Args:
        units: Of each layer.
        curves: Of each, the numbers that were tried, ascending and below all of them, and the loss at each.
        kept: In all.

    Examples:
        Two layers of 100; the second loses four times as much.

        >>> shared_counts([100, 100], [([5, 10, 20], [4.0, 2.0, 1.0]), ([5, 10, 20], [16.0, 8.0, 4.0])], 20)
        (7, 13)
    """
    density = kept / sum(units)
    options = np.exp(np.linspace(0.0, math.log(FEWEST * density), OPTIONS))
    losses = [_losses(curve, count, options) for curve, count in zip(curves, units, strict=True)]
    costs = [options * count for count in units]
    choice = solve_separable(losses, costs, float(kept))
    assert choice is not None, "the fewest of each are fewer than are kept"
    counts = [max(1, int(options[pick] * count)) for pick, count in zip(choice.picks, units, strict=True)]
    order = sorted(range(len(units)), key=lambda number: counts[number] - units[number])
    for number in order:  # what rounding left over goes where most is missing
        more = min(units[number] - counts[number], kept - sum(counts))
        counts[number] += max(0, more)
    while sum(counts) > kept:  # one of each is more than some have a share in
        counts[counts.index(max(counts))] -= 1
    return tuple(counts)


def _losses(curve: tuple[Sequence[int], Sequence[float]], count: int, options: np.ndarray) -> np.ndarray:
    """The loss at each density: between trials a smooth curve in the logarithm; below them it goes on as it rose."""
    from scipy.interpolate import PchipInterpolator  # imports for a second

    tried, losses = curve
    places = np.log(np.array([*tried, count]) / count)
    values = np.maximum.accumulate(np.maximum([*losses, 0.0], 0.0)[::-1])[::-1]
    found = PchipInterpolator(places, values)(np.maximum(np.log(options), places[0]))
    slope = (values[0] - values[1]) / (places[1] - places[0])
    return np.asarray(found + slope * np.maximum(places[0] - np.log(options), 0.0))


@dataclass(frozen=True)
class _TriedLayer:
    """A layer that is tried."""

    solved: SolvedLayer
    rule: Rule
    sums: LayerSums


def _harm(layer: _TriedLayer, kept: int, model: nn.Module, measure: Callable[[nn.Module], float]) -> float:
    """The figure of the model when one layer alone keeps so many units and is solved."""
    weight, bias = layer.solved.folded()
    rows = layer.sums.fit.joined(layer.sums.held)
    gram, right = System(rows, weight, layer.solved.has_intercept).damped(CHOOSING)
    scaled = as_rows(weight.square() * gram.diagonal(dim1=1, dim2=2)[:, :, None])
    mask = _pattern(layer.rule).mask(scaled.reshape(layer.rule.mask.shape), kept)
    solved = solve_masked(gram, right, weight, as_columns(mask.flatten(1), len(weight)))
    moved = intercept_of(rows, solved) if layer.solved.has_intercept else bias
    with layer.solved.restored():
        layer.solved.write(solved, moved)
        harm = float(measure(model))
    return harm if math.isfinite(harm) else float(np.finfo(np.float32).max)


def _num_all(rule: Rule) -> int:
    """Units of a layer."""
    return num_units(replace(rule, mask=torch.ones_like(rule.mask)))


def _pattern(rule: Rule) -> Pattern:
    assert rule.pattern is not None
    return rule.pattern


def _dense_twice(model: nn.Module, batches: Sequence[ExampleInputs], seed: int) -> TwoNetworks:
    sizes = [len(output_tensors(batch)[0]) for batch in batches]
    return TwoNetworks(
        copy_model(model).eval(),
        copy_model(model).eval(),
        Plan(),
        batches,
        (),
        sizes=sizes,
        offsets=[sum(sizes[:number]) for number in range(len(sizes))],
        others_weights=(0.0,),
        rules={},
        num_patches=NUM_PATCHES,
        seed=seed,
    )
