"""What callers hand over, looked at before the work begins: a wrong kind is an error that says what was expected."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.nested import named_tensors
from sapwood.types import ExampleInputs, ModelBundle

_NO_INPUTS = (type(None), str, bytes, bool, int, float, complex, np.ndarray, np.generic, torch.Size, nn.Module)
"""What no model is called with: a tuple, a dict or a tensor was meant."""


def described(value: object) -> str:
    """A value's kind in words.

    Examples:
        >>> described(0.5), described(None), described(nn.ReLU), described(nn.ReLU())
        ('a float', 'None', 'the class ReLU', 'a ReLU')
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Checks the class of an argument.

    Raises:
        ConfigError: If it is another one.

    Examples:
        >>> check_kind("plan", 3, dict, "a plan")
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: plan is an int; expected a plan
    """
    if not isinstance(value, kinds):
        raise ConfigError(f"{name} is {described(value)}; expected {expected}")


def check_model(model: object, name: str = "model") -> None:
    """Checks that a model is one.

    Raises:
        ConfigError: If it is something else; the message says where a model is to be found in it.
    """
    inside = "; its .model is one" if isinstance(getattr(model, "model", None), nn.Module) else ""
    check_kind(name, model, nn.Module, f"a torch.nn.Module{inside}")


def check_example_inputs(inputs: object) -> None:
    """Checks that a model can be called with them at all.

    Raises:
        ConfigError: If they are a number, a text, an array, a size or a nested tensor.
    """
    if isinstance(inputs, _NO_INPUTS):
        hint = {np.ndarray: " (torch.from_numpy makes one)", torch.Size: " (torch.randn makes one of a size)"}
        raise ConfigError(
            f"example_inputs is {described(inputs)}; expected a tensor{hint.get(type(inputs), '')}, a tuple of "
            "positional or a dict of keyword arguments"
        )
    items = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    if any(isinstance(item, Tensor) and item.is_nested for item in items):
        raise ConfigError(
            f"example_inputs is or holds a nested tensor, whose rows have sizes of their own; {NOT_NESTED}"
        )


NOT_NESTED = "expected plain tensors: padded ones, or values and offsets of which the model makes a nested one itself"


def model_and_inputs(model: object, inputs: object) -> tuple[nn.Module, ExampleInputs]:
    """Returns a model and what it is called with, which a bundle brings along.

    Raises:
        ConfigError: If one of them is something else, or there are no inputs.
    """
    if isinstance(model, ModelBundle):
        inputs = model.example_inputs if inputs is None else inputs
        if isinstance(inputs, tuple) and not inputs:
            raise ConfigError(f"{model.source.spec} has no example inputs; expected them as the second argument")
        model = model.model
    check_model(model)
    check_example_inputs(inputs)
    inputs = tuple(inputs) if isinstance(inputs, list) else inputs
    return cast("nn.Module", model), cast("ExampleInputs", inputs)


def of_fields(kind: type[Any], given: Any) -> Any:
    """Makes what has fields of a dict of them; what is no dict is returned as it is.

    Raises:
        ConfigError: If a field is not one of its; the message lists them.

    Examples:
        >>> from dataclasses import make_dataclass
        >>> Size = make_dataclass("Size", ["width"])
        >>> of_fields(Size, {"width": 3}), of_fields(Size, None)
        (Size(width=3), None)
        >>> of_fields(Size, {"w": 3})
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: Size has no 'w'; expected of width
    """
    if not isinstance(given, Mapping):
        return given
    known = [one.name for one in fields(kind)]
    for name in given:
        if name not in known:
            raise ConfigError(f"{kind.__name__} has no {name!r}; expected of {', '.join(known)}")
    return kind(**given)


def check_path(path: Any, name: str = "path") -> None:
    """Checks that something names a file or a directory.

    Raises:
        ConfigError: If it is neither a text nor a path.
    """
    check_kind(name, path, (str, os.PathLike), "a path")


def check_yes_or_no(name: str, value: object) -> None:
    """Checks that an argument is True or False.

    Raises:
        ConfigError: If it is anything else.
    """
    check_kind(name, value, bool, "True or False")


def checked_batches(batches: object, name: str = "batches") -> list[ExampleInputs]:
    """Returns batches as a list.

    Raises:
        ConfigError: If it is one tensor, which is a batch and not many, or nothing that can be gone through, or what is
            in it is nothing that a model is called with.

    Examples:
        >>> checked_batches([()])
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: batches[0] holds no tensor; expected at least one
    """
    expected = "a list of batches, as [pictures]"
    if isinstance(batches, Tensor | str | Mapping):
        raise ConfigError(f"{name} is {described(batches)}; expected {expected}")
    check_kind(name, batches, Iterable, expected)
    kept = list(cast("Iterable[Any]", batches))
    for number, batch in enumerate(kept):
        if not isinstance(batch, Tensor | tuple | list | Mapping):
            hint = " (torch.from_numpy makes one)" if isinstance(batch, np.ndarray) else ""
            raise ConfigError(
                f"{name}[{number}] is {described(batch)}; expected a tensor{hint}, a tuple of positional or a dict of "
                "keyword arguments"
            )
        if not named_tensors(batch):
            raise ConfigError(f"{name}[{number}] holds no tensor; expected at least one")
    return kept
