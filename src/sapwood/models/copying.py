"""Copying a model, live masks included."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection, Mapping
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sapwood.arguments import check_model
from sapwood.models.computed import refresh_computed, refresh_masked
from sapwood.models.containers import brings_layers, held, slotted
from sapwood.models.walking import all_modules

Model = TypeVar("Model", bound=nn.Module)


def copy_model(model: Model, replaced: Mapping[int, Tensor] | None = None) -> Model:
    """Returns a deep copy of ``model`` that shares nothing with it, but for what cannot be copied.

    ``copy.deepcopy`` alone fails for a model that :mod:`torch.nn.utils.prune` masked: its ``weight`` is computed from
    ``weight_orig`` and ``weight_mask``, and torch copies no computed tensor
    (https://github.com/pytorch/pytorch/issues/37322). Here such tensors are copied by value, wherever a module keeps
    them, and those that belong to a mask are computed again from the copy's own parameters. Functions that close over
    modules of ``model`` close over those of the copy. What cannot be copied (a lock, an open file, a function that
    TorchScript compiled) is shared; :func:`shared_things` names it.

    Args:
        model: Any module. It is not changed.
        replaced: Identity of a tensor of ``model`` -> the tensor that stands in its place in the copy.

    Returns:
        The copy: parameters, buffers, hooks, masks and training mode as in ``model``.

    Examples:
        >>> from torch.nn.utils import prune
        >>> masked = prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=3)
        >>> twin = copy_model(masked)
        >>> bool((twin.weight == masked.weight).all()), twin.weight_mask is masked.weight_mask
        (True, False)
    """
    check_model(model)
    twin = copy_into(dict(replaced or {}), model)
    refresh_computed(twin) if replaced else refresh_masked(twin)
    return twin


def copy_into(memo: dict[int, Any], model: Model, shared: list[Any] | None = None) -> Model:
    """A copy as :func:`copy_model` makes it, of which ``memo`` tells what each thing of ``model`` became.

    What could not be copied is put into ``shared``.
    """
    copying = _Copying(memo, model)
    twin = copying.module(model)
    if shared is not None:
        shared += copying.shared
    same_modes_(model, twin)
    _own_classes_(twin)
    return twin


def _own_classes_(twin: nn.Module) -> None:
    """Gives parametrized modules of a copy classes of their own.

    PyTorch makes a class for each such module, which a copy shares; taking the parametrization off the one would delete
    the parameter's property from the other.
    """
    for module in all_modules(twin):
        if parametrize.is_parametrized(module):
            kind = type(module)
            own = {name: value for name, value in vars(kind).items() if name not in {"__dict__", "__weakref__"}}
            module.__class__ = type(kind.__name__, kind.__bases__, own)


def deep_copy(module: Model, memo: dict[int, Any]) -> Model:
    """What ``copy.deepcopy(module, memo)`` returns, ten times sooner for modules that have no copying of their own."""
    return _Copying(memo).module(module)


def shared_things(model: nn.Module) -> dict[str, str]:
    """What a copy of ``model`` shares with it, as it cannot be copied: names, and the classes of what they name.

    Examples:
        >>> import threading
        >>> layer = nn.Linear(2, 1)
        >>> layer.lock = threading.Lock()
        >>> shared_things(nn.Sequential(layer))
        {'0.lock': 'lock'}
    """
    tensors = [one for module in model.modules() for one in held(vars(module)) if isinstance(one, Tensor)]
    copying = _Copying({id(tensor): tensor for tensor in tensors})
    copying.module(model)
    return named_things(model, copying.shared)


def named_things(model: nn.Module, things: Collection[Any]) -> dict[str, str]:
    """What a copy of ``model`` shares with it, by the names that its modules have for it, and of what classes it is."""
    if not things:
        return {}
    names = {
        id(value): f"{name}.{attribute}".lstrip(".")
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
    }
    return {names.get(id(one), type(one).__name__): type(one).__name__ for one in things}


class _Copying:
    """One copy of a model: what was copied so far, and what could not be."""

    def __init__(self, memo: dict[int, Any], whole: nn.Module | None = None) -> None:
        self.memo = memo
        self.shared: list[Any] = []
        self._whole = whole
        self._ways: dict[type, bool | None] = {}

    def module(self, module: Model) -> Model:
        if id(module) in self.memo:
            return self.memo[id(module)]  # type: ignore[no-any-return]
        kind = type(module)
        if kind not in self._ways:
            self._ways[kind] = _as_usual(kind)
        usual = self._ways[kind]
        if usual is None:
            self._remember()
            return _copy_by_itself(module, self.memo)
        twin = kind.__new__(kind)
        self.memo[id(module)] = twin
        if usual:
            held, value = vars(twin), self.value
            held.update(vars(module))
            for name, item in vars(module).items():  # most of which are numbers, or tables without hooks
                kind_of = type(item)
                if kind_of in SHARED:
                    continue
                held[name] = kind_of() if kind_of in EMPTIES and not item and name in TABLES else value(item)
        else:  # a wrapper for several processes leaves out what belongs to this one, and makes it anew
            state = _state_of(module)
            self.memo.setdefault(id(self.memo), []).append(state)  # as deepcopy: an identity is used again otherwise
            _restore_(twin, self.value(state))
        for slot, item in slotted(module):
            object.__setattr__(twin, slot, self.value(item))
        return twin

    def value(self, value: Any) -> Any:
        if value is None or type(value) in ATOMS:
            return value
        if id(value) in self.memo:
            return self.memo[id(value)]
        if type(value) in EMPTIES and not value:  # of which every module has ten
            return self.memo.setdefault(id(value), type(value)())
        if isinstance(value, nn.Module):
            return self.module(value)
        return self._container(value) if type(value) in CONTAINERS else self._other(value)

    def _container(self, value: Any) -> Any:
        if type(value) is tuple:
            return tuple(self.value(item) for item in value)
        self.memo[id(value)] = twin = type(value)()
        if isinstance(value, dict):
            twin.update((key, self.value(item)) for key, item in value.items())
        else:
            twin += [self.value(item) for item in value]
        return twin

    def _other(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value) if brings_layers(value) else value
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self.value(value.__self__))
        if type(value) is partial:
            return partial(self.value(value.func), *self.value(value.args), **self.value(value.keywords))
        self.memo[id(value)] = twin = self._leaf(value)
        return twin

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, Tensor) and not value.is_leaf:
            return value.detach().clone()
        if type(value) in PLAIN_TENSORS and not vars(value):  # nothing else is copied with it that might fail
            return self._tensor(value)
        if type(value) is set and all(type(one) in ATOMS for one in value):
            return set(value)
        if isinstance(value, torch.Generator):
            return torch.Generator(value.device).set_state(value.get_state())
        return self._object(value)

    def _tensor(self, tensor: Tensor) -> Tensor:
        """What ``copy.deepcopy`` makes of a tensor, sooner where that is a copy of all the memory that it lies in."""
        if type(tensor) is nn.Parameter:
            return nn.Parameter(tensor.detach().clone(), tensor.requires_grad)
        if tensor.device.type != "cpu" or tensor.dtype not in OF_NUMBERS or not tensor.is_contiguous():
            return copy.deepcopy(tensor, self.memo)
        storage = tensor.untyped_storage()
        copied = self.memo.setdefault("torch", {})  # type: ignore[call-overload]  # where PyTorch remembers which memory it copied
        alone = storage.nbytes() == tensor.nbytes and storage._cdata not in copied
        if not alone or tensor.requires_grad or tensor.is_inference():
            return copy.deepcopy(tensor, self.memo)
        twin = tensor.clone()
        copied[storage._cdata] = twin.untyped_storage()
        return twin

    def _function(self, function: FunctionType) -> FunctionType:
        """The function, bound to the copies of the layers that it is bound to."""
        cells = tuple(CellType() if _brings_layers(cell) else cell for cell in function.__closure__ or ())
        twin = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
        self.memo[id(function)] = twin
        known = vars(function).items()  # among it the method that torch.compile wrapped
        vars(twin).update((name, self.value(one) if brings_layers(one) else one) for name, one in known)
        twin.__qualname__, twin.__doc__ = function.__qualname__, function.__doc__
        twin.__module__, twin.__annotations__ = function.__module__, function.__annotations__
        twin.__defaults__ = self.value(function.__defaults__)
        twin.__kwdefaults__ = self.value(function.__kwdefaults__)
        for old, new in zip(function.__closure__ or (), cells, strict=True):
            if new is not old:
                new.cell_contents = self.value(old.cell_contents)
        return twin

    def _object(self, value: Any) -> Any:
        """A copy of anything else; where Python makes none, of what it holds of the model, or the thing itself."""
        trial = dict(self.memo)
        try:
            twin = self._deep(value, trial)
        except Exception:  # whatever a class says that is not to be copied
            holds = any(isinstance(one, (Tensor, nn.Module)) for one in held(value))
            return self._by_attributes(value) if holds and _is_plain_class(type(value)) else self._share(value)
        self.memo.setdefault(id(self.memo), []).extend(trial.pop(id(trial), ()))  # what deepcopy keeps alive
        self.memo.update({key: one for key, one in trial.items() if key not in self.memo})
        return twin

    def _deep(self, value: Any, trial: dict[int, Any]) -> Any:
        """What ``copy.deepcopy`` makes of a value, which may hold tensors that it knows no way to copy."""
        if self._whole is None:
            return copy.deepcopy(value, trial)
        try:
            return copy.deepcopy(value, trial)
        except Exception:  # computed tensors may be why
            self._remember()
            trial.clear()
            trial.update(self.memo)
            return copy.deepcopy(value, trial)

    def _remember(self) -> None:
        """Copies computed tensors, of which ``copy.deepcopy`` knows no way, before it is asked for them."""
        if self._whole is not None:
            remember_computed_tensors(self._whole, self.memo)
            self._whole = None

    def _by_attributes(self, value: Any) -> Any:
        self.memo[id(value)] = twin = object.__new__(type(value))
        vars(twin).update((name, self.value(item)) for name, item in vars(value).items())
        return twin

    def _share(self, value: Any) -> Any:
        self.shared.append(value)
        return value


def _copy_by_itself(module: Model, memo: dict[int, Any]) -> Model:
    """A copy by the class's own way; what TorchScript copies under gradients would be no parameters any more."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not isinstance(module, torch.jit.ScriptModule)):
        twin = copy.deepcopy(module, memo)
    if isinstance(module, torch.jit.ScriptModule):
        for old, new in zip(module.parameters(), twin.parameters(), strict=True):
            new.requires_grad_(old.requires_grad)
    return twin


