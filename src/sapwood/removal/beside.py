"""Runs the compact model beside the recorded run, to find the first call that is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sapwood.graph import Analysis, Decisions, Structure, leaving_no_trace, plain_kernels, run_model
from sapwood.ops import Call, TensorRef, same_op
from sapwood.ops.nested import leaves
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


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Compares call by call; stops comparing where the compact model takes another way through its code."""

    def __init__(self, analysis: Analysis, expectation: Expectation, decisions: Decisions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._decisions = decisions
        self.calls = analysis.graph.calls
        self.next = 0
        self._expectation = expectation
        self.strayed: Divergence | None = None
        self._kept_alive: list[Any] = []
        self.scalars: list[ScalarChange] = []

    @property
    def current(self) -> Call:
        """The recorded call that comes next."""
        return self.calls[min(self.next, len(self.calls) - 1)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = self.current
        if self.strayed is None and not same_op(call, func):
            self.strayed = Divergence(call, [self._expectation.shape(ref) for ref in call.tensor_outputs()], str(func))
        if self.strayed is None:
            self._compare_numbers(call, args)
            self._compare_scalars(call, args, kwargs or {})
        chosen = self._decisions.again(call.index, (args, kwargs or {})) if self.strayed is None else None
        result = func(*args, **(kwargs or {})) if chosen is None else chosen
        self._kept_alive.append(result)  # as the recorder does: PyTorch detaches a fresh tensor that is held elsewhere
        if self.strayed is None:
            self._compare_shapes(call, result)
            self.next += 1
        return result

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
    follower = _Follower(analysis, expectation, structure.decisions)
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
