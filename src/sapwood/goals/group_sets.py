"""Sets of groups: those that a pattern names, and those that code or a file cuts alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from sapwood.allocation import equal_slices
from sapwood.errors import ConfigError
from sapwood.graph import Analysis
from sapwood.ops import Axis


def matching_groups(analysis: Analysis, pattern: str, what: str) -> tuple[int, ...]:
    """The numbers of the groups that a pattern names: by any dimension, or by a layer for its output channels.

    Args:
        analysis: The groups.
        pattern: A layer, a parameter or a dimension, with ``*`` and ``?`` as in a shell.
        what: What the pattern is for, for the message.

    Raises:
        ConfigError: If it names none.
    """
    found = []
    for number, group in enumerate(analysis.groups):
        for member in group.members:
            names = [f"{member.tensor}[{member.dim}]"]
            if member.dim == 0:
                names += [member.tensor, member.tensor.rpartition(".")[0]]
            if any(fnmatchcase(name, pattern) for name in names):
                found.append(number)
                break
    if not found:
        example = analysis.groups[0].name if analysis.groups else "none, for no channel can go"
        raise ConfigError(
            f"{what} {pattern!r} names no channels that can go; expected a layer or a dimension, as {example}"
        )
    return tuple(found)


def cuts(analysis: Analysis, routes: Mapping[str, int]) -> Iterator[Sequence[Axis]]:
    """The axes of the parts of every cut at equal distances: the code's, and those a ``.cfg`` has no other word for."""
    for cut in analysis.equal_parts:
        yield cut.parts
    for call in analysis.graph.evaluated:
        if call.facts.slices:
            parts = next((count for name, count in routes.items() if call.module.startswith(f"{name}.")), 0)
            axis = analysis.context.axes(call.args[0])[int(call.args[1]) if len(call.args) > 1 else 0]
            if parts and len(axis) % parts == 0:
                yield equal_slices(axis, parts)


def disjoint(sets: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Sets that share a member become one."""
    found: list[set[int]] = []
    for numbers in sets:
        joined = set(numbers)
        rest = []
        for other in found:
            if other & joined:
                joined |= other
            else:
                rest.append(other)
        found = [*rest, joined]
    return tuple(tuple(sorted(numbers)) for numbers in found if len(numbers) > 1)
