"""Copies of a map in another order: one operation where four strides say it, else several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.layouts import Factor, TensorLayout, is_cover
from sapwood.runtime.engine.nodes import Size, Value

if TYPE_CHECKING:
    from sapwood.runtime.engine.lowering import Lowering

Four = tuple[int, int, int, int]


class _Order(NamedTuple):
    """Values in the order of what is written: from the first, along four strides, two of channels and two of places."""

    first: int
    counts: Four
    steps: Four


def copied(state: Lowering, value: Value, source: TensorLayout, target: TensorLayout, size: Size) -> Value:
    """A map that holds a tensor as ``target`` says, which covers a map of ``size``.

    Args:
        state: Of the lowering.
        value: The map that holds it now.
        source: Where its elements are there; dimensions of the same sizes.
        target: Where they are to be.
        size: Of the map.

    Raises:
        UnsupportedError: If elements that are left out or repeated lie along more than four strides.
    """
    pairs = _refined(source, target)
    if pairs is None:
        in_order = TensorLayout.contiguous(target.shape)
        value = copied(state, value, source, in_order, (1, 1, math.prod(target.shape)))
        return copied(state, value, in_order, target, size)
    factors = _joined(pairs)
    sides = _sides(factors, size)
    if sides is not None:
        return _view(state, value, _Order(source.offset, *sides), size)
    if source.offset or not is_cover(factors, math.prod(state.size(value))):
        value, factors = _gathered(state, value, source.offset, factors)
    return _permuted(state, value, factors, size)


def _refined(source: TensorLayout, target: TensorLayout) -> list[tuple[int, int, int]] | None:
    """Factors that both have: size, step of the one, step of the other; None where both cut a dimension elsewhere."""
    found: list[tuple[int, int, int]] = []
    for one, other in zip(source.dims, target.dims, strict=True):
        here, there = list(one), list(other)
        while here and there:
            (size, step), (wanted, into) = here.pop(), there.pop()
            least = math.gcd(size, wanted)
            if least != min(size, wanted):
                return None
            found.append((least, step, into))
            if size > least:
                here.append((size // least, step * least))
            if wanted > least:
                there.append((wanted // least, into * least))
    return found


def _joined(pairs: Sequence[tuple[int, int, int]]) -> tuple[Factor, ...]:
    """Sizes and steps of what is read, in the order of what is written."""
    in_order = sorted(pairs, key=lambda pair: -pair[2])
    return TensorLayout((tuple((count, step) for count, step, _ in in_order),)).factors


def _sides(factors: Sequence[Factor], size: Size) -> tuple[Four, Four] | None:
    """Two factors of channels, and two of places; None where there are more."""
    sides: tuple[list[Factor], list[Factor]] = ([], [])
    left = math.prod(count for count, _ in factors)
    places = size[1] * size[2]
    for count, step in factors:
        left //= count
        if left >= places:
            sides[0].append((count, step))
        elif count * left > places:
            if places % left:
                return None
            sides[0].append((count * left // places, step * (places // left)))
            sides[1].append((places // left, step))
        else:
            sides[1].append((count, step))
    if max(map(len, sides)) > 2 or any(
        math.prod(count for count, _ in side) != wanted for side, wanted in zip(sides, (size[0], places), strict=True)
    ):
        return None
    counts, steps = zip(*(one for side in sides for one in [(1, 0)] * (2 - len(side)) + side), strict=True)
    return counts, steps


def _gathered(state: Lowering, value: Value, first: int, factors: Sequence[Factor]) -> tuple[Value, tuple[Factor, ...]]:
    """What is read alone, in the order in which it lies; and where it is then, in the order of what is written."""
    from sapwood.runtime.engine.lowering import UnsupportedError

    order = sorted(range(len(factors)), key=lambda number: -factors[number][1])
    lying = TensorLayout((tuple(factors[number] for number in order),)).factors
    if len(lying) > 4:
        raise UnsupportedError("values along more than four strides, of which some are left out or repeated")
    split = max(len(lying) - 2, 0)
    outer, inner = (math.prod(count for count, _ in side) for side in (lying[:split], lying[split:]))
    sides = _sides(lying, (outer, 1, inner))
    if sides is None:
        raise UnsupportedError("values in an order that no strides say")
    gathered = _view(state, value, _Order(first, *sides), (outer, 1, inner))
    steps, step = [0] * len(factors), 1
    for number in reversed(order):
        steps[number], step = step, step * factors[number][0]
    return gathered, tuple((count, own) for (count, _), own in zip(factors, steps, strict=True))


def _permuted(state: Lowering, value: Value, factors: Sequence[Factor], size: Size) -> Value:
    """All values of a map in the order of factors: each copy lets two neighbouring blocks change places."""
    now = sorted(range(len(factors)), key=lambda number: -factors[number][1])
    counts = [count for count, _ in factors]
    for at in range(len(now)):
        there = now.index(at)
        if there == at:
            continue
        end = there + 1
        while end < len(now) and now[end] == now[end - 1] + 1:
            end += 1
        blocks = now[:at], now[there:end], now[at:there], now[end:]
        a, c, b, d = (math.prod(counts[number] for number in block) for block in blocks)
        turned = (a, b * c * d), (c, d), (b, c * d), (d, 1)
        now = [number for block in blocks for number in block]
        done = now == sorted(now)
        sides = _sides(TensorLayout((turned,)).factors, size) if done else None
        if done and sides is not None:
            return _view(state, value, _Order(0, *sides), size)
        order = _Order(0, (a, c, b, d), (b * c * d, d, c * d, 1))
        value = _view(state, value, order, (a * c, 1, b * d))
    places = size[1] * size[2]
    return _view(state, value, _Order(0, (1, size[0], 1, places), (0, places, 0, 1)), size)


def _view(state: Lowering, value: Value, order: _Order, size: Size) -> Value:
    """The copy itself, once."""
    key = (value, order, size)
    if key not in state.copies:
        out = state.copies[key] = state.new(size)
        state.network.nodes.append(nodes.View(out, (value,), state.module, *order))
    return state.copies[key]
