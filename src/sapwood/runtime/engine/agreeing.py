"""Which maps have rows of the same length: those between which operations go on vector by vector."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.depthwise import is_depthwise, zeros_around
from sapwood.runtime.engine.interface import STRIP
from sapwood.runtime.engine.maps import HALF, row_pitch, strips
from sapwood.runtime.engine.nodes import Network, Value

Key: TypeAlias = tuple[Value, tuple[int, int]]
"""A value, or the phases of it that a stride reads."""

Root: TypeAlias = Callable[[Value], tuple[Value, int]]
"""The map that a value stands in, and its first channel there."""

WHOLE = (1, 1)

STRIP_PLACES = 400
"""Of the largest map that a depthwise convolution goes through as one strip: larger ones are worth a chain."""

WORTH_STRIP = 0.75
"""The part of the vectors up to which a strip is taken instead of rows."""


@dataclass
class _Needs:
    """What the readers of a map need of it."""

    margin: int = 0
    side: int = 0


@dataclass
class Layouts:
    """Rows of all maps of a network.

    Attributes:
        strips: Results of depthwise convolutions that go through their map as one strip.
        apart: Results of those that are in no chain: strips, and rows of half a vector.
    """

    strips: Set[Value] = frozenset()
    apart: Set[Value] = frozenset()
    _needs: dict[Key, _Needs] = field(default_factory=lambda: defaultdict(_Needs))
    _same: dict[Key, Key] = field(default_factory=dict)
    _pitches: Mapping[Key, int] = field(default_factory=dict)

    def pitch(self, key: Key) -> int:
        """Floats from a row to the next."""
        return self._pitches[self.class_of(key)]

    def margin(self, key: Key) -> int:
        """Rows of zeros above and below that are read."""
        return self._needs[key].margin

    def class_of(self, key: Key) -> Key:
        """One of those that have rows of the same length."""
        self._same.setdefault(key, key)
        while self._same[key] != key:
            self._same[key] = self._same[self._same[key]]  # half of the way is left out the next time
            key = self._same[key]
        return key

    def join(self, one: Key, other: Key) -> None:
        """Both have rows of the same length."""
        self._same[self.class_of(one)] = self.class_of(other)

    def need(self, key: Key, margin: int, side: int) -> None:
        """Zeros that are read around a map."""
        needs = self._needs[key]
        needs.margin, needs.side = max(needs.margin, margin), max(needs.side, side)

    def classes(self) -> list[list[Key]]:
        """Maps that have rows of the same length."""
        members: dict[Key, list[Key]] = defaultdict(list)
        for key in list(self._same):
            members[self.class_of(key)].append(key)
        return list(members.values())


def find_layouts(network: Network, root: Root, lanes: int) -> Layouts:
    """Lays out the rows of all maps.

    Depthwise convolutions go through small maps as a strip where that saves vectors; those of which a map in between
    needs rows of whole vectors for another reason go row by row.

    Args:
        network: Its nodes.
        root: Where values stand.
        lanes: Floats of a vector.
    """
    found = [node for node in network.nodes if isinstance(node, nodes.Conv) and _may_be_strip(node, network, lanes)]
    while True:
        maker = _RowMaker(network, root, lanes, frozenset(node.out for node in found))
        layouts = maker.run()
        kept = [node for node in found if maker.is_worth(node)]
        if len(kept) == len(found):
            return layouts
        found = kept


def _may_be_strip(node: nodes.Conv, network: Network, lanes: int) -> bool:
    if not is_depthwise(node.spec):
        return False
    size, out = network.sizes[node.inputs[0]][1:], network.sizes[node.out][1:]
    small = math.prod(size) <= STRIP_PLACES and size[0] * row_pitch(size[1:], 0, lanes) <= STRIP
    return small and size == out and node.spec.geometry.stride == WHOLE


@dataclass
class _RowMaker:
    network: Network
    root: Root
    lanes: int
    strips: frozenset[Value]
    layouts: Layouts = field(init=False)
    rowwise: set[Key] = field(default_factory=set)
    halves: dict[Key, set[Value]] = field(default_factory=lambda: defaultdict(set))

    def run(self) -> Layouts:
        self.layouts = Layouts(self.strips)
        for value in self.network.sizes:
            self.layouts.class_of(self._key(value))
        for node in self.network.nodes:
            if isinstance(node, nodes.TokenNorm | nodes.Attention):
                self.rowwise |= {self._key(value) for value in (*node.inputs, node.out)}
            elif isinstance(node, nodes.Conv) and is_depthwise(node.spec):
                self._depthwise(node)
            elif isinstance(node, nodes.Conv):
                self._convolution(node)
            elif isinstance(node, nodes.Combine) and self.network.sizes[node.inputs[1]][1:] == WHOLE:
                self.layouts.join(self._key(node.inputs[0]), self._key(node.out))  # a factor for each channel
        pitches: dict[Key, int] = {}
        apart, with_strips = set(self.strips), self._classes_of(map(self._key, self.strips))
        for keys in self.layouts.classes():
            kind = self.layouts.class_of(keys[0])
            pitches[kind] = pitch = self._pitch(keys, with_strip=kind in with_strips)
            if pitch % self.lanes:
                apart |= set().union(*(self.halves[key] for key in keys if key in self.halves))
        self.layouts._pitches, self.layouts.apart = pitches, frozenset(apart)
        return self.layouts

    def is_worth(self, node: nodes.Conv) -> bool:
        """Whether a strip saves vectors."""
        _, height, width = self.network.sizes[node.out]
        rows = height * -(-(width + zeros_around(node.spec.geometry, height, width)[1]) // self.lanes)
        key = self._key(node.out)
        floats = height * self.layouts.pitch(key)
        fits = floats <= STRIP and -(-floats // self.lanes) <= WORTH_STRIP * rows
        return fits and self.layouts.class_of(key) not in self._classes_of(self.rowwise)

    def _classes_of(self, keys: Iterable[Key]) -> set[Key]:
        return {self.layouts.class_of(key) for key in keys}

    def _key(self, value: Value, stride: tuple[int, int] = WHOLE) -> Key:
        return self.root(value)[0], stride

    def _convolution(self, node: nodes.Conv) -> None:
        geometry, (_, height, width) = node.spec.geometry, self.network.sizes[node.inputs[0]]
        source, out = self._key(node.inputs[0], geometry.stride), self._key(node.out)
        self.layouts.need(source, geometry.margin(height), geometry.side(width))
        for one in (source, *map(self._key, node.inputs[1:])):
            self.layouts.join(one, out)

    def _depthwise(self, node: nodes.Conv) -> None:
        """Rows of whole vectors, but for strips; rows that are written may be half of one where a strip reads them."""
        source, *others, out = (self._key(value) for value in (*node.inputs, node.out))
        margin, side = zeros_around(node.spec.geometry, *self.network.sizes[node.inputs[0]][1:])
        if node.out in self.strips:
            self.layouts.need(source, margin, 0)
            for one in (source, *others):
                self.layouts.join(one, out)
            return
        self.layouts.need(source, margin, side)
        self.rowwise.add(source)
        for one in others:
            self.layouts.join(one, out)
        self.halves[out].add(node.out)

    def _pitch(self, keys: Sequence[Key], *, with_strip: bool) -> int:
        """Floats of a row of maps that must agree: no padding where nothing looks around and that saves vectors.

        What depthwise convolutions, norms and attention read or write has rows of whole vectors, but for strips.
        """
        lanes, sizes = self.lanes, {self.network.sizes[value][1:] for value, _ in keys}
        needs = [self.layouts._needs[key] for key in keys]
        widths = [-(-self.network.sizes[key[0]][2] // key[1][1]) for key in keys]
        pitch = row_pitch(widths, max(one.side for one in needs), lanes)
        half = with_strip and lanes > HALF and pitch == lanes // 2
        if not self.rowwise.isdisjoint(keys) or (not half and not self.halves.keys().isdisjoint(keys)):
            return -(-pitch // lanes) * lanes
        around = any(key[1] != WHOLE or need.side or need.margin for key, need in zip(keys, needs, strict=True))
        if len(sizes) > 1 or around or half:
            return pitch
        ((height, width),) = sizes
        vectors = [math.prod(strips(height, one, lanes)) for one in (width, pitch)]
        return width if vectors[0] < vectors[1] else pitch
