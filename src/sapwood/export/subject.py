"""A model on its way into a file: the copy that is converted, and the results that the file has to give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sapwood.arguments import check_example_inputs
from sapwood.errors import ConfigError, ExportError, SapwoodError
from sapwood.export.base import innermost
from sapwood.export.flat import FlatModel, mapped_tensors, plain_copy, plain_tensors, run_flat, tensors_of
from sapwood.export.numeric import FLOAT32_TOLERANCE, check_close, check_compared
from sapwood.graph import call_model
from sapwood.models import copy_model, refresh_masked
from sapwood.types import ExampleInputs

OTHER_BATCHES = (1, 3)
"""Batch sizes that a file with a dynamic batch is run with, besides the one it was made with."""


@dataclass(frozen=True)
class Subject:
    """What is converted, and what it has to be equal to.

    Attributes:
        original: A copy of the caller's model, live masks and all, in float32 on the CPU.
        model: The same in evaluation mode with its masks made permanent: what is converted.
        example_inputs: In float32 on the CPU; at least two examples where the batch is dynamic, for one is taken for a
            constant.
        output_names: One a tensor in the model's result.
        dynamic: Whether the batch is.
    """

    original: nn.Module
    model: nn.Module
    example_inputs: ExampleInputs
    output_names: tuple[str, ...]
    dynamic: bool

    @classmethod
    def of(cls, model: nn.Module, example_inputs: ExampleInputs, *, dynamic: bool) -> Subject:
        """Copies the model and runs it once for the names of its outputs; ``model`` is not touched."""
        check_example_inputs(example_inputs)
        original = copy_model(model).cpu().float()
        refresh_masked(original)  # in the type that the parameters have now, for those who read them directly
        inputs = mapped_tensors(example_inputs, _plain)
        if dynamic:
            size = _batch_of(tensors_of(inputs))
            inputs = repeated(inputs, size, max(size, 2))
        plain = plain_copy(original)
        flat = FlatModel(plain, inputs)
        with torch.no_grad(), _blaming_float32(model):
            result = call_model(plain, inputs)
        return cls(original, plain, inputs, distinct(output_names(result), flat.names), dynamic)

    @property
    def flat(self) -> FlatModel:
        """The model as a function of a flat tuple of tensors, in evaluation mode."""
        return FlatModel(self.model, self.example_inputs).eval()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors among the example inputs."""
        return tensors_of(self.example_inputs)

    def dynamic_shapes(self) -> Any:
        """For :func:`torch.export.export`: the inputs with a shape for each tensor, None for what has no batch."""
        shapes = iter(self.tensor_shapes())
        return tree_map(lambda leaf: next(shapes) if isinstance(leaf, Tensor) else None, self.example_inputs)

    def tensor_shapes(self) -> tuple[dict[int, Any] | None, ...]:
        """Of each input tensor which dimension is the batch, if it is dynamic."""
        batch, size = torch.export.Dim("batch"), _batch_of(self.tensors)
        return tuple({0: batch} if self.dynamic and has_batch(tensor, size) else None for tensor in self.tensors)

    def trials(self) -> Iterator[ExampleInputs]:
        """The inputs to compare on: the example, random ones of its shapes, and other batches where those may be."""
        generator = torch.Generator().manual_seed(0)
        random = mapped_tensors(self.example_inputs, lambda tensor: random_like(tensor, generator))
        yield self.example_inputs
        yield random
        if self.dynamic:
            for batch in OTHER_BATCHES:
                yield repeated(random, _batch_of(self.tensors), batch)

    def check(self, what: str, run: Callable[[ExampleInputs], list[Tensor]]) -> float:
        """Compares ``run`` with the original on all trials.

        Returns:
            The largest relative error.

        Raises:
            CheckFailedError: If it is beyond :data:`sapwood.export.FLOAT32_TOLERANCE`, or no trial compared anything.
        """
        errors, seen = [], []
        for inputs in self.trials():
            found = plain_tensors(run(inputs))
            wanted = run_flat(self.original, inputs)
            seen += wanted
            errors.append(check_close(what, found, wanted, FLOAT32_TOLERANCE))
        check_compared(what, seen)
        return max(errors)


