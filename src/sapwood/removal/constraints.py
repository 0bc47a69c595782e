"""What a model's own code does not let change, learned round by round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from sapwood.graph import Analysis, build_groups
from sapwood.ops import Graph
from sapwood.removal.build import Obstacle

Site: TypeAlias = tuple[str, str, str, int]
"""Where a call is made; see :meth:`sapwood.ops.Graph.sites`."""


class Constraints:
    """Calls whose sizes must stay.

    A call that is in the way is fixed in steps: first what it makes, then also what it reads, then all that its module
    works on. Where it is known which widths are in the way, these alone are fixed before.
    """

    def __init__(self, frozen: Mapping[str, str]) -> None:
        self._frozen = dict(frozen)
        self._tied: set[Site] = set()
        self._met: Counter[Site] = Counter()
        self._fixed: dict[Site, tuple[str, bool]] = {}
        self._held: dict[tuple[Site, int, int], str] = {}
        self.last = ""

    def add(self, graph: Graph, obstacle: Obstacle) -> bool:
        """Remembers an obstacle that stood in the way of a run like ``graph``; returns whether more stays by it."""
        sites = {call.index: site for site, call in graph.sites().items()}
        site = sites[obstacle.call.index]
        self.last = obstacle.reason
        if obstacle.tie and site not in self._tied:
            self._tied.add(site)
            return True
        widths = {(sites[one.call.index], one.number, one.dim): obstacle.reason for one in obstacle.widths}
        if widths.keys() - self._held.keys():
            self._held.update(widths)
            return True
        self._met[site] += 1
        self._fixed[site] = (obstacle.reason, self._met[site] > 1)
        if self._met[site] > 2:
            same = [sites[other.index] for other in graph.calls if obstacle.call.module in other.modules]
            self._fixed.update(dict.fromkeys(same, (obstacle.reason, True)))
        return self._met[site] <= len(("outputs", "inputs", "module"))

    def analyse(self, graph: Graph) -> Analysis:
        """Groups the recorded run under what is known so far."""
        sites = graph.sites()
        tied = {sites[site].index for site in self._tied if site in sites}
        fixed = {sites[site].index: why for site, why in self._fixed.items() if site in sites}
        held = {
            (sites[site].index, number, dim): why for (site, number, dim), why in self._held.items() if site in sites
        }
        return build_groups(graph, frozen=self._frozen, tied=tied, fixed=fixed, held=held)
