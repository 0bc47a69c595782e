"""What a model's own code does not let change, learned round by round."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sapwood.graph import Analysis, Shuffle, build_groups, find_shuffles
from sapwood.ops import Call, Graph
from sapwood.removal.build import Obstacle
from sapwood.removal.repair import Tries

Site: TypeAlias = tuple[str, str, str, int]
"""Where a call is made; see :meth:`sapwood.ops.Graph.sites`."""

Place: TypeAlias = tuple[Site, int, int]
"""A dimension of a tensor of a call: where the call is made, number of the tensor, dimension."""

Line: TypeAlias = tuple[Any, ...]
"""The same dimension wherever the same line of code is run: file and line, operator, how often it came, and where."""

MAX_PROPORTIONS = 3
"""How often widths are tried that lose the same share, before a call is fixed."""


class Constraints:
    """Calls whose sizes must stay.

    A call that is in the way is fixed in steps: first what it makes, then also what it reads, then all that its module
    works on. Where it is known which widths are in the way, these alone are fixed before. Where widths near it could
    lose the same share, or the parts that it cuts the same positions, this is tried first, and dropped if it does not
    help. What stands in the way at the same line of two modules does so in all that run it: a deep network would take a
    round for each of its layers.

    Args:
        frozen: Tensors or dimensions that stay whole, with the reason.
        loose: Whether any channels that a shuffle reaches may go, in numbers that its order allows, as long as nothing
            stands in the way; for who keeps to :attr:`sapwood.graph.Analysis.ladders`.

    Attributes:
        last: The obstacle met last.
        tries: Which attributes of the model were tried, so that rounds do not try the same ones without end.
    """

    def __init__(self, frozen: Mapping[str, str], *, loose: bool = False) -> None:
        self._frozen = dict(frozen)
        self._loose = loose
        self._rigid: set[Site] = set()
        self._known: tuple[Graph, Mapping[int, Shuffle]] | None = None
        self._analysed: Analysis | None = None
        self._tied: set[Site] = set()
        self._tied_once: set[Site] = set()
        self._met: Counter[Site] = Counter()
        self._fixed: dict[Site, tuple[str, bool]] = {}
        self._held: dict[Place, str] = {}
        self._together: dict[Site, list[frozenset[Place]]] = defaultdict(list)
        self._proportions: Counter[Site] = Counter()
        self._modules: dict[Line, set[str]] = defaultdict(set)
        self.last = ""
        self.tries = Tries()

    def again(self) -> Constraints:
        """The same before anything stood in the way."""
        fresh = Constraints(self._frozen, loose=self._loose)
        if not self.last:
            fresh._known, fresh._analysed = self._known, self._analysed
        return fresh

    def add(self, graph: Graph, obstacle: Obstacle, *, stiffer: Sequence[Call] = ()) -> bool:
        """Remembers an obstacle that stood in the way of a run like ``graph``; returns whether more stays by it.

        Args:
            graph: The run.
            obstacle: What stood in the way.
            stiffer: Where shuffles begin of which the same positions of each part go from now on. Where there are such,
                this is tried first.
        """
        self._analysed = None
        sites = {call.index: site for site, call in graph.sites().items()}
        site = sites[obstacle.call.index]
        self.last = obstacle.reason
        rigid = {sites[call.index] for call in stiffer} - self._rigid
        if rigid:
            self._rigid |= rigid
            return True
        widths = {(sites[one.call.index], one.number, one.dim): obstacle.reason for one in obstacle.widths}
        known = {
            place: why
            for place, why in widths.items()
            if self._modules.get(_line(place), {place[0][0]}) - {place[0][0]}
        }
        if known.keys() - self._held.keys():
            self._hold(graph, known)
            return True
        if obstacle.together and self._proportions[site] < MAX_PROPORTIONS:
            self._proportions[site] += 1
            self._together[site] += [
                frozenset((sites[one.call.index], one.number, one.dim) for one in widths)
                for widths in obstacle.together
            ]
            return True
        self._together.pop(site, None)
        if obstacle.tie and site not in self._tied_once:
            self._tied.add(site)
            self._tied_once.add(site)
            return True
        self._tied.discard(site)
        if widths.keys() - self._held.keys():
            self._hold(graph, widths)
            return True
        self._met[site] += 1
        self._fixed[site] = (obstacle.reason, self._met[site] > 1)
        if self._met[site] > 2:
            same = [sites[other.index] for other in graph.calls if obstacle.call.module in other.modules]
            self._fixed.update(dict.fromkeys(same, (obstacle.reason, True)))
        return self._met[site] <= len(("outputs", "inputs", "module"))

    def _hold(self, graph: Graph, widths: Mapping[Place, str]) -> None:
        """Holds widths, in every module that runs their line of code where that was in the way in two."""
        self._held.update(widths)
        sites = graph.sites()
        for (site, number, dim), reason in widths.items():
            module, *place = site
            line = _line((site, number, dim))
            self._modules[line].add(module)
            if len(self._modules[line]) > 1:
                for other, call in sites.items():
                    if [*other[1:]] == place and _ranks(call) == _ranks(sites[site]):
                        self._held.setdefault((other, number, dim), reason.replace(f"'{module}'", f"'{other[0]}'", 1))

    def analyse(self, graph: Graph) -> Analysis:
        """Groups the recorded run under what is known so far; once, as long as nothing new is."""
        if self._analysed is None or self._analysed.graph is not graph:
            self._analysed = self._analysis(graph)
        return self._analysed

    def _analysis(self, graph: Graph) -> Analysis:
        sites = graph.sites()
        tied = {sites[site].index for site in self._tied if site in sites}
        fixed = {sites[site].index: why for site, why in self._fixed.items() if site in sites}
        held = {
            (sites[site].index, number, dim): why for (site, number, dim), why in self._held.items() if site in sites
        }
        together = [
            sorted((sites[site].index, number, dim) for site, number, dim in places)
            for own in self._together.values()
            for places in own
            if all(site in sites for site, _, _ in places)
        ]
        rigid = {sites[site].index for site in self._rigid if site in sites}
        loose = {start: one for start, one in self._shuffles(graph).items() if start not in rigid}
        return build_groups(
            graph, frozen=self._frozen, tied=tied, fixed=fixed, held=held, together=together, loose=loose
        )

    def _shuffles(self, graph: Graph) -> Mapping[int, Shuffle]:
        """The shuffles of a run; it is mostly the same one."""
        if self._loose and (self._known is None or self._known[0] is not graph):
            self._known = (graph, find_shuffles(graph))
        return {} if self._known is None else self._known[1]


def _line(place: Place) -> Line:
    """The line of code of a dimension, whichever module runs it."""
    (_, *where), number, dim = place
    return (*where, number, dim)


def _ranks(call: Call) -> list[int]:
    """How many dimensions the tensors of a call have: the same line may read more of them elsewhere, or others."""
    return [len(ref.shape) for ref in (*call.tensor_inputs(), *call.tensor_outputs())]
