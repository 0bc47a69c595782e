"""How many layers a config of transformers says: which lists of modules follow which of its numbers.

Found by trying: a model is built, without values, from the config with one layer less, and the tensors that are then
missing are those of the last entry of one list.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.models.config_fields import (
    attribute_edits,
    build,
    check_built,
    config_base,
    config_numbers,
)
from sapwood.models.plan import Plan, Shortened
from sapwood.models.shortened import shorten_


@dataclass(frozen=True)
class LayerCount:
    """A number of a config that says how many entries a list has.

    Attributes:
        field: Its name: ``"text_config.num_hidden_layers"``.
        list: Name of the list in the model.
        count: How many entries it has.
    """

    field: str
    list: str
    count: int


@dataclass(frozen=True)
class ConfigLayers:
    """What a config says of the numbers of layers of a model.

    Attributes:
        path: Name of the module that has the config.
        counts: The numbers that say how many entries a list has.
        base: The model as the config builds it, without values.
    """

    path: str
    counts: tuple[LayerCount, ...]
    base: nn.Module = field(repr=False, compare=False)

    def plan(self, gone: Mapping[str, Sequence[int]]) -> Plan:
        """What leaves entries of lists out, and sets what the config and its modules say of their numbers.

        Args:
            gone: Entries that go, by the name of their list.

        Raises:
            ConfigError: If the config with so many layers builds another model than is left.
        """
        kept = {
            one: tuple(number for number in range(one.count) if number not in gone[one.list])
            for one in self.counts
            if gone.get(one.list)
        }
        left = copy.deepcopy(self.base)
        own = [Shortened(one.list[len(self.path) :].strip("."), one.count, stay) for one, stay in kept.items()]
        shorten_(left, own)
        built = _built(self.base, {one.field: (one.count, stay) for one, stay in kept.items()})
        if isinstance(built, Exception):
            raise ConfigError(f"{type(self.base).__name__} cannot be built with fewer layers: {built}") from built
        check_built(left, built)
        lists = tuple(Shortened(one.list, one.count, stay) for one, stay in kept.items())
        return Plan(shortened=lists, attributes=tuple(attribute_edits(left, built, self.path)))


def config_layers(model: nn.Module) -> ConfigLayers:
    """Finds which numbers of the config of a transformers model say how many layers it has.

    Args:
        model: The model, or one that holds it. Read only.

    Raises:
        ConfigError: If there is no such model in it, or its config builds another one.
    """
    path, base = config_base(model)
    found = [_count(base, path, name, value) for name, value in config_numbers(base.config) if value > 1]
    counts = [one for one in found if one is not None]
    lists = [one.list for one in counts]
    return ConfigLayers(path, tuple(one for one in counts if lists.count(one.list) == 1), base)


def _count(base: nn.Module, path: str, name: str, value: int) -> LayerCount | None:
    """The list of which a number says how many entries it has; None where it says something else."""
    less = _built(base, {name: (value, tuple(range(value - 1)))})
    if isinstance(less, Exception):
        return None
    keys, left = base.state_dict().keys(), less.state_dict().keys()
    gone = keys - left
    for module, entries in base.named_modules():
        if isinstance(entries, nn.ModuleList) and len(entries) == value and gone and left <= keys:
            last = {key for key in keys if key.startswith(f"{module}.{value - 1}.")}
            if gone == last:
                return LayerCount(name, f"{path}.{module}".strip("."), value)
    return None


def _built(base: nn.Module, kept: Mapping[str, tuple[int, Sequence[int]]]) -> Any:
    """A model without values with fewer layers, given how many there were and which of them stay; or the error."""
    config = copy.deepcopy(base.config)
    for name, (count, stay) in kept.items():
        *parts, leaf = name.split(".")
        holder = config
        for part in parts:
            holder = getattr(holder, part)
        for key, every in _one_each(holder, count):
            setattr(holder, key, type(every)([every[number] for number in stay]))
        setattr(holder, leaf, len(stay))
    try:
        getattr(config, "validate", lambda: None)()
        with torch.device("meta"):
            return build(type(base), config)
    except Exception as error:  # whatever a class says to numbers that do not suit each other
        return error


def _one_each(config: Any, count: int) -> Iterator[tuple[str, Any]]:
    """What a config says of each layer: kinds of attention."""
    for key, value in list(vars(config).items()):
        if type(value) in {list, tuple} and len(value) == count and "layer" in key:
            yield key, value
