r"""Constants that meet zero padding: one channel carries those of all the others.

A dead channel that emits a constant in front of a padded convolution adds a map that is lower at the border, so no bias
can replace it. But the maps of two constants differ only by their weights: with values :math:`c_i` and :math:`c_k`,

.. math:: W_{:,i} * (c_i \mathbf{1}) = \Big(\frac{c_i}{c_k} W_{:,i}\Big) * (c_k \mathbf{1}),

whatever the padding. So the weights that read channel :math:`i` move onto those that read channel :math:`k`, and
nothing reads channel :math:`i` any more. One channel of many stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sapwood.compaction.contributions import UNIFORM
from sapwood.compaction.dependence import RecordedStep, alive
from sapwood.graph import Analysis
from sapwood.models import Merge
from sapwood.ops import ALWAYS, Call, Graph


@dataclass(frozen=True)
class PaddedConstants:
    """The channels in front of one padded convolution that hold one number each, the same for every input.

    Attributes:
        call: The convolution, of one conv group.
        weight: Name of its weight.
        dim: The weight's dimension of input channels.
        values: Input channel -> the number.
    """

    call: Call
    weight: str
    dim: int
    values: Mapping[int, float]


def padded_constants(step: RecordedStep, graph: Graph) -> PaddedConstants | None:
    """What a call reads of that kind, or None."""
    if not step.call.facts.is_convolution or int(step.args[8]) != 1 or not any(step.args[4]):
        return None
    names = graph.parameters.get(step.call.args[1].id)
    if names is None:
        return None
    x, weight = step.args[:2]
    channel = x.dim() - weight.dim() + 1
    dim = 0 if step.args[6] else 1
    others = [number for number in range(x.dim()) if number != channel]
    low, high = x.amin(dim=others), x.amax(dim=others)
    depends = step.masks[0].any(dim=others) | step.masks[1].any()
    read = alive(weight, step.masks[1]).any(dim=[number for number in range(weight.dim()) if number != dim])
    constant = ~depends & read & (high != 0) & (high - low <= UNIFORM * high.abs())
    values = {index: float(high[index]) for index in constant.nonzero()[:, 0].tolist()}
    return PaddedConstants(step.call, names[0], dim, values) if len(values) > 1 else None


def find_merges(analysis: Analysis, sites: Sequence[PaddedConstants]) -> tuple[Merge, ...]:
    """Picks the channels that carry the constants of the others, as few as there can be.

    A channel that is read in several places carries in all of them where it can; of several the one with the largest
    number is taken, for the least is lost to rounding.

    Args:
        analysis: The channel groups.
        sites: From :func:`padded_constants`; a weight that several calls share is left alone.
    """
    uses = Counter(ref.id for call in analysis.graph.calls for ref in call.tensor_inputs())
    sites = [site for site in sites if uses[site.call.args[1].id] == 1]
    units = [_units(analysis, site) for site in sites]
    wanted = Counter(unit for own in units for unit in own.values())
    carriers: set[int] = set()
    merges = []
    for site, own in sorted(zip(sites, units, strict=True), key=lambda pair: -len(pair[1])):
        if len(own) < 2:
            continue
        carrier = max(own, key=lambda index: (own[index] in carriers, wanted[own[index]], abs(site.values[index])))
        carriers.add(own[carrier])
        sources = tuple(index for index in own if index != carrier)
        factors = tuple(site.values[index] / site.values[carrier] for index in sources)
        merges.append(Merge(site.weight, site.dim, carrier, sources, factors))
    return tuple(merges)


def _units(analysis: Analysis, site: PaddedConstants) -> dict[int, int]:
    """Input channel -> the unit that it stands for, for channels that can go by themselves."""
    atoms = analysis.context.atoms
    source = site.call.args[0]
    channel = len(source.shape) - len(site.call.args[1].shape) + 1
    axis = atoms.resolve(analysis.context.axes(source)[channel])
    found: dict[int, int] = {}
    for index in site.values:
        own = [unit for unit in axis[index].tolist() if unit != ALWAYS]
        if len(own) == 1 and atoms.frozen_reason(own[0]) is None:
            found[index] = own[0]
    return found
