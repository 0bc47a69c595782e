"""A model as exporters like it: tensors in, tensors out, each with a name, and nothing of the caller's touched."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.graph import call_model, output_tensors
from sapwood.masks import remove_masks_
from sapwood.models import copy_model
from sapwood.types import ExampleInputs

PICTURES = "images"
"""What the input of a model is called that takes one batch of pictures."""

INNER = "model"
"""The attribute of :class:`FlatModel` that holds the model, so the first part of its modules' names."""


class FlatModel(nn.Module):
    """Calls a model with a flat tuple of tensors and returns a flat tuple of them.

    Args:
        model: Any module.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments, nested as it likes. Leaves that
            are no tensors are constants of the call.

    Examples:
        >>> class Scaled(nn.Module):
        ...     def forward(self, x, *, scale, times):
        ...         return {"scaled": x * scale * times}
        >>> inputs = {"x": torch.ones(2), "scale": torch.tensor(3.0), "times": 2}
        >>> flat = FlatModel(Scaled(), inputs)
        >>> list(flat.names), flat(*tensors_of(inputs))
        (['x', 'scale'], (tensor([6., 6.]),))
    """

    def __init__(self, model: nn.Module, example_inputs: ExampleInputs) -> None:
        super().__init__()
        self.model = model
        self._form = example_inputs
        self.names = input_names(model, example_inputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Puts the tensors where those of the example inputs were, and runs the model."""
        given = iter(tensors)
        inputs = _mapped(self._form, lambda leaf: next(given) if isinstance(leaf, Tensor) else leaf)
        return tuple(output_tensors(call_model(self.model, inputs)))


def plain_copy(model: nn.Module, *, sharing: bool = False) -> nn.Module:
    """Returns a copy in evaluation mode whose live torch masks are made permanent, zeros in plain weights.

    Args:
        model: Read only.
        sharing: The weights of PyTorch's own convolutions, linear layers and embeddings are the model's, not copies:
            for a reader that keeps none of them. Masked and parametrized ones are copied.
    """
    shared = {id(one): one for one in map(_own_weight, model.modules()) if one is not None} if sharing else None
    twin = copy_model(model, shared)
    remove_masks_(twin)
    return twin.eval()


def _own_weight(module: nn.Module) -> nn.Parameter | None:
    """The weight of a layer whose code is PyTorch's, which changes no weight in evaluation."""
    scales = isinstance(module, nn.Embedding) and module.max_norm is not None  # its rows, when they are read
    is_plain = type(module) in {nn.Linear, nn.Conv2d, nn.Embedding} and not scales
    return module._parameters.get("weight") if is_plain else None


def tensors_of(example_inputs: ExampleInputs) -> tuple[Tensor, ...]:
    """The tensors in example inputs, in the order in which :class:`FlatModel` takes them."""
    return tuple(leaf for _, leaf in _leaves("", example_inputs) if isinstance(leaf, Tensor))


def input_names(model: nn.Module, example_inputs: ExampleInputs) -> tuple[str, ...]:
    """Names each input tensor: by ``forward``'s argument, and its place where an argument holds several.

    One batch of pictures, shape (N, 1 or 3, H, W), is called :data:`PICTURES`.

    Raises:
        ConfigError: If there is no tensor among the inputs.

    Examples:
        >>> input_names(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8)), input_names(nn.Linear(2, 1), torch.zeros(1, 2))
        (('images',), ('input',))
    """
    if isinstance(example_inputs, Tensor) and example_inputs.ndim == 4 and example_inputs.shape[1] in {1, 3}:
        return (PICTURES,)
    named = _arguments(model, example_inputs)
    names = tuple(
        path for name, value in named.items() for path, leaf in _leaves(name, value) if isinstance(leaf, Tensor)
    )
    if not names:
        raise ConfigError("the example inputs hold no tensor; expected at least one")
    return names


def mapped_tensors(example_inputs: ExampleInputs, change: Callable[[Tensor], Tensor]) -> ExampleInputs:
    """Returns example inputs of the same form, each tensor replaced by ``change(tensor)``."""
    changed: ExampleInputs = _mapped(example_inputs, lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf)
    return changed


def _arguments(model: nn.Module, example_inputs: ExampleInputs) -> dict[str, Any]:
    """The inputs by the name of the argument that takes them."""
    if isinstance(example_inputs, Mapping):
        return dict(example_inputs)
    given = example_inputs if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    names = [
        parameter.name
        for parameter in inspect.signature(model.forward).parameters.values()
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    names += [f"input_{number}" for number in range(len(names), len(given))]
    return dict(zip(names, given, strict=False))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}_{key}", item)
    elif isinstance(value, (tuple, list)):
        for number, item in enumerate(value):
            yield from _leaves(f"{name}_{number}", item)
    else:
        yield name, value


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [_mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return change(value)


def run_flat(model: nn.Module, example_inputs: ExampleInputs) -> list[Tensor]:
    """Returns all output tensors of one run in evaluation mode, float32 on the CPU; ``model`` is as before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.inference_mode():
            return plain_tensors(output_tensors(call_model(model, example_inputs)))
    finally:
        for module, training in modes:
            module.training = training


def plain_tensors(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Returns the tensors as float32 on the CPU."""
    return [tensor.detach().cpu().float() for tensor in tensors]
