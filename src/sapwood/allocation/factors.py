"""Where a dimension is made of two (heads x width, conv groups x position), only one is pruned."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from sapwood.graph import Analysis, Unpruned
from sapwood.ops import Axis


def held_groups(
    analysis: Analysis, *, whole_heads: bool = False, both: bool = False, whole: Collection[int] = ()
) -> Mapping[int, str]:
    """Groups that stay whole because another factor of the same dimension is pruned instead.

    Of the factors of a dimension the one with more channels is pruned, for its steps are finer; of equals the inner.
    Wide dimensions choose first: what one of them holds is no choice for the next, and what one chose the next one
    chooses again, or nothing of the first would go.

    Args:
        analysis: The groups.
        whole_heads: Of a linear layer's dimension (attention's heads x width) the outer factor is pruned, so that heads
            go whole and keep their width.
        both: Grouped convolutions may lose whole groups and channels of every group, for who knows what each costs.
        whole: Groups that stay whole in any case, and so are no choice.

    Returns:
        Position in ``analysis.groups`` -> the name of the group that is pruned in its place.
    """
    owner = _owner_of_units(analysis)
    held: dict[int, str] = {}
    settled: set[int] = set()
    free = _of_convolutions(analysis, owner) if both else frozenset()
    several = {  # parameters share most axes
        (id(axis), whole_heads and len(axes) <= 2): axis
        for axes in analysis.axes.values()
        for axis in axes
        if axis.shape[1] > 1
    }
    for (_, outer), axis in sorted(several.items(), key=lambda item: len(item[1]), reverse=True):
        owners = owner[axis]
        products = owners[np.count_nonzero(owners != NOBODY, axis=1) > 1]  # beside them what else is joined
        factors = [frozenset(column.tolist()) - {NOBODY} - held.keys() - set(whole) for column in products.T]
        present = [numbers for numbers in factors if numbers]
        if len(present) < 2 or free.issuperset(frozenset().union(*present)):
            continue
        inner = max(
            reversed(present), key=lambda numbers: sum(analysis.groups[number].num_channels for number in numbers)
        )
        again = [numbers for numbers in present if numbers & settled]
        chosen = again[0] if again else present[0] if outer else inner
        settled |= chosen
        for numbers in present:
            held.update((number, analysis.groups[min(chosen)].name) for number in numbers - chosen)
    return held


def held_dims(
    analysis: Analysis,
    held: Mapping[int, str],
    stuck: Mapping[int, str] | None = None,
    whole: Mapping[int, str] | None = None,
) -> tuple[Unpruned, ...]:
    """Dimensions of parameters that stay whole because all their groups do, with the reason.

    Args:
        analysis: The groups.
        held: Groups that are held; see :func:`held_groups`.
        stuck: Groups that have no smaller width in common with what must keep the same share, and its name.
        whole: Groups that stay whole for any other reason, and that.
    """
    parameters = {names[0] for names in analysis.graph.parameters.values()}
    reasons = {
        number: f"stays whole, for {name} goes instead: both make up one dimension" for number, name in held.items()
    }
    for number, name in (stuck or {}).items():
        reasons[number] = f"stays whole: the code asks for the same share of {name}, and no smaller width suits both"
    reasons.update(whole or {})
    found: dict[tuple[str, int], str] = {}
    goes: set[tuple[str, int]] = set()
    for number, group in enumerate(analysis.groups):
        places = [(member.tensor, member.dim) for member in group.members if member.tensor in parameters]
        if number in reasons:
            found.update(dict.fromkeys(places, reasons[number]))
        else:
            goes.update(places)
    return tuple(Unpruned(*place, reason) for place, reason in found.items() if place not in goes)


NOBODY = -1
"""Stands for the number of a group where an atom is in none."""


def _owner_of_units(analysis: Analysis) -> Axis:  # shape: (atoms,)
    """The number of the group of each atom."""
    owner = np.full(len(analysis.context.atoms), NOBODY, dtype=np.int64)
    for number, group in enumerate(analysis.groups):
        owner[list(group.units)] = number
    return owner


def _owners(atoms: Axis, owner: Axis) -> frozenset[int]:
    return frozenset(owner[atoms].ravel().tolist()) - {NOBODY}


def _of_convolutions(analysis: Analysis, owner: Axis) -> frozenset[int]:
    """Groups that are the conv groups of a convolution with more than one channel in each, or positions in these."""
    atoms, found = analysis.context.atoms, set()
    for call in analysis.graph.calls:
        facts = call.facts
        if facts.groups_at is None or facts.sum is None or int(call.args[facts.groups_at]) == 1:
            continue
        weight = analysis.context.axes(call.args[facts.sum.weight])
        if atoms.resolve(weight[0]).shape[1] > 1 and atoms.resolve(weight[1]).shape[1]:
            found |= {number for axis in weight[:2] for number in _owners(atoms.resolve(axis), owner)}
    return frozenset(found)
