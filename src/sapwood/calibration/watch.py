"""Watching what convolutions and linear modules read, and the gradient that comes back through each of them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sapwood.calibration.patches import module_patches
from sapwood.errors import ConfigError
from sapwood.models import named_modules

CONSUMERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""The modules whose inputs have statistics."""

PLACES = 128
"""Places a sample at which patches are taken."""

Seen: TypeAlias = Callable[[str, Tensor], None]
"""Called with the name of a module and a tensor of shape (rows, ..., C)."""


def consumers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of ``model`` whose inputs have statistics, by (first) name.

    Examples:
        >>> list(consumers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))))
        ['0', '2']
    """
    return {name: module for name, module in named_modules(model) if isinstance(module, CONSUMERS)}


@contextmanager
def watching_weights(model: nn.Module, see_patches: Seen | None, see_gradient: Seen | None) -> Iterator[None]:
    """Within it, tells of what each consumer multiplies its weights with, and of the gradients by its outputs.

    Args:
        model: Its hooks are as before afterwards.
        see_patches: Given patches at :data:`PLACES` places a sample, shape (rows, groups, n).
        see_gradient: Given the gradient in the backward pass, channels last.
    """
    handles = []
    for number, (name, module) in enumerate(consumers(model).items()):
        if see_patches is not None:
            handles.append(module.register_forward_pre_hook(_patch_hook(name, number, see_patches), with_kwargs=True))
        if see_gradient is not None:
            handles.append(module.register_forward_hook(_gradient_hook(name, see_gradient)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _patch_hook(name: str, number: int, see: Seen) -> Callable[..., Any]:
    def before_forward(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        source = args[0] if args else kwargs["input"]
        found = module_patches(module, source.detach(), PLACES, number)
        if found is not None:
            see(name, found)

    return before_forward


def _gradient_hook(name: str, see: Seen) -> Callable[..., Any]:
    def after_forward(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        del args
        if not output.requires_grad:
            output.requires_grad_()
        output.register_hook(lambda gradient: see(name, channels_last(module, gradient)))  # type: ignore[no-untyped-call]
        return output.clone()  # what is changed in place afterwards is no leaf

    return after_forward


@contextmanager
def watching(model: nn.Module, see_input: Seen | None, see_gate: Seen | None) -> Iterator[None]:
    """Within it, tells of every input of a consumer, and of every derivative by its gates: zeros, and in the backward
    pass what is to be added to them.

    Args:
        model: Its hooks are as before afterwards.
        see_input: Given each input, channels last, shape (rows, ..., C).
        see_gate: Given input times gradient, summed over all dimensions but the first and the channels; (rows, C).
    """
    if see_input is None and see_gate is None:
        yield
        return
    handles = [
        module.register_forward_pre_hook(_hook(name, module, see_input, see_gate), with_kwargs=True)
        for name, module in consumers(model).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, module: nn.Module, see_input: Seen | None, see_gate: Seen | None) -> Callable[..., Any]:
    def before_forward(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = args[0] if args else kwargs["input"]
        if see_input is not None:
            see_input(name, channels_last(module, source.detach()))
        if see_gate is None:
            return None
        view = _gated(name, module, source, see_gate)
        return ((view, *args[1:]), kwargs) if args else (args, {**kwargs, "input": view})

    return before_forward


def _gated(name: str, module: nn.Module, source: Tensor, see_gate: Seen) -> Tensor:
    """A view of ``source`` for this module alone, whose gradient is that through this module alone."""
    view = source.view_as(source)
    if not view.requires_grad:
        view.requires_grad_()
    values, version = view.detach(), source._version
    rows = channels_last(module, values)
    see_gate(name, values.new_zeros(len(rows), rows.shape[-1]))  # all there is, if the loss does not follow from it

    def after_backward(gradient: Tensor) -> None:
        if values._version != version:
            raise ConfigError(
                f"the input of {name!r} is changed in place after the module read it; expected it to stay as it was"
            )
        see_gate(name, _summed(rows, channels_last(module, gradient)))

    view.register_hook(after_backward)  # type: ignore[no-untyped-call]
    return view


def channels_last(module: nn.Module, values: Tensor) -> Tensor:  # shape: (rows, ..., C)
    """Moves the channels that ``module`` sums over to the last dimension; an input without batch gets one of size 1.

    Examples:
        >>> tuple(channels_last(nn.Conv2d(3, 8, 1), torch.zeros(2, 3, 4, 5)).shape)
        (2, 4, 5, 3)
        >>> tuple(channels_last(nn.Linear(3, 8), torch.zeros(3)).shape)
        (1, 3)
    """
    channel = -1 if isinstance(module, nn.Linear) else -len(module.kernel_size) - 1  # type: ignore[arg-type]
    if values.dim() == -channel:
        values = values[None]
    return values.movedim(channel, -1)


def _summed(values: Tensor, gradient: Tensor) -> Tensor:  # shape: (rows, C)
    products = values.detach() * gradient
    return products.sum(dim=tuple(range(1, products.dim() - 1))) if products.dim() > 2 else products


def as_samples(rows: Tensor, num_samples: int) -> Tensor | None:
    """Adds up the rows of each sample: (rows, C) becomes (num_samples, C); None where they do not come out even.

    The first dimension of a module's input counts samples, or samples and then their parts (windows, frames).

    Examples:
        >>> as_samples(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), 2)
        tensor([[3.],
                [7.]])
    """
    if len(rows) % num_samples:
        return None
    return torch.unflatten(rows, 0, (num_samples, -1)).sum(dim=1)
