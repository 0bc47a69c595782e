"""Sets of groups: those that a pattern names, and those that code or a file cuts alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sapwood.allocation import equal_slices
from sapwood.errors import ConfigError
from sapwood.graph import Analysis
from sapwood.ops import Axis

_DIMENSION = re.compile(r"(.*)\[(\d+)\]")


def _itself(dimension: str) -> str:
    return dimension


def _none(dimension: str) -> bool:
    del dimension
    return False


@dataclass(frozen=True)
class Naming:
    """By which names limits speak of the dimensions of a network.

    Attributes:
        called: What a dimension of a tensor is called in the network that the limits are for, as
            ``"conv.weight[0]"``.
        is_added: Whether a dimension has channels that are not there: only a pattern that names no others is of them.
        absent: What channels that were added were called, and are no more: a pattern of them is no mistake.
    """

    called: Callable[[str], str] = _itself
    is_added: Callable[[str], bool] = _none
    absent: tuple[str, ...] = ()


def matching_groups(analysis: Analysis, pattern: str, what: str, naming: Naming | None = None) -> tuple[int, ...]:
    """The numbers of the groups that a pattern names: by any dimension, or by a layer for its output channels.

    Args:
        analysis: The groups.
        pattern: A layer, a parameter or a dimension, with ``*`` and ``?`` as in a shell. A module that has no output
            channels of its own stands for all in it.
        what: What the pattern is for, for the message.
        naming: By which names it speaks; those of the analysed network where None.

    Raises:
        ConfigError: If it names none.
    """
    names = naming or Naming()
    own, added = _by_name(analysis, names, added=False), _by_name(analysis, names, added=True)
    for named, matches in ((own, _names), (own, _is_in), (added, _names)):
        found = [number for number, dims in named.items() if any(matches(one, pattern) for one in dims)]
        if found:
            return tuple(found)
    if any(_names(one, pattern) for one in names.absent):
        return ()
    example = names.called(analysis.groups[0].name) if analysis.groups else "none, for no channel can go"
    raise ConfigError(
        f"{what} {pattern!r} names no channels that can go; expected a layer or a dimension, as {example}"
    )


def _by_name(analysis: Analysis, names: Naming, *, added: bool) -> dict[int, list[str]]:
    """The dimensions of each group by the names that limits know, each once: of those that were added, or others."""
    found = {}
    for number, group in enumerate(analysis.groups):
        own = dict.fromkeys(f"{member.tensor}[{member.dim}]" for member in group.members)
        if any(map(names.is_added, own)) == added:
            found[number] = [names.called(one) for one in own]
    return found


def _names(dimension: str, pattern: str) -> bool:
    """Whether a pattern is of a dimension, or where that is a layer's output channels, of its tensor or the layer.

    Examples:
        >>> [_names("a.conv.weight[0]", pattern) for pattern in ("a.conv.weight[0]", "*.w*[0]", "*.w*[1]", "a.*", "a")]
        [True, True, False, True, False]
    """
    tensor, dim = _split(dimension)
    asked = _DIMENSION.fullmatch(pattern)
    if asked is not None and asked[2] == dim and fnmatchcase(tensor, asked[1]):  # to a shell [0] would be a choice
        return True
    own = (dimension, tensor, tensor.rpartition(".")[0]) if dim == "0" else (dimension,)
    return any(fnmatchcase(name, pattern) for name in own)


def _is_in(dimension: str, pattern: str) -> bool:
    """Whether a pattern is of a module in which a layer is, whose output channels a dimension is."""
    tensor, dim = _split(dimension)
    parts = tensor.split(".")
    return dim == "0" and any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) - 1))


def _split(dimension: str) -> tuple[str, str]:
    tensor, _, dim = dimension.rpartition("[")
    return tensor, dim.removesuffix("]")


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
