"""Runs the compact model beside the recorded run, to find the first call that is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sapwood.graph import Analysis, Decisions, Replay, Structure, leaving_no_trace, plain_kernels, run_model
from sapwood.ops import Call, TensorRef, leaves
from sapwood.removal.numbers import numbers, wanted_numbers
from sapwood.removal.widths import Expectation


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
class ScalarChange:
    """A number in the code that follows a pruned width, as attention's ``1 / sqrt(width)`` does.

    Attributes:
        call: The call that reads it.
        factor: What the call's first tensor has to be multiplied by to undo the change.
    """

    call: Call
    factor: float


@dataclass(frozen=True)
class Followed:
    """How a compact model ran.

    Attributes:
        divergence: Where its sizes first differ from the plan, or None.
        strayed: Where it first made another call than the dense model, or None: a sign that a number in the code does
            not fit, or harmless.
        scalars: Numbers in its code that differ from the dense model's.
    """

    divergence: Divergence | None
    scalars: tuple[ScalarChange, ...]
    strayed: Divergence | None

    @property
    def first(self) -> Divergence | None:
        """The earliest sign of trouble."""
        return self.strayed or self.divergence


class _DivergedError(Exception):
    def __init__(self, divergence: Divergence) -> None:
        super().__init__(str(divergence))
        self.divergence = divergence


class _TwinFollower(Replay):
    """Compares call by call; stops comparing where the compact model takes another way through its code."""

    def __init__(self, analysis: Analysis, expectation: Expectation, decisions: Decisions) -> None:
        super().__init__(analysis.graph.calls, keeps_all=True)
        self._unread = analysis.graph.unread
        self._decisions = decisions
        self._expectation = expectation
        self.strayed: Divergence | None = None
        self.scalars: list[ScalarChange] = []

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call, and raises where its numbers or sizes are not those that are due."""
        if call.index in self._unread:
            return func(*args, **kwargs)
        self._compare_numbers(call, args)
        self._compare_scalars(call, args, kwargs)
        chosen = self._decisions.again(call.index, (args, kwargs))
        result = func(*args, **kwargs) if chosen is None else chosen
        self._compare_shapes(call, result)
        return result

    def stray(self, call: Call, func: Any) -> None:
        """Remembers where it happened: a sign that a number does not fit, or harmless."""
        self.strayed = Divergence(call, [self._expectation.shape(ref) for ref in call.tensor_outputs()], str(func))

    def _compare_numbers(self, call: Call, args: Any) -> None:
        wanted, found = wanted_numbers(call, self._expectation), numbers(call, args)
        if found != wanted:
            shapes = [self._expectation.shape(ref) for ref in call.tensor_outputs()]
            raise _DivergedError(Divergence(call, shapes, f"{found} where {wanted} is due"))

    def _compare_scalars(self, call: Call, args: Any, kwargs: Any) -> None:
        wanted = call.floats
        found = tuple(leaf for leaf in leaves((args, kwargs)) if type(leaf) is float) if wanted else ()
        if wanted != found and len(wanted) == len(found) == 1 and 0.0 not in (wanted[0], found[0]):
            factor = wanted[0] / found[0] if call.facts.scales != "over" else found[0] / wanted[0]
            self.scalars.append(ScalarChange(call, factor))

    def _compare_shapes(self, call: Call, result: Any) -> None:
        found = [tuple(leaf.shape) for leaf in leaves(result) if isinstance(leaf, Tensor)]
        wanted = [self._expectation.shape(ref) for ref in call.outputs if isinstance(ref, TensorRef)]
        if found != wanted:
            raise _DivergedError(Divergence(call, wanted, found))


def follow(model: nn.Module, structure: Structure, analysis: Analysis, expectation: Expectation) -> Followed:
    """Runs the compact ``model`` and compares it with the recorded run, call by call."""
    follower = _TwinFollower(analysis, expectation, structure.decisions)
    divergence = None
    try:
        with leaving_no_trace(model), plain_kernels(model), follower:
            run_model(model, structure.inputs)
    except _DivergedError as diverged:
        divergence = diverged.divergence
    except Exception as error:  # the model's own code may fail in any way while its widths do not fit
        call = follower.current
        wanted = [expectation.shape(ref) for ref in call.tensor_outputs()]
        divergence = Divergence(call, wanted, f"{type(error).__name__}: {error}")
    return Followed(divergence, tuple(follower.scalars), follower.strayed)