EMPTIES = frozenset({dict, OrderedDict})
TABLES = frozenset(name for name, table in vars(nn.Module()).items() if type(table) in EMPTIES)
"""Tables that each module has for itself, as those of its hooks."""

CONTAINERS = frozenset({dict, OrderedDict, list, tuple})
PLAIN_TENSORS = frozenset({Tensor, nn.Parameter})
OF_NUMBERS = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.int32, torch.bool}
)
"""Types of plain numbers, which nothing but their bits says what they are."""

ATOMS = frozenset({bool, int, float, complex, str, bytes, type, torch.dtype, torch.device, torch.Size})
"""What is never changed, so that copies may share it."""

SHARED = ATOMS | {type(None)}


def _as_usual(kind: type) -> bool | None:
    """Whether copying a module of this class copies its attributes and does nothing else that matters to a copy.

    None where it has a way of its own.
    """
    own = {name for base in kind.__mro__[:-1] for name in vars(base)}
    if own & {"__deepcopy__", "__reduce__", "__reduce_ex__"}:
        return None
    special = [base for base in kind.__mro__[:-1] if vars(base).keys() & {"__getstate__", "__setstate__"}]
    return all(base.__module__ in FILLS_IN_DEFAULTS for base in special)


FILLS_IN_DEFAULTS = frozenset(
    f"torch.nn.modules.{name}" for name in ("module", "conv", "activation", "upsampling", "transformer", "batchnorm")
)
"""Files of PyTorch whose ``__setstate__`` only adds what old pickles lack."""