def random_like(tensor: Tensor, generator: torch.Generator, *, power: float = 1.0) -> Tensor:
    """Random values of a tensor's shape and range: floats between its ends (0 and 1 if constant), all else shuffled.

    Integers and booleans are indices or choices, of which only those in the example are known to be good.

    Args:
        tensor: The example.
        generator: Draws.
        power: Of numbers that are drawn evenly from 0 to 1: above 1 most lie at the lower end, with another mean.

    Examples:
        >>> sorted(random_like(torch.tensor([7, 2, 5]), torch.Generator()).tolist())
        [2, 5, 7]
    """
    if not tensor.is_floating_point():
        order = torch.randperm(tensor.numel(), generator=generator)
        return tensor.reshape(-1)[order].reshape(tensor.shape)
    low, high = (float(end) for end in tensor.aminmax()) if tensor.numel() else (0.0, 1.0)
    if not low < high < float("inf") or low == -float("inf"):
        low, high = 0.0, 1.0
    return low + (high - low) * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) ** power


def repeated(inputs: ExampleInputs, size: int, batch: int) -> ExampleInputs:
    """Inputs with ``batch`` examples instead of ``size``: theirs in turn; tensors without a batch stay as they are."""
    order = torch.arange(batch) % size
    return mapped_tensors(inputs, lambda tensor: tensor[order] if has_batch(tensor, size) else tensor)


def has_batch(tensor: Tensor, size: int) -> bool:
    """Whether a tensor's first dimension is the batch."""
    return tensor.ndim > 0 and tensor.shape[0] == size


def output_names(result: Any, name: str = "output") -> tuple[str, ...]:
    """Names the tensors in a result: keys of dicts, places in tuples, attributes of objects.

    Places have as many digits as the last one, so that names sort as they stand: OpenCV 4 returns outputs sorted.

    Examples:
        >>> one = torch.zeros(1)
        >>> output_names(one), output_names((one, one)), output_names({"boxes": one, "more": [one, 3]})
        (('output',), ('output_0', 'output_1'), ('boxes', 'more_0'))
        >>> output_names([one] * 11)[1:3]
        ('output_01', 'output_02')
    """
    return tuple(_output_names(result, name, top=True))


def distinct(names: Iterable[str], taken: Iterable[str]) -> tuple[str, ...]:
    """Puts ``_out`` behind names that are taken, for a file has one set of names.

    Examples:
        >>> distinct(("x", "y", "y"), ("x",))
        ('x_out', 'y', 'y_out')
    """
    used, found = set(taken), []
    for name in names:
        while name in used:
            name += "_out"  # noqa: PLW2901
        used.add(name)
        found.append(name)
    return tuple(found)


def _output_names(value: Any, name: str, *, top: bool) -> Iterator[str]:
    """In the order of :func:`sapwood.graph.record.output_tensors`."""
    if isinstance(value, Tensor):
        yield name
        return
    if isinstance(value, Mapping):
        items = [(key if top else f"{name}_{key}", item) for key, item in value.items()]
    elif isinstance(value, (tuple, list)):
        width = len(str(len(value) - 1))
        items = [(f"{name}_{number:0{width}d}", item) for number, item in enumerate(value)]
    elif hasattr(value, "__dict__") and not isinstance(value, (nn.Module, type)):
        items = [(key if top else f"{name}_{key}", item) for key, item in vars(value).items()]
    else:
        items = []
    for key, item in items:
        yield from _output_names(item, str(key), top=False)


def in_float32(model: nn.Module, example_inputs: ExampleInputs) -> tuple[nn.Module, ExampleInputs]:
    """A model and its inputs as they are where its parameters are float32, else a copy of both that is.

    Examples:
        >>> model, x = in_float32(nn.Linear(2, 1).half(), torch.zeros(1, 2, dtype=torch.float16))
        >>> model.weight.dtype, x.dtype
        (torch.float32, torch.float32)
    """
    if not _other_types(model):
        return model, example_inputs
    return copy_model(model).float(), mapped_tensors(example_inputs, _plain)


@contextmanager
def _blaming_float32(model: nn.Module) -> Iterator[None]:
    """Inside, a model of another type that fails fails because files hold networks in float32."""
    kinds = _other_types(model)
    try:
        yield
    except SapwoodError:
        raise
    except Exception as error:  # whatever the model's code raises
        if not kinds:
            raise
        raise ExportError(
            f"{type(model).__name__} has parameters of {', '.join(kinds)}, and does not run in float32, which files "
            f"hold: {innermost(error)}; expected code that goes by the type of its parameters"
        ) from error


def _other_types(model: nn.Module) -> list[str]:
    """The floating types among a model's parameters that are not float32."""
    kinds = {one.dtype for one in model.parameters() if one.is_floating_point()}
    return sorted(str(kind) for kind in kinds - {torch.float32})


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _batch_of(tensors: tuple[Tensor, ...]) -> int:
    size = next((tensor.shape[0] for tensor in tensors if tensor.ndim), 0)
    if not size:
        raise ConfigError("no example input has a batch; expected a tensor of at least one dimension and one example")
    return size
