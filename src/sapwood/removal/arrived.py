"""Which elements of what a call reads arrive at given elements of what it makes: a walk back through moves.

Layers that are alike ask the same again and again, each on as many flags as a map has elements. So what was found is
kept, for flags that were found here themselves: a walk through the second of such layers meets the flags of the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sapwood.ops import Call, TensorRef, leaves, moved, name_of

FoundT = TypeVar("FoundT")


class Arrived:
    """Answers about flags, one for each element of a tensor; the flags given and returned are not to be changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Any] = {}
        self._own: dict[int, Tensor] = {}

    def every(self, shape: Sequence[int]) -> Tensor:
        """Flags of which all are set."""
        return self._once(("every", *shape), lambda: torch.ones(tuple(shape), dtype=torch.bool))

    def all_of(self, wanted: Tensor) -> bool:
        """Whether all flags are set."""
        return bool(self._asked(("all",), wanted, lambda: bool(wanted.all())))

    def any_of(self, wanted: Tensor) -> bool:
        """Whether any flag is set."""
        return bool(self._asked(("any",), wanted, lambda: bool(wanted.any())))

    def any_along(self, wanted: Tensor, dim: int) -> Tensor:
        """For each index of a dimension, whether anything that stands there is wanted."""

        def found() -> Tensor:
            if self.all_of(wanted):  # as it mostly is, and then need not be turned in memory
                return torch.ones(wanted.shape[dim], dtype=torch.bool)
            return wanted.movedim(dim, 0).reshape(wanted.shape[dim], -1).any(1)

        return self._kept(self._asked(("along", dim), wanted, found))

    def wanted_of(
        self, call: Call, source: TensorRef, made: TensorRef, wanted: Tensor, known: Mapping[int, Tensor]
    ) -> Tensor:
        """Which elements of ``source`` arrive at the elements ``wanted`` of what ``call`` makes; all if in doubt."""

        def found() -> Tensor:
            return self._kept(self._wanted_of(call, source, made, wanted, known))

        if any(ref.id in known for ref in call.tensor_inputs()):
            return found()
        shapes = tuple(
            (leaf.shape, leaf == source) if isinstance(leaf, TensorRef) else (type(leaf).__name__, str(leaf))
            for leaf in leaves((call.args, dict(call.kwargs)))
        )
        places = tuple(ref == made for ref in call.outputs)
        return self._asked((name_of(call.op), source.shape, places, shapes), wanted, found)

    def _wanted_of(
        self, call: Call, source: TensorRef, made: TensorRef, wanted: Tensor, known: Mapping[int, Tensor]
    ) -> Tensor:
        if call.facts.spreads == "each":
            return self.every(source.shape) if self.all_of(wanted) else _unbroadcast(wanted, source.shape)
        if call.facts.reshapes and call.args[0] == source and wanted.numel() == math.prod(source.shape):
            return wanted.reshape(source.shape)
        if call.facts.turns and call.args[0] == source and self.all_of(wanted):
            return self.every(source.shape)
        labels = torch.arange(1, math.prod(source.shape) + 1).reshape(source.shape)
        try:
            results = _labelled(call, source, labels, known)
            arrived = next(
                value
                for ref, value in zip(
                    call.outputs, results if isinstance(results, (list, tuple)) else [results], strict=True
                )
                if ref == made
            )
        except Exception:  # it reads more than that tensor and what is known
            return self.every(source.shape)
        found = np.zeros(labels.numel() + 1, dtype=np.bool_)
        found[(arrived if self.all_of(wanted) else arrived[wanted]).numpy()] = True  # many times as fast as PyTorch
        return torch.from_numpy(found[1:]).reshape(source.shape)

    def _kept(self, flags: Tensor) -> Tensor:
        """Keeps flags alive, so that no others have their identity."""
        self._own[id(flags)] = flags
        return flags

    def _once(self, key: tuple[Any, ...], make: Callable[[], Tensor]) -> Tensor:
        if key not in self._known:
            self._known[key] = self._kept(make())
        return self._known[key]  # type: ignore[no-any-return]

    def _asked(self, question: tuple[Any, ...], wanted: Tensor, answer: Callable[[], FoundT]) -> FoundT:
        """The answer to a question about flags, which is kept where the flags are."""
        if id(wanted) not in self._own:
            return answer()
        key = (*question, id(wanted))
        if key not in self._known:
            self._known[key] = answer()
        return self._known[key]  # type: ignore[no-any-return]


def _labelled(call: Call, source: TensorRef, labels: Tensor, known: Mapping[int, Tensor]) -> Any:
    """What a move makes of labels in the place of ``source``, and of zeros in that of other tensors."""
    if isinstance(call.args[0], (list, tuple)):
        pieces = [labels if one == source else labels.new_zeros(one.shape) for one in call.args[0]]
        return call.op(pieces, *call.args[1:], **dict(call.kwargs))
    if not (call.facts.moves or call.facts.spreads == "moved"):
        raise ValueError(f"{call} moves nothing")
    return moved(call, labels, known)


def _unbroadcast(wanted: Tensor, shape: Sequence[int]) -> Tensor:
    """The elements of a tensor of ``shape`` that stand over those ``wanted`` when it is broadcast."""
    while wanted.dim() > len(shape):
        wanted = wanted.any(0)
    for dim, size in enumerate(shape):
        if size == 1 and wanted.shape[dim] != 1:
            wanted = wanted.any(dim, keepdim=True)
    return wanted