def _state_of(module: Any) -> Any:
    return module.__getstate__()


def _restore_(module: Any, state: Any) -> None:
    module.__setstate__(state)


def _is_plain_class(kind: type) -> bool:
    """Whether an object of the class is its attributes, and nothing that Python code cannot see."""
    return all(base.__flags__ & (1 << 9) for base in kind.__mro__[:-1]) and not any(
        "__slots__" in vars(base) for base in kind.__mro__
    )


def _brings_layers(cell: CellType) -> bool:
    try:
        return brings_layers(cell.cell_contents)
    except ValueError:  # empty
        return False


def remember_computed_tensors(model: nn.Module, memo: dict[int, Any]) -> None:
    """Puts a copy by value of each computed tensor that a module of ``model`` holds into ``memo`` of a deep copy."""
    for module in all_modules(model):
        for attribute in vars(module).values():
            kind = type(attribute)
            if attribute is None or kind in ATOMS or (kind in CONTAINERS and not attribute):
                continue
            if attribute is module._modules:  # of which each comes in its turn
                continue
            for value in attribute.values() if attribute is module._parameters else held(attribute):
                if isinstance(value, Tensor) and not value.is_leaf:
                    memo.setdefault(id(value), value.detach().clone())


def same_modes_(model: nn.Module, twin: nn.Module) -> None:
    """Puts the modules of a copy into training or evaluation as those of the same names in ``model`` are."""
    pairs = zip(all_modules(model), all_modules(twin), strict=False)
    if all(one.training is other.training for one, other in pairs):
        return
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in twin.named_modules():
        if type(module).train is not nn.Module.train:  # some have a graph for each mode
            module.train(modes.get(name, module.training))
    for name, module in twin.named_modules():
        module.training = modes.get(name, module.training)
