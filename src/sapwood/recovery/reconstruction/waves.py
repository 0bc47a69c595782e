"""Which layers can be solved in one run: none of them reads what another one makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sapwood.ops import Graph
from sapwood.recovery.reconstruction.sites import Site

MEMORY = 1 << 30
"""Bytes of sums that the layers of one wave may take together; a larger layer is a wave of its own."""


def waves(graph: Graph, sites: Sequence[Site], num_bytes: Mapping[str, int]) -> list[list[Site]]:
    """Splits sites, in order, into runs.

    Args:
        graph: That the sites are in.
        sites: In the order of their calls.
        num_bytes: Of the sums of each, by the name of its weight.
    """
    upstream = _upstream(graph, sites)
    found: list[list[Site]] = []
    for site in sites:
        own = upstream[site.weight]
        wave = found[-1] if found else []
        used = sum(num_bytes[one.weight] for one in wave)
        if wave and not own & {one.weight for one in wave} and used + num_bytes[site.weight] <= MEMORY:
            wave.append(site)
        else:
            found.append([site])
    return found


def _upstream(graph: Graph, sites: Sequence[Site]) -> dict[str, frozenset[str]]:
    """For each site the sites whose results it reads, be it as input or as what is added to its output."""
    made_by = {use.call.index: site.weight for site in sites for use in site.uses}
    sums = {use.sum: (site.weight, use) for site in sites for use in site.uses if use.sum is not None}
    reached: dict[int, frozenset[str]] = {}
    found: dict[str, frozenset[str]] = {site.weight: frozenset() for site in sites}
    for call in graph.calls:
        inputs = call.tensor_inputs()
        before = frozenset().union(*(reached.get(ref.id, frozenset()) for ref in inputs))
        weight = made_by.get(call.index)
        if weight is not None:
            found[weight] |= before
            before |= {weight}
        if call.index in sums:
            name, use = sums[call.index]
            found[name] |= reached.get(call.args[use.other].id, frozenset()) - {name}
        for ref in call.tensor_outputs():
            reached[ref.id] = reached.get(ref.id, frozenset()) | before
    return found
