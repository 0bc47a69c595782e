"""Where each feature map stands in the arena, and the operations over them: nodes become a program."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.agreeing import WHOLE, Key, find_layouts
from sapwood.runtime.engine.chains import Band, Chain, Links, links_of
from sapwood.runtime.engine.convolution import Convolution, Way
from sapwood.runtime.engine.depthwise import Depthwise, is_depthwise
from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import Map, strip_margin
from sapwood.runtime.engine.nodes import Activation, Network, Node, Value
from sapwood.runtime.engine.picking import picked
from sapwood.runtime.engine.program import Builder, Program
from sapwood.runtime.engine.token_steps import TOKENS, of_tokens
from sapwood.runtime.engine.tuning import Tuner

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
        out: What the node makes that it is done for; None of pictures brought in and out.
        dense: Whether a convolution multiplies with its zeros: single weights would take longer.
    """

    label: str
    kind: str
    weights: int = 0
    nonzeros: int = 0
    own: bool = False
    out: Value | None = None
    dense: bool = False


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
    return _ProgramPlanner(picked(network), tuner, Builder(file)).run()


@dataclass
class _ProgramPlanner:
    network: Network
    tuner: Tuner | None = None
    builder: Builder = field(default_factory=Builder)
    steps: list[Step] = field(default_factory=list)
    maps: dict[Key, Map] = field(default_factory=dict)
    _written: set[Key] = field(default_factory=set)
    _chained: dict[Value, tuple[Links, Chain, Band] | None] = field(default_factory=dict)
    _roots: dict[Value, tuple[Value, int]] = field(default_factory=dict)

    def run(self) -> Planned:
        self._homes = self._find_homes()
        self._phased = self._find_phased()
        self._layouts = find_layouts(self.network, self._root, self.builder.lanes)
        whole = {value for value, _ in self.network.outputs} | set(self._homes) | set(dict(self._homes.values()))
        found = links_of(self.network, whole, self._phased, self._layouts.apart)
        self._links = {links[0].out: links for links in found}
        for node in self.network.nodes:
            first = len(self.steps)
            self._add(node)
            if not isinstance(node, nodes.Input):
                self.steps[first:] = [
                    replace(step, out=node.out) if step.out is None else step for step in self.steps[first:]
                ]
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
            if (isinstance(node, nodes.Input) or _is_listed(node))
            and node.out not in kept
            and readers[node.out]
            and all(
                isinstance(reader, nodes.Conv)
                and _is_listed(reader)
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

    def _map(self, value: Value, stride: tuple[int, int] = WHOLE) -> Map:
        """Where a value stands, or its phases; a place is found the first time."""
        root, first = self._root(value)
        if stride == WHOLE and root != value:
            return self._map(root).channel_range(first, self.network.sizes[value][0])
        key, layout = (value, stride), (root, stride)
        if key not in self.maps:
            (channels, height, width), (down, right) = self.network.sizes[value], stride
            pitch = self._layouts.pitch(layout)
            self.maps[key] = self.builder.map(
                channels * down * right,
                -(-height // down),
                -(-width // right),
                margin=strip_margin(self._layouts.margin(layout), pitch, self.builder.lanes),
                pitch=pitch,
                overwritten=height % down == 0,  # the phase of the last rows has one row less
            )
        return self.maps[key]

    def _source(self, value: Value, stride: tuple[int, int]) -> Map:
        """What a convolution reads; phases are made once for all that read the value with this stride."""
        if stride != WHOLE and (value, stride) not in self._written:
            self._written.add((value, stride))
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
            self._link(node)
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
                "pick" if geometry.kernel == WHOLE else f"{node.kind} pool",
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
        self._written.add((node.out, HALVES))
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

    def _link(self, node: nodes.Conv) -> None:
        """A convolution by itself, or as a part of a chain, all of which stands where its last one does."""
        links = self._links.get(node.out)
        if links:
            chain = self._chain(links)
            band = chain.usual() if self.tuner is None else self.tuner.band(chain)
            if band:
                self._chained |= {link.out: None for link in links[:-1]}
                self._chained[links[-1].out] = links, chain, band
        if node.out not in self._chained:
            self._convolve(node)
            return
        found = self._chained[node.out]
        if found:
            self._add_chain(*found)

    def _chain(self, links: Links) -> Chain:
        at = next(number for number, node in enumerate(links) if is_depthwise(node.spec))
        first, last = ([self._convolution(node) for node in ends] for ends in (links[:at], links[at + 1 :]))
        return Chain(self._depthwise(links[at]), first[0] if first else None, last[0] if last else None)

    def _add_chain(self, links: Links, chain: Chain, band: Band) -> None:
        if chain.first:
            self._source(links[0].inputs[0], links[0].spec.geometry.stride)
        chain.add(self.builder, band, (None, None) if self.tuner is None else self.tuner.tilings(chain))
        self.steps.append(Step("", f"chain of {len(links)}, {band.rows} rows", own=True))
        for node in links:
            first = node is links[0] and chain.first is not None
            self._convolved(node, " in a chain", dense=first and band.way is Way.BLOCKS)

    def _other(self, node: nodes.Conv) -> Map | None:
        """What is added to a convolution's sums."""
        return self._map(node.inputs[1]) if len(node.inputs) > 1 else None

    def _depthwise(self, node: nodes.Conv) -> Depthwise:
        source, out = self._map(node.inputs[0]), self._map(node.out)
        strip = node.out in self._layouts.strips
        return Depthwise(node.spec, source, out, self._other(node), node.activation, strip)

    def _convolution(self, node: nodes.Conv) -> Convolution:
        source = self._map(node.inputs[0], node.spec.geometry.stride)
        lanes, most = self.builder.lanes, self.builder.most_vectors
        phased = node.out in self._phased and source.pitch % lanes == 0 and source.pitch <= most * lanes
        out, size = self._map(node.out, HALVES if phased else WHOLE), self.network.sizes[node.out][1:]
        if phased:
            self._written.add((node.out, HALVES))
        return Convolution(node.spec, source, out, size, self._other(node), node.activation, phased)

    def _convolve(self, node: nodes.Conv) -> None:
        dense = False
        if is_depthwise(node.spec):
            self._depthwise(node).add(self.builder)
        else:
            self._source(node.inputs[0], node.spec.geometry.stride)
            convolution = self._convolution(node)
            tiling = None if self.tuner is None else self.tuner.tiling(convolution)
            dense = convolution.add(self.builder, tiling).dense
        self._convolved(node, dense=dense)

    def _convolved(self, node: nodes.Conv, where: str = "", *, dense: bool = False) -> None:
        weight = node.spec.weight
        kind = "depthwise" if is_depthwise(node.spec) else "convolution"
        self.steps.append(Step(node.label, kind + where, weight.size, node.spec.nonzeros, out=node.out, dense=dense))


def _is_listed(node: Node) -> bool:
    """Whether it goes through lists of weights, which read phases where it strides."""
    return isinstance(node, nodes.Conv) and not is_depthwise(node.spec)
