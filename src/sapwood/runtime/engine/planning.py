"""Where each feature map stands in the arena, and the operations over them: nodes become a program."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.convolution import Convolution
from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import Map, row_pitch
from sapwood.runtime.engine.nodes import Activation, Network, Node, Value
from sapwood.runtime.engine.program import Builder, Program
from sapwood.runtime.engine.token_steps import TOKENS, of_tokens
from sapwood.runtime.engine.tuning import Tuner

Key: TypeAlias = tuple[Value, tuple[int, int]]
"""A value, or the phases of it that a stride reads."""

WHOLE = (1, 1)
HALVES = (2, 2)


@dataclass(frozen=True)
class Step:
    """One operation of a program.

    Attributes:
        label: The module that it belongs to; the last of those that were fused.
        kind: What is done.
        weights: Of a convolution.
        nonzeros: Of those.
        own: Whether it is the engine's own: pictures brought into its layout and back.
    """

    label: str
    kind: str
    weights: int = 0
    nonzeros: int = 0
    own: bool = False


@dataclass
class Planned:
    """A program and what its operations are."""

    program: Program
    steps: list[Step]


def plan(network: Network, tuner: Tuner | None = None, file: str | None = None) -> Planned:
    """Makes the program of a network.

    Args:
        network: Its nodes.
        tuner: Says how convolutions go through their maps; a fixed rule does where None.
        file: Where the network was read: it may not ask for more memory than the limit on files.
    """
    return _ProgramPlanner(network, tuner, Builder(file)).run()


@dataclass
class _Needs:
    """What the readers of a map need of it."""

    margin: int = 0
    side: int = 0


@dataclass
class _ProgramPlanner:
    network: Network
    tuner: Tuner | None = None
    builder: Builder = field(default_factory=Builder)
    steps: list[Step] = field(default_factory=list)
    maps: dict[Key, Map] = field(default_factory=dict)
    _same: dict[Key, Key] = field(default_factory=dict)
    _roots: dict[Value, tuple[Value, int]] = field(default_factory=dict)

    def run(self) -> Planned:
        self._homes = self._find_homes()
        self._phased = self._find_phased()
        self._needs, self._pitches = self._find_layouts()
        for node in self.network.nodes:
            self._add(node)
        for index, (value, _) in enumerate(self.network.outputs):
            self._step("", "unpack", OpKind.UNPACK, self._map(value), None, index=index)
        return Planned(self.builder.build(), self.steps)

    # --- layout ---------------------------------------------------------------------------------------------------

    def _find_homes(self) -> dict[Value, tuple[Value, int]]:
        """Values that stand inside of another's map: parts of a concatenation, and channels that were picked."""
        homes: dict[Value, tuple[Value, int]] = {}
        inputs = {node.out for node in self.network.nodes if isinstance(node, nodes.Input)}
        for node in self.network.nodes:
            if isinstance(node, nodes.Channels):
                homes[node.out] = (node.inputs[0], node.first)
            elif isinstance(node, nodes.Concat):
                first = 0
                for part in node.inputs:
                    if part not in homes and part not in inputs:
                        homes[part] = (node.out, first)
                    first += self.network.sizes[part][0]
        return homes

    def _find_phased(self) -> set[Value]:
        """Inputs and results of convolutions that nothing but convolutions of stride 2 reads: only phases are kept."""
        readers: dict[Value, list[Node]] = defaultdict(list)
        for node in self.network.nodes:
            for value in node.inputs:
                readers[value].append(node)
        kept = {value for value, _ in self.network.outputs} | set(self._homes)
        return {
            node.out
            for node in self.network.nodes
            if isinstance(node, nodes.Conv | nodes.Input)
            and node.out not in kept
            and readers[node.out]
            and all(
                isinstance(reader, nodes.Conv)
                and reader.spec.geometry.stride == HALVES
                and reader.inputs.count(node.out) == 1
                and reader.inputs[0] == node.out
                for reader in readers[node.out]
            )
        }

    def _root(self, value: Value) -> tuple[Value, int]:
        """The map that a value stands in, and its first channel there; what was gone through is remembered."""
        passed = []
        while value in self._homes and value not in self._roots:
            passed.append(value)
            value = self._homes[value][0]
        found, first = self._roots.get(value, (value, 0))
        for one in reversed(passed):
            first += self._homes[one][1]
            self._roots[one] = found, first
        return found, first

    def _find_layouts(self) -> tuple[dict[Key, _Needs], dict[Key, int]]:
        needs: dict[Key, _Needs] = defaultdict(_Needs)
        for value in self.network.sizes:
            self._class((self._root(value)[0], WHOLE))
        for node in self.network.nodes:
            out = (self._root(node.out)[0], WHOLE)
            if not isinstance(node, nodes.Conv):
                continue
            geometry = node.spec.geometry
            source = (self._root(node.inputs[0])[0], geometry.stride)
            _, height, width = self.network.sizes[node.inputs[0]]
            need = needs[source]
            need.margin = max(need.margin, geometry.margin(height))
            need.side = max(need.side, geometry.side(width))
            self._join(source, out)
            for other in node.inputs[1:]:
                self._join((self._root(other)[0], WHOLE), out)
        widths: dict[Key, set[int]] = defaultdict(set)
        sides: dict[Key, int] = defaultdict(int)
        for key in list(self._same):
            kind = self._class(key)
            widths[kind].add(-(-self.network.sizes[key[0]][2] // key[1][1]))
            sides[kind] = max(sides[kind], needs[key].side)
        pitches = {kind: row_pitch(found, sides[kind], self.builder.lanes) for kind, found in widths.items()}
        return needs, pitches

    def _class(self, key: Key) -> Key:
        self._same.setdefault(key, key)
        while self._same[key] != key:
            self._same[key] = self._same[self._same[key]]  # half of the way is left out the next time
            key = self._same[key]
        return key

    def _join(self, one: Key, other: Key) -> None:
        self._same[self._class(one)] = self._class(other)

    def _map(self, value: Value, stride: tuple[int, int] = WHOLE) -> Map:
        """Where a value stands, or its phases; a place is found the first time."""
        root, first = self._root(value)
        if stride == WHOLE and root != value:
            return self._map(root).channel_range(first, self.network.sizes[value][0])
        key, layout = (value, stride), (root, stride)
        if key not in self.maps:
            (channels, height, width), (down, right) = self.network.sizes[value], stride
            self.maps[key] = self.builder.map(
                channels * down * right,
                -(-height // down),
                -(-width // right),
                margin=self._needs[layout].margin,
                pitch=self._pitches[self._class(layout)],
                overwritten=height % down == 0,  # the phase of the last rows has one row less
            )
        return self.maps[key]

    def _source(self, value: Value, stride: tuple[int, int]) -> Map:
        """What a convolution reads; phases are made once for all that read the value with this stride."""
        if stride != WHOLE and (value, stride) not in self.maps:
            self._step("", "phases", OpKind.PHASES, self._map(value), self._map(value, stride), step=stride)
        return self._map(value, stride)

    # --- operations -----------------------------------------------------------------------------------------------

    def _step(
        self,
        label: str,
        kind: str,
        number: int,
        source: Map | None,
        out: Map | None,
        *,
        activation: Activation = nodes.LINEAR,
        **values: Any,
    ) -> None:
        self.builder.add(
            number, source, out, activation=activation.name, slope=activation.slope, **values
        )  # fmt: skip
        self.steps.append(Step(label, kind, own=number in (OpKind.PACK, OpKind.UNPACK, OpKind.PHASES)))

    def _add(self, node: Node) -> None:
        if isinstance(node, nodes.Channels):
            return
        if isinstance(node, nodes.Concat):
            self._copy_parts(node)
            return
        if isinstance(node, nodes.Conv):
            self._convolve(node)
            return
        if isinstance(node, nodes.Input):
            self._pack(node)
            return
        out = self._map(node.out)
        if isinstance(node, TOKENS):
            for operation in of_tokens(node, [self._map(value) for value in node.inputs], out):
                operation.add(self.builder)
                self.steps.append(Step(node.label, operation.name))
        elif isinstance(node, nodes.Pool):
            kind = OpKind.MAXPOOL if node.kind == "max" else OpKind.AVGPOOL
            geometry, source = node.geometry, self._map(node.inputs[0])
            self._step(
                node.label,
                f"{node.kind} pool",
                kind,
                source,
                out,
                kernel=geometry.kernel,
                step=geometry.stride,
                pad=geometry.padding,
                all_places=int(node.all_places),
            )
        elif isinstance(node, nodes.Upsample):
            self._step(node.label, "upsample", OpKind.UPSAMPLE, self._map(node.inputs[0]), out, step=node.factors)
        elif isinstance(node, nodes.Combine):
            one, other = map(self._map, node.inputs)
            kind = OpKind.ADD if node.kind == "add" else OpKind.MUL
            self._step(node.label, node.kind, kind, one, out, activation=node.activation, other=other)
        elif isinstance(node, nodes.Pointwise):
            self._step(
                node.label, "activation", OpKind.COPY, self._map(node.inputs[0]), out, activation=node.activation
            )
        else:
            raise TypeError(type(node))

    def _pack(self, node: nodes.Input) -> None:
        if node.out not in self._phased:
            self._step("", "pack", OpKind.PACK, None, self._map(node.out), index=node.index)
            return
        channels, height, width = self.network.sizes[node.out]
        self._step(
            "",
            "pack",
            OpKind.PACK,
            None,
            self._map(node.out, HALVES),
            index=node.index,
            step=HALVES,
            phased=1,
            channels=channels,
            height=height,
            width=width,
        )

    def _copy_parts(self, node: nodes.Concat) -> None:
        first = 0
        whole = self._map(node.out)
        for part in node.inputs:
            count = self.network.sizes[part][0]
            if self._homes.get(part) != (node.out, first):
                self._step(node.label, "copy", OpKind.COPY, self._map(part), whole.channel_range(first, count))
            first += count

    def _convolve(self, node: nodes.Conv) -> None:
        spec = node.spec
        stride = spec.geometry.stride
        source = self._source(node.inputs[0], stride)
        other = self._map(node.inputs[1]) if len(node.inputs) > 1 else None
        size = self.network.sizes[node.out][1:]
        phased = node.out in self._phased and source.pitch // self.builder.lanes <= self.builder.most_vectors
        out = self._map(node.out, HALVES if phased else WHOLE)
        convolution = Convolution(spec, source, out, size, other, node.activation, phased)
        convolution.add(self.builder, None if self.tuner is None else self.tuner.tiling(convolution))
        self.steps.append(Step(node.label, "convolution", spec.weight.size, int((spec.weight != 0).sum())))
