"""Heads that only training runs: a run as in training behind the one for evaluation, both in one record.

Code asks ``self.training`` whether to run an auxiliary classifier. Of a copy that is marked, the modules that ask run a
second time with that flag set. All others stay as in evaluation, so that norms keep their statistics and dropout
draws nothing: what is proven of a head is that it reads the right channels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from sapwood.models import copy_model, named_parameters
from sapwood.ops import Graph

MARK = "_sapwood_runs_in_training_too"


class BothRuns(NamedTuple):
    """What a model returned.

    Attributes:
        evaluated: In evaluation mode.
        trained: In training mode.
    """

    evaluated: Any
    trained: Any


def mark_(model: nn.Module, names: Collection[str]) -> nn.Module:
    """Marks a copy of a model, and all copies of it, to run a second time with some modules in training mode."""
    if names:
        vars(model)[MARK] = tuple(sorted(names))
    return model


def unmarked(model: nn.Module) -> nn.Module:
    """A copy of a model that runs in evaluation mode alone."""
    twin = copy_model(model)
    vars(twin).pop(MARK, None)
    return twin


def marked(model: nn.Module) -> tuple[str, ...]:
    """The modules with which a model runs in training mode, too; none where it is not marked."""
    return tuple(vars(model).get(MARK, ()))


@contextmanager
def in_training(model: nn.Module) -> Iterator[None]:
    """Within it, the modules that a model is marked with are in training mode."""
    modules = [model.get_submodule(name) for name in marked(model)]
    before = [module.training for module in modules]
    try:
        for module in modules:
            module.training = True
        yield
    finally:
        for module, mode in zip(modules, before, strict=True):
            module.training = mode


def read_names(graph: Graph) -> frozenset[str]:
    """All names of the parameters that calls of a run read."""
    read = {ref.id for call in graph.calls for ref in call.tensor_inputs()}
    return frozenset(name for number, names in graph.parameters.items() if number in read for name in names)


def askers(model: nn.Module, graph: Graph) -> frozenset[str]:
    """The modules whose code decided that parameters were not read: the innermost around each that ran."""
    ran = {name for call in graph.calls for name in call.modules} | {""}
    found = set()
    for name in {name for name, _ in named_parameters(model, every=True)} - read_names(graph):
        around = name.rpartition(".")[0]
        while around not in ran:
            around = around.rpartition(".")[0]
        found.add(around)
    return frozenset(found)
