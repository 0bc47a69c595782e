"""Operators that PyTorch keeps whole for its compiler, made of the calls that they stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator, OpOverload

from sapwood.errors import ConfigError
from sapwood.nested import leaves, mapped

_DENSE = torch._C.DispatchKey.CompositeExplicitAutograd
_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd


def is_whole(op: Any) -> bool:
    """Whether ``op`` is one of those operators: ``flex_attention``, ``torch.cond``, scans."""
    return isinstance(op, HigherOrderOperator)


def hides_calls_in_whole(op: Any) -> bool:
    """Whether ``op`` hides what it is made of from a mode that an operator kept whole runs in."""
    return isinstance(op, OpOverload) and op.has_kernel_for_dispatch_key(_IMPLICIT)


def made_apart(op: Any, args: Any, kwargs: Any) -> Any:
    """What an operator kept whole returns, made by calls that modes meet.

    Raises:
        ConfigError: If PyTorch has no way of making it but whole.
    """
    if op.name() == "cond":
        return _either(*args)
    if _DENSE not in op.py_kernels:
        raise ConfigError(_refusal(op))
    try:
        return op.py_kernels[_DENSE](*args, **kwargs)
    except AssertionError as error:  # PyTorch's own demand that no mode looks on
        raise ConfigError(_refusal(op)) from error


def _either(predicate: Any, if_true: Any, if_false: Any, operands: Any) -> Any:
    """What one of two branches makes; both are run, for the compiler looks at both, and they have to fit."""
    true, false = ([*leaves(branch(*operands))] for branch in (if_true, if_false))
    if isinstance(predicate, Tensor):
        made = [torch.where(predicate, *pair) for pair in zip(true, false, strict=True)]
    else:
        made = true if predicate else false
    ordered = iter(made)
    return mapped(lambda leaf: next(ordered), if_true(*operands))


def _refusal(op: Any) -> str:
    return (
        f"{op.name()} is an operator of PyTorch's compiler that runs only whole, so that nothing can be told of what "
        "is in it; expected the same as a loop in Python"
    )
