"""Making the calls of a recorded run again: one dispatch mode, of which each use says what it does at a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sapwood.errors import CheckFailedError
from sapwood.ops import Call, CallMode, copies, hides_calls, leaves, looks, name_of, restrides, same_op


class OtherCallsError(CheckFailedError):
    """A run made other calls than the one that was recorded."""


class Replay(CallMode):
    """Runs beside a recorded run, call by call.

    While it is active, whatever a model calls is met with the recorded call of the same number. A use overrides
    :meth:`make`, which makes the call, and :meth:`stray`, if another call than the recorded one is no error to it.

    Args:
        calls: Of the recorded run.
        keeps_all: Whether every result is kept alive, where tensors are told apart by identity; by default those that
            :func:`stays_alive` names.
    """

    def __init__(self, calls: Sequence[Call], *, keeps_all: bool = False) -> None:
        super().__init__()
        self._calls = calls
        self._keeps_all = keeps_all
        self._kept_alive: list[Any] = []
        self._next = 0
        self.follows = True

    @property
    def current(self) -> Call:
        """The recorded call that comes next; the last one where none does."""
        return self._calls[min(self._next, len(self._calls) - 1)]

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Finds the recorded call, and makes it."""
        if self.follows and self._next < len(self._calls) and self._calls[self._next].op is func:  # as mostly
            return self._done(func, args, kwargs, self.make(self._calls[self._next], func, args, kwargs))
        if hides_calls(func):
            with self:
                return func.decompose(*args, **kwargs)
        if self.follows and not self._is_next(func):
            # where sizes are others, what is to be contiguous or of another shape may have to be copied
            if copies(func) or restrides(func, args):
                self._kept_alive.append(made := self.pass_on(func, args, kwargs))
                return made
            while self._next < len(self._calls) - 1 and restrides(self.current.op, self.current.args):
                self._next += 1
            if self._next < len(self._calls) and not self._is_next(func) and copies(self.current.op):
                args = self._without_copy(func, args)
        if self.follows and not self._is_next(func):
            self.follows = False
            self.stray(self.current, func)
        result = self.make(self.current, func, args, kwargs) if self.follows else self.pass_on(func, args, kwargs)
        return self._done(func, args, kwargs, result)

    def _done(self, func: Any, args: Any, kwargs: Any, result: Any) -> Any:
        """Goes on to the next call."""
        if self._keeps_all or stays_alive(func, args, kwargs):
            self._kept_alive.append(result)
        if self.follows:
            self._next += 1
        return result

    def _is_next(self, func: Any) -> bool:
        return self._next < len(self._calls) and same_op(self.current, func)

    def _without_copy(self, func: Any, args: Any) -> Any:
        """Passes a copy of the recorded run that is none here; made all the same where the next call is its reshape."""
        copy, self._next = self.current, self._next + 1
        if self._is_next(func):
            if looks(func):
                return (self.make(copy, copy.op, (args[0],), dict(copy.kwargs)), *args[1:])
            return args
        self._next -= 1
        return args

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call ``call``, and returns what the model gets."""
        del call
        return self.pass_on(func, args, kwargs)

    def stray(self, call: Call, func: Any) -> None:
        """Is told that the model called ``func`` where ``call`` was recorded; calls are made unwatched from then on.

        Raises:
            OtherCallsError: Unless a use takes it otherwise.
        """
        raise OtherCallsError(f"the model did {func} where it did {call} before; it does not repeat itself")


def stays_alive(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether what a call makes is held until the run ends: what is made of no tensor, and copies of a shape.

    PyTorch detaches a fresh tensor that is held elsewhere, so that a run which is repeated has to hold what the
    recorded one held, or the calls would not be the same.
    """
    return "_like" in name_of(func) or not _reads_tensors(args, kwargs)


def _reads_tensors(args: Any, kwargs: Any) -> bool:
    if args and isinstance(args[0], Tensor):  # as nearly every call does
        return True
    return any(isinstance(leaf, Tensor) for leaf in leaves((args, kwargs)))
