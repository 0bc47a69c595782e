"""Widths that vector kernels like, where a goal is reached as well with them.

ONNX Runtime leaves its blocked layout for a number of channels that is no multiple of 4, and OpenVINO pays for what
lies between multiples of 8: a layer of 63 channels takes longer than one of 64. What was measured of a network on a
runtime (:mod:`sapwood.goals.width_steps`) takes the place of the eights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from sapwood.allocation import VECTOR, Problem

SLACK = 0.02
"""Of the whole, the most that goes beyond what was asked for; where multiples cost more, any width will do."""

Multiples: TypeAlias = int | Sequence[int]
"""What widths should be multiples of: one number for all groups, or one a group."""

WIDE = 4
"""Multiples that a group holds at least: rounding moves it by an eighth then, at most."""


def even_step(num_channels: int, most: int = VECTOR) -> int:
    """The multiple that widths of a group should be of.

    Args:
        num_channels: In the group.
        most: The multiple that those of a wide one should be of, a power of two.

    Examples:
        >>> [even_step(count) for count in (512, 32, 24, 16, 8, 6)]
        [8, 8, 4, 4, 2, 1]
        >>> [even_step(count, 16) for count in (512, 64, 48)], even_step(512, 1)
        ([16, 16, 8], 1)
    """
    step = most
    while step > 1 and num_channels < WIDE * step:
        step //= 2
    return step


def even_problem(problem: Problem, most: Multiples = VECTOR) -> Problem:
    """The problem with even widths only; a group that has none keeps those that it has.

    So does one that must keep the same share as groups of other sizes: their even widths need not agree.
    """
    shared = _shared(problem)
    chosen = [
        np.ones(len(widths), dtype=bool) if number in shared else _even(count, widths, own)
        for number, (count, widths, own) in enumerate(
            zip(problem.num_channels, problem.widths, _one_each(problem, most), strict=True)
        )
    ]
    return _restricted(problem, chosen)


def near_problem(problem: Problem, kept: Sequence[int], most: Multiples = VECTOR) -> Problem:
    """The problem with the even widths below and above what each group keeps where any width will do.

    A group that must keep the same share as groups of other sizes keeps all of its widths.

    Args:
        problem: The groups, and what they may keep.
        kept: What they keep where any width will do.
        most: The multiple that widths of wide groups should be of; one for all, or one a group.
    """
    even, shared = even_problem(problem, most).widths, _shared(problem)
    chosen = []
    for number, (widths, own, wanted) in enumerate(zip(problem.widths, even, kept, strict=True)):
        near = [*own[own <= wanted][-1:].tolist(), *own[own >= wanted][:1].tolist()]
        chosen.append(np.ones(len(widths), dtype=bool) if number in shared else np.isin(widths, near))
    return _restricted(problem, chosen)


def even_kept(problem: Problem, kept: Sequence[int], most: Multiples = VECTOR) -> list[int] | None:
    """Rounds what groups keep to even widths, so that at most as many channels stay in all.

    Groups of one size that keep as many stay alike. The nearest width is taken; where too much would stay, groups take
    the next lower one, those first that lose the smallest part.

    Args:
        problem: The groups, and what they may keep.
        kept: What they keep where any width will do.
        most: The multiple that widths of wide groups should be of; one for all, or one a group.

    Returns:
        One number a group; None where that takes more than :data:`SLACK` of all channels beyond what was asked for.
    """
    even = even_problem(problem, most).widths
    shared = _shared(problem)
    kinds: dict[tuple[int, int, tuple[int, ...]], list[int]] = {}
    for number, (count, wanted) in enumerate(zip(problem.num_channels, kept, strict=True)):
        if wanted < count and number not in shared:
            kinds.setdefault((count, wanted, tuple(even[number].tolist())), []).append(number)
    found = list(kept)
    lower: list[tuple[float, int, list[int]]] = []
    for (count, wanted, widths), numbers in kinds.items():
        width = min(widths, key=lambda width: (abs(width - wanted), width))
        _set(found, numbers, width)
        lower += [((width - below) / count, below, numbers) for below in [w for w in widths if w < width][-1:]]
    for _, below, numbers in sorted(lower):
        if sum(found) > sum(kept):
            _set(found, numbers, below)
    beyond = sum(kept) - sum(found)
    return found if 0 <= beyond <= SLACK * sum(problem.num_channels) else None


def _one_each(problem: Problem, most: Multiples) -> Sequence[int]:
    return [most] * len(problem.widths) if isinstance(most, int) else most


def _restricted(problem: Problem, chosen: Sequence[np.ndarray]) -> Problem:
    """The problem with those widths only."""
    return replace(
        problem,
        widths=tuple(widths[keep] for widths, keep in zip(problem.widths, chosen, strict=True)),
        losses=tuple(losses[keep] for losses, keep in zip(problem.losses, chosen, strict=True)),
    )


def _shared(problem: Problem) -> set[int]:
    """The groups whose widths hang on those of groups of other sizes."""
    stepped = (ladder.groups for ladder in problem.ladders)
    uneven = (numbers for numbers in problem.together if len({problem.num_channels[number] for number in numbers}) > 1)
    return {number for numbers in (*uneven, *stepped) for number in numbers}


def _set(found: list[int], numbers: Sequence[int], width: int) -> None:
    for number in numbers:
        found[number] = width


def _even(count: int, widths: np.ndarray, most: int) -> np.ndarray:
    keep = (widths % even_step(count, most) == 0) | (widths == count)
    return keep if keep.any() else np.ones(len(widths), dtype=bool)
