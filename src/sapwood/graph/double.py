"""Everything in float64: a check in float64 stays one whatever type the model's code makes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sapwood.ops import CallMode, in_double, leaves, made_sooner, mapped


class Sooner(CallMode):
    """Makes what PyTorch's kernels are slow at in float64 by an equal formula, and looks after nothing else."""

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call."""
        sooner = made_sooner(func, args)
        return self.pass_on(func, args, kwargs) if sooner is None else sooner


WIDER = {
    **dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64),
    **dict.fromkeys((torch.complex64, torch.complex32), torch.complex128),
}
"""What the proof makes of the floating and complex types that are shorter than its own."""


class KeepDouble(CallMode):
    """Makes float64 of every other floating type that code asks for or makes.

    A type that is named is replaced. What is made without one is widened, and so is what is read: constants that the
    code keeps. Nothing is changed for other threads, as the default type would be.

    Attributes:
        idle: Whether all was float64 by itself so far: code that makes the same calls needs no such mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.idle = True

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call in float64."""
        if not isinstance(func, torch._ops.OpOverload):
            self.idle = False
            return self.pass_on(func, args, kwargs)
        if kwargs and kwargs.get("dtype") in WIDER:
            self.idle = False
            kwargs = {**kwargs, "dtype": WIDER[kwargs["dtype"]]}
        if _any_short(args) or (kwargs and _any_short(kwargs)):
            self.idle = False
            written = {id(leaf) for leaf in _written(func, args, kwargs)}
            args, kwargs = mapped(lambda leaf: leaf if id(leaf) in written else _widened(leaf), (args, kwargs))
        formula = in_double(func)
        if formula is None:
            sooner = made_sooner(func, args)
            result = self._passed_on(func, args, kwargs) if sooner is None else sooner
        else:
            result = formula(*args, **kwargs)
        short = _any_short(result)
        if short or formula is not None:
            self.idle = False
        if not short or func._schema.is_mutable:
            return result
        exact = self._exactly(func, args, kwargs)
        return mapped(_widened, result if exact is None else exact)

    def _passed_on(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The call as it is; in float64 where a number does not fit another type, as the least of all float64 ones."""
        try:
            return self.pass_on(func, args, kwargs)
        except RuntimeError:
            exact = self._exactly(func, args, kwargs)
            if exact is None:
                raise
            return exact

    def _exactly(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What a call makes in float64 where it takes the type from nowhere: of numbers, or of integers."""
        tensors = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not tensors and any(argument.name == "dtype" for argument in func._schema.arguments):
            return self.pass_on(func, args, {**kwargs, "dtype": torch.float64})
        if tensors and not any(leaf.is_floating_point() or leaf.is_complex() for leaf in tensors):
            return self.pass_on(func, *mapped(_as_double, (args, kwargs)))
        return None


def _as_double(leaf: Any) -> Any:
    whole = isinstance(leaf, Tensor) and leaf.dtype is not torch.bool
    return leaf.to(torch.float64) if whole else leaf


def _written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """The arguments that a call writes to: they stay what they are."""
    if not func._schema.is_mutable:
        return []
    found = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(args[number] if number < len(args) else kwargs.get(argument.name))
    return list(leaves(found))


def _any_short(value: Any) -> bool:
    """Whether a tensor in ``value`` is of a shorter type; asked at every call, so without a list of what is in it."""
    if isinstance(value, Tensor):
        return value.dtype in WIDER
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return False
    for item in value:
        if isinstance(item, Tensor):
            if item.dtype in WIDER:
                return True
        elif isinstance(item, (tuple, list, dict)) and _any_short(item):
            return True
    return False


def _is_short(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype in WIDER


def _widened(leaf: Any) -> Any:
    return leaf.to(WIDER[leaf.dtype]) if _is_short(leaf) else leaf
