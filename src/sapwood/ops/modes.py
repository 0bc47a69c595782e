"""The dispatch mode that all of Sapwood's are made of, and what it asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from sapwood.ops.apart import hides_calls_in_whole, is_whole, made_apart


class CallMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Meets every ATen call, with :func:`nothing_compiled` around it.

    PyTorch hides what a mode does from ``torch.compile``. For that it loads the whole compiler at the first call, which
    takes a second of each process, and makes each call dearer. Where no code is compiled, there is nothing to hide.

    Modes that are entered one inside the other are one mode to PyTorch, for handing a call from mode to mode takes it
    longer than what most of them do with it. So a mode overrides :meth:`meet`, and makes calls by :meth:`pass_on`,
    which takes them to the mode around it; other calls that it makes are met by none of them.

    What PyTorch keeps whole for its compiler (``flex_attention``, ``torch.cond``) is met as the calls it is made of.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._apart = 0
        self._around: CallMode | None = None
        self._within: list[CallMode] = []
        self._entered_in: list[CallMode | None] = []

    def __enter__(self) -> CallMode:
        current = _get_current_dispatch_mode()
        outer = current if isinstance(current, CallMode) and current is not self else None
        self._entered_in.append(outer)
        if outer is None:
            return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]
        self._around = outer._innermost
        outer._within.append(self)
        return self

    def __exit__(self, *raised: object) -> None:
        outer = self._entered_in.pop()
        if outer is None:
            super().__exit__(*raised)  # type: ignore[no-untyped-call]
            return
        outer._within.pop()
        self._around = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wrapper = next((kind for kind in types if kind.__name__ == "NestedTensor"), None)
        if wrapper is not None:  # which makes the calls on the rows that it holds, all in one tensor
            with self:
                return wrapper.__torch_dispatch__(func, types, args, kwargs or {})
        if is_whole(func):
            return self._made_apart(func, args, kwargs or {})
        if self._apart and hides_calls_in_whole(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        one = _for_one(func)
        if one is not None:
            with self:
                return _each(one, func, args, kwargs or {})
        return self._innermost.meet(func, args, kwargs or {})

    def _made_apart(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Meets what an operator kept whole is made of."""
        self._apart += 1
        try:
            with self:
                return made_apart(func, args, kwargs)
        finally:
            self._apart -= 1

    @property
    def _innermost(self) -> CallMode:
        """The mode that meets calls first; the list has not this one, which would then outlive its last use."""
        return self._within[-1] if self._within else self

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Is given a call, and returns what its caller gets."""
        return self.pass_on(func, args, kwargs)

    def pass_on(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes a call as the modes around this one make it."""
        return func(*args, **kwargs) if self._around is None else self._around.meet(func, args, kwargs)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


FOREACH = "aten::_foreach_"
NORM = {"norm": "linalg_vector_norm"}
"""What an operator of lists is called for one tensor, where that is another name."""


def _for_one(func: Any) -> Any:
    """What an operator over lists of tensors does with each; None for any other operator."""
    name = func._schema.name
    if not name.startswith(FOREACH):
        return None
    own = name.removeprefix(FOREACH)
    return getattr(torch.ops.aten, NORM.get(own, own), None)


def _each(one: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """Makes the calls that an operator over lists stands for: tensor by tensor, with one number for all or one each."""
    count = len(args[0])

    def item(value: Any, index: int) -> Any:
        return value[index] if isinstance(value, (list, tuple)) else value

    made = [
        one(*(item(arg, index) for arg in args), **{key: item(arg, index) for key, arg in kwargs.items()})
        for index in range(count)
    ]
    return made if func._schema.returns else None


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Within it, functions and modules that ``torch.compile`` made run as they are written.

    Examples:
        >>> with nothing_compiled():
        ...     torch.compile(torch.neg)(torch.ones(1)).item()
        -1.0
    """
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
