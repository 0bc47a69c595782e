"""Running a model on its example inputs as it would run in use, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sapwood.types import ExampleInputs


def run(model: nn.Module, example_inputs: ExampleInputs) -> Any:
    """Calls ``model`` with a tensor, a tuple of positional arguments or a dict of keyword arguments."""
    if isinstance(example_inputs, Mapping):
        return model(**example_inputs)
    if isinstance(example_inputs, tuple):
        return model(*example_inputs)
    return model(example_inputs)


def model_call(model: nn.Module, example_inputs: ExampleInputs) -> Callable[[], Any]:
    """Returns a callable that runs the model once, in eval mode and without autograd: a candidate to be timed.

    The model's training mode is as before after each call. On a GPU a call waits until the work is done.

    Args:
        model: Any module.
        example_inputs: On the model's device.

    Examples:
        >>> call = model_call(nn.Dropout(0.5), torch.ones(2))
        >>> call()
        tensor([1., 1.])
    """
    modules = tuple(model.modules())  # listed once: walking the tree would be a part of what is timed
    on_cuda = any(tensor.is_cuda for tensor in (*model.parameters(), *model.buffers()))

    def call() -> Any:
        with eval_mode(modules), torch.inference_mode():
            output = run(model, example_inputs)
        if on_cuda:
            torch.cuda.synchronize()
        return output

    return call


@contextmanager
def eval_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """All these modules in eval mode inside, each in its own mode again afterwards."""
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """PyTorch on ``threads`` threads inside."""
    before = torch.get_num_threads()
    if before == threads:  # setting it costs more than looking
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
