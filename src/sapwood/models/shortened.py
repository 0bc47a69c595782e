"""Lists of modules of which some go, so that the others move up: numbers of layers that a config says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from sapwood.errors import ConfigError, ShapeError
from sapwood.models.copying import copy_model
from sapwood.models.plan import Plan, Shortened
from sapwood.models.walking import module_of


def shorten_(model: nn.Module, lists: Iterable[Shortened]) -> None:
    """Leaves out the entries that a plan leaves out, wherever the list stands.

    Raises:
        ShapeError: If the model has no such list, or one of another length; names it.

    Examples:
        >>> model = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(1, width) for width in (1, 2, 3)])})
        >>> shorten_(model, [Shortened("layers", 3, (0, 2))])
        >>> [layer.out_features for layer in model["layers"]]
        [1, 3]
    """
    for one in lists:
        found = _list(model, one)
        entries = [found[number] for number in one.kept]
        found._modules.clear()
        found.extend(entries)


def later_name(name: str, plan: Plan) -> str | None:
    """What a module or tensor is called once the lists of a plan are shortened; None where it goes with them.

    Examples:
        >>> plan = Plan(shortened=(Shortened("layers", 3, (0, 2)),))
        >>> later_name("layers.2.weight", plan), later_name("layers.1.weight", plan), later_name("head", plan)
        ('layers.1.weight', None, 'head')
    """
    for one in plan.shortened:
        if name.startswith(f"{one.list}."):
            number, dot, rest = name[len(one.list) + 1 :].partition(".")
            if not number.isdigit():
                return name
            return f"{one.list}.{one.kept.index(int(number))}{dot}{rest}" if int(number) in one.kept else None
    return name


class InOrder(nn.ModuleList):
    """A list whose entries are named as in the shortened one, and run in the order that they had.

    Args:
        entries: All of them, in the order in which they run.
        kept: Which of them stay; the others' names come behind.
    """

    def __init__(self, entries: Sequence[nn.Module], kept: Sequence[int]) -> None:
        super().__init__()
        gone = [number for number in range(len(entries)) if number not in set(kept)]
        for name, number in enumerate((*kept, *gone)):
            self.add_module(str(name), entries[number])
        self._run = [str((*kept, *gone).index(number)) for number in range(len(entries))]

    def __iter__(self) -> Iterator[nn.Module]:
        return iter([self._modules[name] for name in self._run])

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def named_as_shortened_(model: nn.Module, lists: Iterable[Shortened]) -> None:
    """Gives the entries of lists the names that they have once these are shortened; what the model does stays.

    Raises:
        ShapeError: As :func:`shorten_`.
    """
    for one in lists:
        found = _list(model, one)
        path, _, leaf = one.list.rpartition(".")
        setattr(module_of(model, path), leaf, InOrder(list(found), one.kept))


def named_as_left(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of a model in evaluation mode, whose modules have the names that a plan's model calls them by.

    Raises:
        ConfigError: If the plan makes two layers of some: it does not hold in which directions.
    """
    if plan.factored:
        raise ConfigError(
            f"the plan makes two layers of {plan.factored[0].module}, and does not hold in which directions; expected "
            "the network that was pruned then, and the plan by its names: of what sapwood.prune returned, "
            "pruned.of_two.network.model for dense and pruned.of_two.plan"
        )
    twin = copy_model(model).eval()
    named_as_shortened_(twin, plan.shortened)
    return twin


def _list(model: nn.Module, one: Shortened) -> nn.ModuleList:
    try:
        found = model.get_submodule(one.list)
    except AttributeError:
        found = None
    if not isinstance(found, nn.ModuleList) or len(found) != one.size:
        what = f"a {type(found).__name__}" + (f" of {len(found)}" if isinstance(found, nn.ModuleList) else "")
        raise ShapeError(f"the plan leaves entries of {one.list} out, a list of {one.size}; the model has {what} there")
    return found
