"""A run in which nothing is computed that depends on the inputs: all calls of a model, for the price of its code.

What the code makes of weights and numbers alone is made as ever: sizes and positions may be worked out in tensors. What
follows from the inputs has a shape, a type and a device, and no values; code that asks for one fails, so that nothing
is recorded that hangs on values which are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sapwood.ops import CallMode, ShapesOnly, leaves, mapped, name_of


class ValuesNeededError(RuntimeError):
    """A run asked for values that it does not have."""


class Valueless(Tensor):
    """A tensor without values that says it is on the device where they would be.

    It has no memory: PyTorch refuses to hand it out as an array or a list.
    """

    shapes: Tensor
    """What stands for it on the ``meta`` device."""

    @staticmethod
    def of(shapes: Tensor, device: torch.device) -> Valueless:
        """Of what a tensor of the ``meta`` device says."""
        found: Valueless = torch.Tensor._make_wrapper_subclass(
            Valueless,
            shapes.shape,
            strides=shapes.stride(),
            storage_offset=shapes.storage_offset(),
            dtype=shapes.dtype,
            layout=shapes.layout,
            device=device,
        )
        found.shapes = shapes
        return found

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as a plain tensor's

    def data_ptr(self) -> int:
        """Refuses: there is no memory to read."""
        raise ValuesNeededError("the place in memory of a tensor without values")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuses: outside of the run it is of no use."""
        raise ValuesNeededError(f"{func} on a tensor without values")


@contextmanager
def valueless() -> Iterator[Callable[[Tensor], Tensor]]:
    """Within it, calls on valueless tensors are answered by PyTorch's rules for shapes, others are made as ever.

    Yields:
        What takes the values from an input.

    Raises:
        ValuesNeededError: From a call whose result, or what it changes, cannot be told without values.

    Examples:
        >>> with valueless() as hollow, torch.no_grad():
        ...     found = torch.nn.Linear(3, 2)(hollow(torch.ones(1, 3)))
        >>> found.shape, found.device
        (torch.Size([1, 2]), device(type='cpu'))
    """
    mode = _WithoutValues()
    with ShapesOnly(), mode:
        yield mode.hollow


class _WithoutValues(CallMode):
    """Sends calls on valueless tensors to the ``meta`` device, and brings back what they return."""

    def hollow(self, tensor: Tensor) -> Tensor:
        """A tensor's shape."""
        return Valueless.of(_shapes_of(tensor), tensor.device)

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call, or works out what it would return."""
        given = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = [leaf for leaf in given if isinstance(leaf, Valueless)]
        if not known:
            return self.pass_on(func, args, kwargs)
        devices = {one.device for one in given if one.dim()} or {given[0].device}
        if len(devices) > 1:
            raise ValuesNeededError(f"{func} on tensors of several devices")
        if func._schema.is_mutable and any(not isinstance(one, Valueless) for one in _changed(func, args, kwargs)):
            raise ValuesNeededError(f"{func} writes what depends on the inputs into a tensor that does not")
        (device,) = devices
        before = {id(one.shapes): (one, one.shapes.shape, one.shapes.stride()) for one in known}

        def asked(leaf: Any) -> Any:
            if isinstance(leaf, torch.device):
                if leaf != device:
                    raise ValuesNeededError(f"{func} brings a tensor to another device")
                return torch.device("meta")
            return _shapes_of(leaf) if isinstance(leaf, Tensor) else leaf

        def answered(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return before[id(leaf)][0] if id(leaf) in before else Valueless.of(leaf, device)

        result = self.pass_on(func, mapped(asked, args), mapped(asked, kwargs))
        if any(one.shapes.shape != shape or one.shapes.stride() != stride for one, shape, stride in before.values()):
            raise ValuesNeededError(f"{name_of(func)} changes the shape of a tensor in place")
        return mapped(answered, result)


def _shapes_of(tensor: Tensor) -> Tensor:
    """What stands for a tensor on the ``meta`` device."""
    if isinstance(tensor, Valueless):
        return tensor.shapes
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _changed(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that a call writes to."""
    arguments = func._schema.arguments
    given = [*zip(arguments, args, strict=False), *((one, kwargs[one.name]) for one in arguments if one.name in kwargs)]
    written = [value for one, value in given if one.alias_info is not None and one.alias_info.is_write]
    return [leaf for leaf in leaves(written) if isinstance(leaf, Tensor)]
