"""Where code that runs in a module may read its numbers: in the module, in those inside of it, in its configs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from sapwood.models import module_of
from sapwood.models.places import (
    AttributePlace,
    can_be_set,
    holds_numbers,
    integers,
    is_pytorchs,
    numbered,
    own_data,
    vars_of,
)
from sapwood.removal.attributes import read_off

MOST_TIMES = 4
"""How often a number may stand in a sum."""

LISTS = (nn.ModuleList, nn.ModuleDict)
"""What has no code of its own: what is in there is called, and asked for its numbers, by the module around it."""


def own_changes(
    model: nn.Module, names: Sequence[str], wanted: Mapping[int, int]
) -> Iterator[dict[AttributePlace, int]]:
    """Attributes of modules that hold a wanted number: one by one, then all of a module together.

    Those of PyTorch's own modules that are what their tensors say are right, and are not asked.

    Args:
        model: The model.
        names: Its modules, in the order in which they are asked.
        wanted: A number that is there -> what it has to be.
    """
    for name in names:
        module = module_of(model, name)
        found = [(place, old) for place, old in integers(name, module) if old in wanted]
        right = read_off(module) if found else {}
        places = {place: wanted[old] for place, old in found if not _is_read(right.get(place.attribute), place, old)}
        yield from ({place: new} for place, new in places.items())
        if len(places) > 1:
            yield places


def _is_read(known: Any, place: AttributePlace, value: int) -> bool:
    """Whether a value is the one that was read off tensors."""
    if isinstance(known, (list, tuple)) and 0 <= place.position < len(known):
        known = known[place.position]
    return bool(known == value)


def summed_changes(
    model: nn.Module, names: Sequence[str], wanted: Mapping[int, int]
) -> Iterator[dict[AttributePlace, int]]:
    """Attributes of a module of which a wanted number is the sum ``a + k * b``, as of what Mamba cuts off together.

    ``a`` is what is wanted of it, or stays; what ``b`` has to be follows.
    """
    for name in names:
        module = module_of(model, name)
        places = [(place, old) for place, old in integers(name, module) if old > 1]
        for (first, one), (second, other) in itertools.permutations(places, 2):
            for old, new in wanted.items():
                count, rest = divmod(old - one, other)
                if rest or not 1 <= count <= MOST_TIMES:
                    continue
                kept = wanted.get(one, one)
                followed, rest = divmod(new - kept, count)
                if not rest and 0 < followed < other:
                    yield {second: followed} if kept == one else {first: kept, second: followed}


def children(model: nn.Module, names: Sequence[str]) -> list[str]:
    """The names of the modules right inside of some."""
    return [_joined(name, child) for name in names for child, _ in model.get_submodule(name).named_children()]


def listed_changes(
    model: nn.Module, names: Sequence[str], wanted: Mapping[int, int]
) -> Iterator[dict[AttributePlace, int]]:
    """The same for modules in lists, as the cells of a loop: of alike ones the first that holds a number, then all.

    PyTorch's own hold their widths already, and a list may be long: the others are not tried one after the other.
    """
    alike: dict[tuple[type, str, int, int], dict[AttributePlace, int]] = defaultdict(dict)
    for name in _listed(model, names):
        module = model.get_submodule(name)
        if type(module).__module__.partition(".")[0] == "torch":
            continue
        for place, old in integers(name, module):
            if old in wanted:
                alike[type(module), place.attribute, place.position, old][place] = wanted[old]
    for places in alike.values():
        yield dict([next(iter(places.items()))])
        if len(places) > 1:
            yield places


def config_changes(
    model: nn.Module, names: Sequence[str], wanted: Mapping[int, int]
) -> Iterator[dict[AttributePlace, int]]:
    """Numbers of configs that modules keep, each config once: the modules that share it read the same number.

    One by one, then all of a config together, as the widths of some branches that one call cuts.
    """
    seen: set[int] = set()
    for name in names:
        module = model.get_submodule(name)
        for attribute, value in vars_of(module).items():
            if not is_pytorchs(module, attribute):
                places = {
                    AttributePlace(name, path, position): wanted[old]
                    for path, position, old in _numbers_of(attribute, value, seen)
                    if old in wanted
                }
                yield from ({place: new} for place, new in places.items())
                if len(places) > 1:
                    yield places


def _numbers_of(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """The integers of a config and of those in it, each once: where it stands, its position in a list, and itself."""
    if not holds_numbers(value) or id(value) in seen:
        return
    seen.add(id(value))
    for key, own in list(own_data(value).items()):
        if key.isidentifier() and not key.startswith("_") and can_be_set(value, key, own):
            yield from ((f"{path}.{key}", position, old) for position, old in numbered(own))
            yield from _numbers_of(f"{path}.{key}", own, seen)


def _listed(model: nn.Module, names: Sequence[str]) -> Iterator[str]:
    """The names of modules that stand in lists of some modules, or in lists of these lists."""
    for name in names:
        for child, module in model.get_submodule(name).named_children():
            if isinstance(module, LISTS):
                inside = [_joined(name, f"{child}.{item}") for item, _ in module.named_children()]
                yield from (one for one in inside if not isinstance(model.get_submodule(one), LISTS))
                yield from _listed(model, [_joined(name, child)])


def _joined(name: str, child: str) -> str:
    return f"{name}.{child}".lstrip(".")
