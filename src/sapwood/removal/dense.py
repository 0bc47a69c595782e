"""The model to prune, as the proof runs it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sapwood.graph import Structure, explaining_inputs, with_values, without_values
from sapwood.models import copy_model
from sapwood.removal.difference import lively_, telling
from sapwood.types import ExampleInputs


class Dense:
    """The model to prune, in float64 and evaluation mode; copied when values are needed for the first time."""

    def __init__(self, model: nn.Module, inputs: ExampleInputs) -> None:
        self._model, self._given = model, inputs
        self.inputs = as_float64(inputs)

    @cached_property
    def model(self) -> nn.Module:
        """The copy; read only."""
        return copy_model(self._model).eval().to(torch.float64)

    def structure(self, *, values: bool) -> Structure:
        """A recorded run, on shapes alone where the code allows it and ``values`` does not ask for more."""
        found = None if values else without_values(self._model, self.inputs)
        if found is not None:
            return found
        with explaining_inputs(self._model, self._given):
            structure = with_values(self.model, self.inputs)
        if structure.graph.reads_values and not telling(list(structure.outputs)):
            lively_(self.model)
            structure = with_values(self.model, self.inputs)
        return structure


def as_float64(inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs with floating types widened."""

    def convert(leaf: Any) -> Any:
        return leaf.to(torch.float64) if isinstance(leaf, Tensor) and leaf.dtype.is_floating_point else leaf

    return tree_map(convert, inputs)  # type: ignore[no-any-return]
