"""Numbers in calls that follow the widths though no shape shows it: where a slice begins, how many groups there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sapwood.ops import Call
from sapwood.removal.widths import Expectation

Bools = np.ndarray[Any, np.dtype[np.bool_]]


def numbers(call: Call, args: Sequence[Any]) -> tuple[int, ...]:
    """The numbers in one call: groups, (begin, end) of a slice from its front, amounts of padding; or none.

    Of a slice that takes one of several indices, where it begins: that does not move, for its indices go in blocks.

    Args:
        call: The recorded call.
        args: The arguments that count, its own or those of the same call in another run.
    """
    facts = call.facts
    if facts.groups_at is not None:
        return (int(args[facts.groups_at]),)
    if facts.slices and len(args) > 2:
        size = args[0].shape[args[1]]
        begin, end, step = slice(*args[2:5] if len(args) > 3 else (args[2], None)).indices(size)
        return (begin, end) if step == 1 else (begin,)
    return tuple(args[1]) if facts.pads else ()


def wanted_numbers(call: Call, expectation: Expectation) -> tuple[int, ...]:
    """The same numbers, as they have to be in the compact model."""
    found, facts = numbers(call, call.args), call.facts
    if not found or not expectation.changed(call.args[0]):
        return found
    rows = expectation.rows(call.args[0])
    if facts.groups_at is not None:
        channel = 1 if facts.norm is not None else len(rows) - len(call.args[1].shape) + 1
        return (int(rows[channel].reshape(found[0], -1).any(axis=1).sum()),)
    if facts.slices:
        alive = rows[call.args[1]]
        return found if len(found) == 1 else tuple(int(alive[:place].sum()) for place in found)
    made = expectation.rows(call.outputs[0])
    amounts: list[int] = []
    for dim, (before, after) in enumerate(zip(found[::2], found[1::2], strict=True), start=1):
        amounts += [_amount(before, rows[-dim], made[-dim]), _amount(after, rows[-dim][::-1], made[-dim][::-1])]
    return tuple(amounts)


def _amount(number: int, source: Bools, made: Bools) -> int:
    """How much is still added (or cut off, where negative) in front of a dimension."""
    return int(made[:number].sum()) if number >= 0 else -int(source[:-number].sum())
