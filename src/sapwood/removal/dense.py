"""The model to prune, as the proof runs it."""

from __future__ import annotations

import copy
import os
import sys
import traceback
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.graph import Outputs, Structure, explaining_inputs, mark_, run_model, with_values, without_values
from sapwood.models import (
    Plan,
    apply_plan,
    check_suited,
    copy_model,
    evaluating_,
    named_things,
    quieten_,
    wide_copy,
    widened,
)
from sapwood.removal.difference import lively_, telling
from sapwood.types import ExampleInputs


class Dense:
    """The model to prune, in float64 and evaluation mode; copied when values are needed for the first time.

    Attributes:
        inputs: Its example inputs in float64.
        counted: Which of its outputs count.
        most: How many boxes it kept wherever it thins them out, where its parameters have other values now.
        training: The modules with which it runs in training mode, too.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: ExampleInputs,
        outputs: Outputs | None = None,
        *,
        training: Collection[str] = (),
    ) -> None:
        check_suited(model)
        self.training = frozenset(training)
        self._model = model
        self._given = inputs
        self.counted = outputs
        self.most: tuple[int, ...] | None = None
        self.inputs = as_float64(inputs)
        self._shared: list[Any] = []
        self._lively = False
        self._cut: tuple[Plan, nn.Module] | None = None

    @cached_property
    def model(self) -> nn.Module:
        """The copy; read only."""
        return self._widened(self._model, self._shared)

    def _widened(self, model: nn.Module, shared: list[Any] | None = None) -> nn.Module:
        return mark_(quieten_(evaluating_(wide_copy(model, shared))), self.training)

    @property
    def given(self) -> nn.Module:
        """The model as it was handed over."""
        return self._model

    @property
    def shared(self) -> dict[str, str]:
        """What a copy shares with the model, as it cannot be copied: names, and the classes of what they name."""
        self.model  # noqa: B018 - made when it is first asked for, which finds out
        return named_things(self._model, self._shared)

    def compact(self, plan: Plan) -> nn.Module:
        """What a plan makes of the copy.

        A plan that does nothing but cut makes the same to the last bit of the model as it was handed over, whose
        tensors take half of the memory: then what is proven is what :meth:`cut` returns, widened.
        """
        if self._lively or plan.rescales or plan.gains or plan.merges or plan.shifts:
            return apply_plan(self.model, plan)
        self._cut = plan, _applied(self._model, plan)
        return self._widened(self._cut[1])

    def cut(self, plan: Plan) -> nn.Module:
        """What a plan makes of the model as it was handed over; what was proven last, where that is of this plan."""
        made, self._cut = self._cut, None
        return made[1] if made is not None and made[0] is plan else _applied(self._model, plan)

    def in_training(self, names: Collection[str]) -> Dense:
        """The same model, that runs with some modules in training mode, too."""
        twin = copy.copy(self)
        vars(twin).pop("model", None)
        twin.training, twin.most = frozenset(names), None
        twin._shared, twin._lively, twin._cut = [], False, None
        return twin

    def structure(self, *, values: bool, training_too: bool = False) -> Structure:
        """A recorded run, on shapes alone where the code allows it and ``values`` does not ask for more.

        With ``training_too``, of a model that leaves parameters unread both runs, where they are recorded on shapes.
        """
        modes = None if training_too else self.training
        found = None if values else without_values(self._model, self.inputs, self.counted, training=modes)
        if found is not None:
            return found
        with explaining_inputs(self._model, self._given):
            structure = self._recorded()
        if structure.graph.reads_values and not telling(list(structure.outputs)):
            lively_(self.model)
            self._lively = True
            self.most = tuple(structure.decisions.kept)
            structure = with_values(self.model, self.inputs, self.counted, most=self.most)
        return structure

    def _recorded(self) -> Structure:
        """A run on values, or what to do where the model has none in float64."""
        compiler = _has_compiler()
        try:
            return with_values(self.model, self.inputs, self.counted)
        except ConfigError:
            raise
        except Exception as error:  # the model's own code may fail in any way
            if _has_compiler() and not compiler:  # loaded on the way, it cannot be told to leave code as it is
                return self._recorded()
            if not self._runs_as_it_is():
                raise
            raise ConfigError(
                "the model runs as it is, but not in float64, in which the result is proven: "
                f"{type(error).__name__} at {_place(error)}: {error}; expected code that takes the type of what it is "
                "given (x.dtype) and the layers of the model itself"
            ) from error

    def _runs_as_it_is(self) -> bool:
        model = copy_model(self._model).eval()
        try:
            with torch.no_grad():
                run_model(model, self._given)
        except Exception:  # then the first error tells more
            return False
        return True


def _applied(model: nn.Module, plan: Plan) -> nn.Module:
    with torch.no_grad():
        return apply_plan(model, plan)


def _has_compiler() -> bool:
    return "torch._dynamo" in sys.modules


def _place(error: Exception) -> str:
    """``file:line`` of the user's code, or of whoever's the error is."""
    own = (str(Path(torch.__file__).parent) + os.sep, str(Path(__file__).parents[1]) + os.sep)
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(own)] or list(frames)
    return f"{Path(outside[-1].filename).name}:{outside[-1].lineno}"


def as_float64(inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs with floating types widened."""
    return widened(inputs)  # type: ignore[no-any-return]
