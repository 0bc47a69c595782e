"""How far a compact model is from the untouched one, measured when somebody looks: most who prune never do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from typing import Any, overload

import torch
from torch import Tensor, nn

from sapwood.graph import output_tensors, plain_kernels, run_model
from sapwood.models import Plan, apply_plan, named_tensors, quieten_, wide_type, widen_
from sapwood.models.computed import refresh_masked
from sapwood.models.copying import PLAIN_TENSORS, copy_into
from sapwood.removal.difference import relative_error
from sapwood.types import ExampleInputs


def finite_error(found: list[Tensor], whole: list[Tensor], counted: Sequence[bool]) -> float | None:
    """The relative error of the outputs that count; None where that tells nothing."""
    measured = relative_error(list(compress(found, counted)), list(compress(whole, counted)))
    return measured if math.isfinite(measured) else None


@dataclass(frozen=True)
class _Value:
    """A tensor of the model as it is now: what it is made of, and how often that was written to."""

    tensor: Tensor
    value: Tensor
    version: int

    @staticmethod
    def of(tensor: Tensor) -> _Value:
        return _Value(tensor, tensor.detach(), tensor._version)

    @property
    def is_plain(self) -> bool:
        return type(self.tensor) in PLAIN_TENSORS and self.tensor.is_leaf

    def begins(self) -> Tensor:
        """Its first values in memory: what writes to ``.data`` is counted by nobody."""
        return self.value.as_strided((min(self.value.numel(), FIRST),), (1,))

    def wide(self) -> Tensor:
        wide = self.value.to(wide_type(self.value.dtype), copy=True)
        return nn.Parameter(wide, self.tensor.requires_grad) if isinstance(self.tensor, nn.Parameter) else wide


FIRST = 4
"""Values of each tensor that are looked at."""


class Untouched:
    """The model given, as it was when it was pruned; its values are not copied before somebody asks.

    Args:
        model: The model given. It may be converted later; where its values are written to, nothing can be told.
        inputs: Example inputs in float64.
        found: What the compact model returns on them, or the plan that makes it.
        counted: Which of that counts.
    """

    def __init__(
        self, model: nn.Module, inputs: ExampleInputs, found: list[Tensor] | Plan, counted: Sequence[bool]
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._found = found
        self._counted = tuple(counted)
        self._values = [_Value.of(tensor) for _, tensor in named_tensors(model)]
        self._begin = self._beginnings()

    def _beginnings(self) -> list[Tensor]:
        by_type: dict[Any, list[Tensor]] = {}
        for one in self._values:
            if one.is_plain and one.value.layout is torch.strided and one.value.numel():
                by_type.setdefault((one.value.dtype, one.value.device), []).append(one.begins())
        return [torch.cat(begins) for begins in by_type.values()]

    def _is_as_it_was(self) -> bool:
        pairs = zip(self._begin, self._beginnings(), strict=True)
        return all(one.value._version == one.version for one in self._values) and all(
            torch.equal(before.nan_to_num(), now.nan_to_num()) for before, now in pairs
        )

    def __call__(self) -> float | None:
        """The largest difference over the largest output; None where it cannot be told any more."""
        with suppress(Exception), torch.no_grad():  # somebody may have changed the model in any way
            if not self._is_as_it_was():
                return None
            memo: dict[int, Any] = {id(one.tensor): one.wide() for one in self._values if one.is_plain}
            twin = quieten_(widen_(copy_into(memo, self._model), memo).eval())
            refresh_masked(twin)
            found = self._found
            if isinstance(found, Plan):
                found = self._run(apply_plan(twin, found))
            return finite_error(found, self._run(twin), self._counted)
        return None

    def _run(self, model: nn.Module) -> list[Tensor]:
        with plain_kernels(model):
            return output_tensors(run_model(model, self._inputs))


class MeasuredWhenAsked:
    """A field that holds a figure, or what measures it when it is looked at for the first time."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = f"_{name}"

    @overload
    def __get__(self, one: None, kind: type) -> None: ...

    @overload
    def __get__(self, one: object, kind: type) -> float | None: ...

    def __get__(self, one: object | None, kind: type) -> float | None:
        if one is None:  # the default of the field
            return None
        held = vars(one)
        if callable(held[self._key]):
            held[self._key] = held[self._key]()
        return held[self._key]  # type: ignore[no-any-return]

    def __set__(self, one: object, value: float | Callable[[], float | None] | None) -> None:
        vars(one)[self._key] = value
