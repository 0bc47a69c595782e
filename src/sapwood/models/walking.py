"""Modules and tensors of a model in PyTorch's order; its own walks take a generator for each step of each path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def all_modules(model: nn.Module) -> list[nn.Module]:
    """What ``list(model.modules())`` is, five times as fast: asked for at every run of a model and at every copy.

    Examples:
        >>> shared = nn.ReLU()
        >>> model = nn.Sequential(nn.Sequential(shared), shared)
        >>> all_modules(model) == list(model.modules())
        True
    """
    found = {id(model): model}
    _collect(model, found)
    return list(found.values())


def _collect(module: nn.Module, found: dict[int, nn.Module]) -> None:
    for child in module._modules.values():
        if child is not None and id(child) not in found:
            found[id(child)] = child
            if child._modules:
                _collect(child, found)


def kinds_of(modules: Iterable[nn.Module], base: type | tuple[type, ...]) -> frozenset[type]:
    """The classes of modules that are of ``base``; few to ask, where abstract ones take their time for each module.

    Examples:
        >>> kinds_of(nn.Sequential(nn.ReLU(), nn.GRU(1, 1)).modules(), nn.RNNBase)
        frozenset({<class 'torch.nn.modules.rnn.GRU'>})
    """
    return frozenset(kind for kind in set(map(type, modules)) if issubclass(kind, base))


def evaluating_(model: Model) -> Model:
    """Does what ``model.eval()`` does, which sets an attribute of each module whether it is set already or not.

    Examples:
        >>> evaluating_(nn.Sequential(nn.Dropout()))[0].training
        False
    """
    modules = all_modules(model)
    kinds: set[type[nn.Module]] = set(map(type, modules))
    plain = all((kind.train, kind.eval) == (nn.Module.train, nn.Module.eval) for kind in kinds)
    if not plain or any(module.training or "train" in vars(module) for module in modules):
        model.eval()
    return model


def named_modules(model: nn.Module, *, every: bool = False) -> list[tuple[str, nn.Module]]:
    """What ``list(model.named_modules())`` is; with ``every`` name of a module that stands in several places.

    Examples:
        >>> shared = nn.ReLU()
        >>> model = nn.Sequential(nn.Sequential(shared), shared)
        >>> [name for name, _ in named_modules(model)], [name for name, _ in named_modules(model, every=True)]
        (['', '0', '0.0'], ['', '0', '0.0', '1'])
    """
    found = [("", model)]
    _collect_named(model, "", found, None if every else {id(model)})
    return found


def _collect_named(module: nn.Module, start: str, found: list[tuple[str, nn.Module]], seen: set[int] | None) -> None:
    for key, child in module._modules.items():
        if child is None:
            continue
        if seen is not None:
            if id(child) in seen:
                continue
            seen.add(id(child))
        name = start + key
        found.append((name, child))
        if child._modules:
            _collect_named(child, f"{name}.", found, seen)


def named_parameters(model: nn.Module, *, every: bool = False) -> list[tuple[str, nn.Parameter]]:
    """What ``list(model.named_parameters())`` is; with ``every`` name of one that is shared.

    Examples:
        >>> model = nn.ModuleList([nn.Linear(1, 1, bias=False)] * 2)
        >>> [name for name, _ in named_parameters(model)], [name for name, _ in named_parameters(model, every=True)]
        (['0.weight'], ['0.weight', '1.weight'])
    """
    if type(model).named_parameters is not nn.Module.named_parameters:  # a wrapper with names of its own
        return list(model.named_parameters(remove_duplicate=not every))
    return _named(named_modules(model, every=every), "_parameters", every=every)


def named_buffers(model: nn.Module, *, every: bool = False) -> list[tuple[str, Tensor]]:
    """The same of ``model.named_buffers()``."""
    if type(model).named_buffers is not nn.Module.named_buffers:
        return list(model.named_buffers(remove_duplicate=not every))
    return _named(named_modules(model, every=every), "_buffers", every=every)


def named_tensors(model: nn.Module, *, every: bool = False) -> list[tuple[str, Tensor]]:
    """What ``[*named_parameters(model), *named_buffers(model)]`` is, in one walk.

    Examples:
        >>> [name for name, _ in named_tensors(nn.BatchNorm1d(1))]
        ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """
    kind = type(model)
    if (kind.named_parameters, kind.named_buffers) != (nn.Module.named_parameters, nn.Module.named_buffers):
        return [*named_parameters(model, every=every), *named_buffers(model, every=every)]
    modules = named_modules(model, every=every)
    return [*_named(modules, "_parameters", every=every), *_named(modules, "_buffers", every=every)]


def _named(modules: Iterable[tuple[str, nn.Module]], table: str, *, every: bool) -> list[tuple[str, Any]]:
    """The tensors in a table of each module, by name."""
    seen: set[int] = set()
    found: list[tuple[str, Any]] = []
    for path, module in modules:
        for name, tensor in getattr(module, table).items():
            if tensor is None or id(tensor) in seen:
                continue
            if not every:
                seen.add(id(tensor))
            found.append((f"{path}.{name}" if path else name, tensor))
    return found


def module_of(model: nn.Module, name: str) -> nn.Module:
    """What ``model.get_submodule(name)`` is; plain children are looked up without asking what each step is.

    Raises:
        AttributeError: If there is none of that name.
    """
    module = model
    for part in name.split(".") if name else ():
        child = module._modules.get(part)
        if child is None:
            return model.get_submodule(name)
        module = child
    return module
