"""What the widths of each group should be multiples of, from what multiples cost the layers that write and read it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from sapwood.allocation import held_groups, layer_work
from sapwood.goals.group_keys import GroupKey, group_key
from sapwood.goals.width_steps import LayerSteps
from sapwood.graph import Analysis
from sapwood.measure import WORTH


def group_multiples(analysis: Analysis, layers: Iterable[LayerSteps], usual: int) -> dict[GroupKey, int]:
    """Returns the multiple of each group for which it is another one than the network's.

    A width costs the layers that write it and those that read it: their times are added. A finer multiple than the
    network's is taken where it is clear that it costs no more than :data:`sapwood.measure.WORTH` over the best one, a
    coarser one where it is clear that it gains more: what the clock does not tell is left to the whole network.

    Args:
        analysis: The groups.
        layers: What multiples cost the layers, as measured.
        usual: The network's multiple.
    """
    held = held_groups(analysis, whole_heads=False)
    work = layer_work(analysis, held)
    costs = {one.layer: one for one in layers}
    touched: dict[int, list[tuple[LayerSteps, Mapping[int, float]]]] = {}
    for kind in ("reads", "writes"):
        pairs = {(number, term.layer) for term in work.terms[kind] for number in term.groups if term.layer in costs}
        for number, layer in sorted(pairs):
            times = getattr(costs[layer], kind)
            if len(times) > 1:
                touched.setdefault(number, []).append((costs[layer], times))
    found = {number: _clear_multiple(own, usual) for number, own in touched.items()}
    keys = [group_key(group) for group in analysis.groups]
    return {
        keys[number]: multiple for number, multiple in sorted(found.items()) if multiple != usual and number not in held
    }


def _clear_multiple(touching: Sequence[tuple[LayerSteps, Mapping[int, float]]], usual: int) -> int:
    """The multiple that layers clearly ask for together; the network's where they do not."""
    common = set.intersection(*(set(times) for _, times in touching))
    sums = {multiple: sum(one.ms * times[multiple] for one, times in touching) for multiple in sorted(common)}
    if len(sums) < 2:
        return usual
    best = min(sums.values())
    error = math.sqrt(sum((one.ms * one.error) ** 2 for one, _ in touching)) / best
    as_well = [multiple for multiple, took in sums.items() if took / best + error <= 1.0 + WORTH]
    now = sums.get(
        usual, sums[max(sums)]
    )  # groups too narrow for the network's multiple have the largest that they can
    gains = now / best - error > 1.0 + WORTH
    return min((multiple for multiple in as_well if multiple < usual or gains), default=usual)
