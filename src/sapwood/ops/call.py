"""A recorded run: the ATen calls of a model, with tensors named by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten


@dataclass(frozen=True)
class TensorRef:
    """Stands for one tensor of the recorded run.

    Attributes:
        id: Number of the tensor; the same tensor object always has the same number.
        shape: Its sizes.
        dtype: Its element type.
    """

    id: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Call:
    """One ATen call.

    Attributes:
        index: Position in the run, from 0.
        op: The operator, overload included.
        args: Positional arguments; tensors are :class:`TensorRef`.
        kwargs: Keyword arguments; tensors are :class:`TensorRef`.
        outputs: What it returned, flat; anything but tensors is kept as it is.
        modules: Names of the modules that were running, outermost first; ``""`` is the model itself.
        location: ``file:line`` of the model's code that made the call.
    """

    index: int
    op: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[Any, ...]
    modules: tuple[str, ...]
    location: str

    @property
    def name(self) -> str:
        """The operator's name without its overload: ``"aten.convolution"``."""
        return str(self.op.overloadpacket)

    @property
    def module(self) -> str:
        """The innermost module that was running."""
        return self.modules[-1] if self.modules else ""

    def tensor_inputs(self) -> list[TensorRef]:
        """All tensors among the arguments, in order."""
        return [leaf for leaf in tree_flatten((self.args, dict(self.kwargs)))[0] if isinstance(leaf, TensorRef)]

    def tensor_outputs(self) -> list[TensorRef]:
        """All tensors among the results, in order."""
        return [leaf for leaf in self.outputs if isinstance(leaf, TensorRef)]

    def __str__(self) -> str:
        return f"{self.name} in module {self.module or '(the model)'!r} at {self.location}"


@dataclass(frozen=True)
class Graph:
    """A recorded run.

    Attributes:
        calls: Every ATen call, in order.
        inputs: The tensors of the example inputs.
        outputs: The tensors that the model returned.
        parameters: Number of a tensor -> the parameter names it goes by (more than one where it is shared).
        buffers: Number of a tensor -> the buffer names it goes by.
        constants: Tensors that neither a call made nor the model owns (attributes that are no buffers, closures).
    """

    calls: tuple[Call, ...]
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    parameters: Mapping[int, tuple[str, ...]]
    buffers: Mapping[int, tuple[str, ...]]
    constants: tuple[TensorRef, ...]
