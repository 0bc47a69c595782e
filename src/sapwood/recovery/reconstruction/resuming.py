"""Runs that start in the middle: what a layer reads is kept, and what led to it is not computed again.

A network is code, so a run begins at its beginning all the same. Up to a *restart*, calls are answered instead of made:
by the values that are read behind it, and by memory as it was found where nothing behind it looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sapwood.ops import Call, Graph, leaves
from sapwood.recovery.reconstruction.sites import Site

MEMORY = 1 << 30
"""Bytes of values that are kept at once, of all batches together."""


@dataclass(frozen=True)
class Restart:
    """A place in a recorded run before which nothing changes any more.

    Attributes:
        index: The first call behind it.
        live: For each tensor that is read behind it, itself or by what is a look at its memory: the call that made or
            changed it last, and which of its results it is.
    """

    index: int
    live: Mapping[int, tuple[int, int]]


@dataclass(frozen=True)
class _Blank:
    """A result at which nothing looks: how it lies in memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(values: Tensor) -> _Blank:
        return _Blank(tuple(values.shape), tuple(values.stride()), values.dtype, values.device)

    def make(self) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class Start:
    """What one batch's run had made before a restart.

    Attributes:
        index: The first call that is made again.
        results: By call: its result, blanks where nothing looks.
    """

    index: int = 0
    results: Mapping[int, Any] = field(default_factory=dict)

    def answer(self, call: Call, func: Any, args: Any, kwargs: Any, make: Callable[[Any, Any, Any], Any]) -> Any:
        """The result of a call before the restart; a copy, for what comes behind may change it in place.

        ``make`` makes a call whose result is not kept.
        """
        known = self.results.get(call.index)
        if known is None:
            return make(func, args, kwargs)
        if call.facts.in_place or func._schema.is_mutable:
            if isinstance(known, Tensor):
                args[0].copy_(known)
            return args[0]
        made = [one.make() if isinstance(one, _Blank) else one.clone() for one in leaves(known)]
        return made[0] if isinstance(known, (Tensor, _Blank)) else type(known)(made)


def find_restarts(graph: Graph, runs: Sequence[Sequence[Site]], num_pictures: int) -> list[Restart | None]:
    """For each wave the restart that its runs may leave a start at; None where that would take too much memory.

    Args:
        graph: Of the network that is solved.
        runs: The waves, in order.
        num_pictures: Of all batches.
    """
    if graph.reads_values or any(call.facts.random for call in graph.calls):
        return [None] * len(runs)
    first_read = _first_reads(graph)
    found: list[Restart | None] = []
    for number in range(len(runs)):
        unsolved = [name for wave in runs[number:] for site in wave for name in _tensors_of(site)]
        restart = _restart(graph, min(first_read.get(name, 0) for name in unsolved))
        found.append(restart if _num_bytes(graph, restart, num_pictures) <= MEMORY else None)
    return found


class Keeper:
    """Keeps, while a batch runs, what another run of it can start with.

    Args:
        restart: Where that would start.
    """

    def __init__(self, restart: Restart) -> None:
        self._restart = restart
        self._results: dict[int, Any] = {}
        self._live: dict[tuple[int, int], Tensor] = {}
        self._possible = True

    def see(self, call: Call, func: Any, args: Any, result: Any) -> None:
        """Is shown every call before the restart with its result."""
        tensors = list(leaves(result))
        plain = all(isinstance(one, Tensor) for one in tensors)
        changes = call.facts.in_place or func._schema.is_mutable
        if not plain or (changes and result is not args[0]):
            self._possible = False
            return
        for place, (ref, tensor) in enumerate(zip(call.tensor_outputs(), tensors, strict=False)):
            if self._restart.live.get(ref.id) == (call.index, place):
                self._live[call.index, place] = tensor
        if changes or not _is_free(call):
            self._results[call.index] = _blanks(result)

    def start(self) -> Start | None:
        """What there is at the restart; None if another run could differ: values are missing or share memory."""
        memory = {one.untyped_storage().data_ptr() for one in self._live.values()}
        if not self._possible or len(self._live) < len(self._restart.live) or len(memory) < len(self._live):
            return None
        results = dict(self._results)
        for (index, place), tensor in self._live.items():
            known = results[index]
            own = tensor.detach().clone()
            if isinstance(known, (Tensor, _Blank)):
                results[index] = own
            else:
                results[index] = type(known)([own if n == place else one for n, one in enumerate(known)])
        return Start(self._restart.index, results)


def _blanks(result: Any) -> Any:
    if isinstance(result, Tensor):
        return _Blank.of(result)
    return type(result)([_Blank.of(one) for one in result])


def _is_free(call: Call) -> bool:
    """Whether making the call again costs nothing: it only looks at another tensor, or is made of none."""
    return _viewed(call) is not None or not call.tensor_inputs()


def _viewed(call: Call) -> int | None:
    """The tensor that a call gives another look at; None if it makes one."""
    if call.facts.in_place or call.op._schema.is_mutable or not call.tensor_inputs():
        return None
    return call.tensor_inputs()[0].id if any(one.alias_info is not None for one in call.op._schema.returns) else None


def _tensors_of(site: Site) -> list[str]:
    """The parameters and buffers that solving a layer changes."""
    norm = site.norm
    others = [] if norm is None else [norm.weight, norm.bias, norm.mean, norm.var]
    return [site.weight, *([] if site.bias is None else [site.bias]), *others]


def _first_reads(graph: Graph) -> dict[str, int]:
    """The first call that reads a parameter or buffer, by each of its names."""
    found: dict[str, int] = {}
    named = {**graph.parameters, **graph.buffers}
    for call in graph.calls:
        for ref in call.tensor_inputs():
            for name in named.get(ref.id, ()):
                found.setdefault(name, call.index)
    return found


def _restart(graph: Graph, index: int) -> Restart:
    made: dict[int, tuple[int, int]] = {}
    behind: dict[int, int] = {}  # of a tensor that is a look at another one, that other one
    for call in graph.calls[:index]:
        viewed = _viewed(call)
        for place, ref in enumerate(call.tensor_outputs()):
            if viewed is not None:
                behind[ref.id] = behind.get(viewed, viewed)
            elif ref.id not in behind and not _is_free(call):
                made[ref.id] = (call.index, place)
    read = {ref.id for call in graph.calls[index:] for ref in call.tensor_inputs()}
    read = {behind.get(number, number) for number in read}
    return Restart(index, {number: place for number, place in made.items() if number in read})


def _num_bytes(graph: Graph, restart: Restart, num_pictures: int) -> float:
    """Of what is kept, if everything grows with the number of pictures."""
    shapes = {ref.id: ref for call in graph.calls[: restart.index] for ref in call.tensor_outputs()}
    per_run = sum(math.prod(shapes[one].shape) * shapes[one].dtype.itemsize for one in restart.live)
    recorded = max((ref.shape[0] for ref in graph.inputs if ref.shape), default=1)
    return per_run * num_pictures / max(recorded, 1)
