"""Runs the compact model beside the recorded run, to find the first call that is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from sapwood.graph import Analysis, Decisions, Replay, Structure, leaving_no_trace, plain_kernels, put_, run_model
from sapwood.ops import Call, TensorRef, leaves, mapped
from sapwood.removal.code_numbers import LARGEST, CodeNumbers, Made, NumberChange, are_alike, change_of_numbers
from sapwood.removal.numbers import numbers, wanted_numbers
from sapwood.removal.widths import Expectation, kept_draws


@dataclass(frozen=True)
class Divergence:
    """The first call of the compact model whose sizes differ from what the plan expects.

    Attributes:
        call: The call in the recorded run.
        wanted: Shapes of its outputs that the plan expects.
        found: The shapes that came, or the message of the error.
    """

    call: Call
    wanted: list[tuple[int, ...]]
    found: list[tuple[int, ...]] | str


@dataclass(frozen=True)
class Followed:
    """How a compact model ran.

    Attributes:
        divergence: Where its sizes first differ from the plan, or None.
        strayed: Where it first made another call than the dense model, or None: a sign that a number in the code does
            not fit, or harmless.
        changes: Numbers in its calls that differ from the dense model's.
        made: Its calls that read numbers alone.
        analysis: What it was compared with.
        expectation: What that was to become.
    """

    divergence: Divergence | None
    changes: tuple[NumberChange, ...]
    made: tuple[Made, ...]
    strayed: Divergence | None
    analysis: Analysis = field(repr=False)
    expectation: Expectation = field(repr=False)

    @property
    def first(self) -> Divergence | None:
        """The earliest sign of trouble."""
        return self.strayed or self.divergence

    @cached_property
    def number_changes(self) -> tuple[NumberChange, ...]:
        """Numbers in its calls, and what they read that is made of numbers alone, which differ from the planned."""
        if not self.made:
            return self.changes
        of_numbers = CodeNumbers(self.analysis, self.expectation, self.made)
        return (*self.changes, *of_numbers.changes(self.analysis.graph.calls))

    @property
    def is_as_planned(self) -> bool:
        """Whether every size and number was the planned one."""
        return self.first is None and not self.number_changes

    def is_like(self, other: Followed) -> bool:
        """Whether another run made the same calls of the same numbers."""
        own, others = ((run.divergence, run.strayed, run.changes) for run in (self, other))
        return own == others and len(self.made) == len(other.made) and all(map(are_alike, self.made, other.made))


class _DivergedError(Exception):
    def __init__(self, divergence: Divergence) -> None:
        super().__init__(str(divergence))
        self.divergence = divergence


class _TwinFollower(Replay):
    """Compares call by call; stops comparing where the compact model takes another way through its code."""

    def __init__(self, analysis: Analysis, expectation: Expectation, decisions: Decisions) -> None:
        super().__init__(analysis.graph.calls)
        self._unread = analysis.graph.unread
        self._decisions = decisions
        self._expectation = expectation
        self.strayed: Divergence | None = None
        self.changes: list[NumberChange] = []
        self.made: list[Made] = []
        self._of_numbers = analysis.graph.of_numbers

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call, and raises where its numbers or sizes are not those that are due."""
        if call.index in self._unread:
            return self.pass_on(func, args, kwargs)
        self._compare_numbers(call, args)
        self._compare_values(call, args, kwargs)
        of_numbers = call.index in self._of_numbers
        chosen = (self._decisions.again if of_numbers else self._decisions.forced)(call.index, (args, kwargs))
        result = self._as_many(call, self.pass_on(func, args, kwargs)) if chosen is None else chosen
        if call.facts.random:
            put_(result, kept_draws(self._decisions.draws, call, self._expectation))
        self._compare_shapes(call, result)
        return result

    @staticmethod
    def _as_many(call: Call, result: Any) -> Any:
        """A choice of other values, of as many boxes."""
        return result[: call.tensor_outputs()[0].shape[0]] if call.facts.thins else result

    def stray(self, call: Call, func: Any) -> None:
        """Remembers where it happened: a sign that a number does not fit, or harmless."""
        self.strayed = Divergence(call, [self._expectation.shape(ref) for ref in call.tensor_outputs()], str(func))

    def _compare_numbers(self, call: Call, args: Any) -> None:
        if not call.facts.has_numbers:
            return
        wanted, found = wanted_numbers(call, self._expectation), numbers(call, args)
        if found != wanted:
            shapes = [self._expectation.shape(ref) for ref in call.tensor_outputs()]
            raise _DivergedError(Divergence(call, shapes, f"{found} where {wanted} is due"))

    def _compare_values(self, call: Call, args: Any, kwargs: Any) -> None:
        if call.index in self._of_numbers:
            self.made.append(Made(call, *mapped(_kept, (args, kwargs))))
            return
        change = change_of_numbers(call, args, kwargs)
        if change is not None:
            self.changes.append(change)

    def _compare_shapes(self, call: Call, result: Any) -> None:
        found = [tuple(leaf.shape) for leaf in leaves(result) if isinstance(leaf, Tensor)]
        wanted = [self._expectation.shape(ref) for ref in call.outputs if isinstance(ref, TensorRef)]
        if found != wanted:
            raise _DivergedError(Divergence(call, wanted, found))


def _kept(leaf: Any) -> Any:
    """A number as it is now: what reads nothing of the model may be written to later."""
    return leaf.detach().clone() if isinstance(leaf, Tensor) and leaf.numel() <= LARGEST else leaf


def follow(model: nn.Module, structure: Structure, analysis: Analysis, expectation: Expectation) -> Followed:
    """Runs the compact ``model`` and compares it with the recorded run, call by call."""
    follower = _TwinFollower(analysis, expectation, structure.decisions)
    divergence = None
    try:
        with leaving_no_trace(model, structure.graph.written), plain_kernels(model), follower:
            run_model(model, structure.inputs)
    except _DivergedError as diverged:
        divergence = diverged.divergence
    except Exception as error:  # the model's own code may fail in any way while its widths do not fit
        call = follower.current
        wanted = [expectation.shape(ref) for ref in call.tensor_outputs()]
        divergence = Divergence(call, wanted, f"{type(error).__name__}: {error}")
    changes, made = tuple(follower.changes), tuple(follower.made)
    return Followed(divergence, changes, made, follower.strayed, analysis, expectation)
