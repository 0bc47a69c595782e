"""A convolution on the engine, as a module that takes the place of a :class:`torch.nn.Conv2d`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.arguments import described
from sapwood.errors import EngineError
from sapwood.export import plain_copy
from sapwood.runtime.engine.compiled import CompiledModel, compile
from sapwood.runtime.engine.inputs import PIXELS, refuse_tracing


class SparseConv2d(nn.Module):
    """A convolution that skips zeros: the weights of a trained :class:`torch.nn.Conv2d`, on the engine.

    It is for evaluation: weights are read once, and no gradient flows. Each call brings the picture into the engine's
    layout and back; a whole network keeps that layout (:func:`sapwood.runtime.compile`). Each size of picture is
    compiled when it comes for the first time. ``torch.compile`` and ``torch.export`` see one call of the operator
    ``sapwood::sparse_conv2d``, which is good in the process that made it.

    Args:
        conv: Read once; masks of ``torch.nn.utils.prune`` count.
        threads: Of a call; all cores unless given.
        tune: As for :func:`sapwood.runtime.compile`.

    Raises:
        EngineError: If ``conv`` is no convolution of maps.
    """

    def __init__(self, conv: nn.Conv2d, *, threads: int | None = None, tune: bool = False) -> None:
        super().__init__()
        self._threads, self._tune = threads, tune
        if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            raise EngineError(f"conv is {described(conv)}; expected a torch.nn.Conv2d")
        self._conv = (plain_copy(conv).cpu().float(),)  # in a tuple: no submodule, nothing to train
        self._channels = conv.in_channels
        self._compiled: dict[tuple[int, ...], CompiledModel] = {}
        self._number = next(_NUMBERS)
        _MODULES[self._number] = self

    def __reduce__(self) -> tuple[Any, ...]:
        """Another one of the same convolution, for copies and pickles: it has another number, and is compiled anew."""
        state = {"training": self.training}
        return partial(SparseConv2d, threads=self._threads, tune=self._tune), self._conv, state

    def forward(self, inputs: Tensor) -> Tensor:  # shapes: (B, C, H, W) -> (B, O, H', W')
        """Runs the pictures of a batch one after the other.

        Raises:
            EngineError: If the shape does not fit, the engine has no such convolution, or weights are NaN or infinite.
            EngineMissingError: If the engine is not built.
        """
        refuse_tracing("a sparse convolution")
        self._check(inputs)
        found: Tensor = sparse_conv2d(inputs, self._number)
        return found

    def _check(self, inputs: Any) -> None:
        expected = f"a floating-point tensor of shape (B, {self._channels}, H, W)"
        if not isinstance(inputs, Tensor):
            raise EngineError(f"an input of type {type(inputs).__name__}; expected {expected}")
        if not inputs.is_floating_point():
            hint = f": {PIXELS}" if inputs.dtype is torch.uint8 else ""
            raise EngineError(f"an input of {inputs.dtype}; expected {expected}{hint}")
        if inputs.dim() != 4 or inputs.shape[1] != self._channels:
            raise EngineError(f"an input of shape {tuple(inputs.shape)}; expected {expected}")

    def run(self, inputs: Tensor) -> Tensor:
        """Runs pictures on the engine; see :meth:`forward`."""
        self._check(inputs)
        size = tuple(inputs.shape[2:])
        if size not in self._compiled:
            example = inputs[:1].detach().to("cpu").float()
            job = _clean().submit(compile, self._conv[0], example, threads=self._threads, tune=self._tune)
            self._compiled[size] = job.result()
        found: Tensor = self._compiled[size](inputs)
        return found.to(inputs.device, inputs.dtype)

    def shaped(self, inputs: Tensor) -> Tensor:
        """Returns a tensor of the shape that these pictures give, whatever is in it."""
        conv = self._conv[0]
        assert isinstance(conv, nn.Conv2d)
        weight = inputs.new_empty(conv.weight.shape)
        return F.conv2d(inputs, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


@cache
def _clean_of(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="sapwood-compile")


def _clean() -> ThreadPoolExecutor:
    """Where convolutions are compiled: within an operator PyTorch dispatches otherwise, and traces see other operators.

    A child of ``fork`` has one of its own: its parent's has no thread there.
    """
    return _clean_of(os.getpid())


_NUMBERS = count()
_MODULES: WeakValueDictionary[int, SparseConv2d] = WeakValueDictionary()


# The schema in words: annotations are text here.
@torch.library.custom_op("sapwood::sparse_conv2d", mutates_args=(), schema="(Tensor inputs, int module) -> Tensor")
def sparse_conv2d(inputs: Tensor, module: int) -> Tensor:
    """The operator that :class:`SparseConv2d` calls.

    Args:
        inputs: Shape (B, C, H, W).
        module: The number of the module.

    Raises:
        EngineError: If that module is of another process, or gone.
    """
    return _module(module).run(inputs)


@sparse_conv2d.register_fake
def _shaped(inputs: Tensor, module: int) -> Tensor:
    return _module(module).shaped(inputs)


def _module(number: int) -> SparseConv2d:
    module = _MODULES.get(number)
    if module is None:
        raise EngineError(
            f"sparse convolution {number} is not in this process; a compiled graph is good where it was made"
        )
    return module
