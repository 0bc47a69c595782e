"""The model to prune, as the proof runs it."""

from __future__ import annotations

from functools import cached_property

from torch import nn

from sapwood.graph import Structure, with_values, without_values
from sapwood.models import check_suited, quieten_, wide_copy, widened
from sapwood.removal.difference import lively_, telling
from sapwood.types import ExampleInputs


class Dense:
    """The model to prune, in float64 and evaluation mode; copied when values are needed for the first time."""

    def __init__(self, model: nn.Module, inputs: ExampleInputs) -> None:
        check_suited(model)
        self._model = model
        self.inputs = as_float64(inputs)

    @cached_property
    def model(self) -> nn.Module:
        """The copy; read only."""
        return quieten_(wide_copy(self._model).eval())

    def structure(self, *, values: bool) -> Structure:
        """A recorded run, on shapes alone where the code allows it and ``values`` does not ask for more."""
        found = None if values else without_values(self._model, self.inputs)
        if found is not None:
            return found
        structure = with_values(self.model, self.inputs)
        if structure.graph.reads_values and not telling(list(structure.outputs)):
            lively_(self.model)
            structure = with_values(self.model, self.inputs)
        return structure


def as_float64(inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs with floating types widened."""
    return widened(inputs)  # type: ignore[no-any-return]
