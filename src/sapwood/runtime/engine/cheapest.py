"""Which nodes had better run in PyTorch, by the time of each on both sides and of every way across: a minimal cut."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from sapwood.runtime.engine.nodes import Input, Network, Outside, Value, made

CALL_MS = 0.02
"""What it takes to leave a part and begin the next."""

FLOAT_MS = 0.5e-6
"""What it takes to bring a number across: it is read and written, in another order."""

TICK_MS = 1e-4
"""Times are counted in whole ones."""

NEVER = 2**30


def cheapest(
    network: Network, engine: Mapping[Value, float], pytorch: Mapping[Value, float], movable: Collection[Value]
) -> frozenset[Value]:
    """What nodes make that PyTorch had better run.

    Each node takes its time on its side, and each value that the other side reads, too, is brought there once. The
    least sum is a minimal cut between the sides.

    Args:
        network: Whole.
        engine: Milliseconds of what the engine runs; what is not there takes none.
        pytorch: Milliseconds in PyTorch.
        movable: What both sides can make.

    Examples:
        >>> from sapwood.runtime.engine.nodes import LINEAR, Pointwise
        >>> steps = [Input(0, (), "", 0), Pointwise(1, (0,), "", LINEAR), Pointwise(2, (1,), "", LINEAR)]
        >>> network = Network(steps, dict.fromkeys(range(3), (8, 4, 4)), [(2, (1, 8, 4, 4))])
        >>> sorted(cheapest(network, {1: 0.1, 2: 5.0}, {1: 2.0, 2: 1.0}, {1, 2}))
        [2]
    """
    cut = _SidesGraph()
    for node in network.nodes:
        if node.out in movable:
            cut.join(_ENGINE, ("node", node.out), pytorch.get(node.out, 0.0))
            cut.join(("node", node.out), _PYTORCH, engine.get(node.out, 0.0))
        elif isinstance(node, Input | Outside):
            cut.join(("node", node.out), _PYTORCH, None)
        else:
            cut.join(_ENGINE, ("node", node.out), None)
    makers = {value: ("node", node.out) for node in network.nodes for value in made(node)}
    readers: dict[Value, set[tuple[str, int]]] = {}
    for node in network.nodes:
        for value in node.inputs:
            readers.setdefault(value, set()).add(("node", node.out))
    for value, _ in network.outputs:
        readers.setdefault(value, set()).add(_PYTORCH)
    for value, reading in readers.items():
        cost = CALL_MS + FLOAT_MS * float(np.prod(network.sizes.get(value, (0,))))
        out, back = ("out", value), ("back", value)
        cut.join(makers[value], out, cost)
        cut.join(back, makers[value], cost)
        for reader in reading:
            cut.join(out, reader, None)
            cut.join(reader, back, None)
    return frozenset(value for kind, value in cut.far_side() if kind == "node" and value in movable)


_ENGINE, _PYTORCH = ("engine", 0), ("pytorch", 0)


class _SidesGraph:
    """A graph between the two sides, edge by edge."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int], int] = {_ENGINE: 0, _PYTORCH: 1}
        self._edges: dict[tuple[int, int], int] = {}

    def join(self, one: tuple[str, int], other: tuple[str, int], milliseconds: float | None) -> None:
        """What it takes if ``one`` is on the engine's side and ``other`` on PyTorch's; None: it may not be."""
        ticks = NEVER if milliseconds is None else min(NEVER, round(milliseconds / TICK_MS))
        key = self._number(one), self._number(other)
        if key[0] != key[1] and ticks:
            self._edges[key] = min(NEVER, self._edges.get(key, 0) + ticks)

    def _number(self, name: tuple[str, int]) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def far_side(self) -> list[tuple[str, int]]:
        """What is on PyTorch's side of the cut."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        count = len(self._numbers)
        rows, columns = (np.array([key[end] for key in self._edges], np.int32) for end in (0, 1))
        capacity = csr_matrix((np.array(list(self._edges.values()), np.int32), (rows, columns)), (count, count))
        left = capacity - maximum_flow(capacity, 0, 1).flow
        left.data[left.data < 0] = 0
        left.eliminate_zeros()
        near = set(breadth_first_order(left, 0, return_predecessors=False).tolist())
        return [name for name, number in self._numbers.items() if number not in near]
