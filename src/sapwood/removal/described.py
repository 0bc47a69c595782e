"""Attributes of a model whose widths a config says: those that a model has which that config builds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

import numpy as np
from torch import nn

from sapwood.allocation import split_columns
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import Analysis
from sapwood.models import AttributeEdit, ConfigFields
from sapwood.models.places import AttributePlace
from sapwood.ops import Axis
from sapwood.removal.widths import Expectation


class UnsaidError(CheckFailedError):
    """No config says what a plan makes.

    Attributes:
        reason: Why.
        numbers: The numbers of the config of which one has to stay.
    """

    def __init__(self, reason: str, numbers: tuple[str, ...]) -> None:
        super().__init__(f"{reason}. The model given is unchanged.")
        self.reason = reason
        self.numbers = numbers


def describe_(
    model: nn.Module, fields: ConfigFields, analysis: Analysis, expectation: Expectation
) -> list[AttributeEdit]:
    """Sets what the config says differently now: numbers of the config, and whatever modules made of them.

    Args:
        model: The model with its tensors already cut.
        fields: What the numbers of the config say.
        analysis: The dense model's groups.
        expectation: What stays of every tensor.

    Returns:
        What was changed.

    Raises:
        UnsaidError: If no config says these widths.
    """
    numbers = config_numbers(fields, analysis, expectation)
    try:
        edits = fields.edits(model, numbers)
    except ConfigError as error:
        raise UnsaidError(
            str(error), tuple(name for name, one in numbers.items() if one != fields.values[name])
        ) from error
    for edit in edits:
        AttributePlace.of(edit).set(model, edit.after)
    return edits


def config_numbers(fields: ConfigFields, analysis: Analysis, expectation: Expectation) -> Mapping[str, int]:
    """The numbers that a config needs to say the widths that a plan makes.

    Raises:
        UnsaidError: If there are none; the text names two dimensions that ask for different ones.
    """
    found: dict[str, tuple[Fraction, str]] = {}
    for name, share, place in _shares(fields, analysis, expectation):
        before = found.setdefault(name, (share, place))
        if before[0] != share:
            raise UnsaidError(
                f"no config says these widths: {before[1]} keeps {before[0]} of {name}, and {place} keeps {share}",
                (name,),
            )
    numbers = {name: share * fields.values[name] for name, (share, _) in found.items()}
    for name, number in numbers.items():
        if number.denominator != 1 or number < 1:
            raise UnsaidError(f"no config says {name} of {float(number):g}", (name,))
    return {name: int(number) for name, number in numbers.items()}


def _shares(fields: ConfigFields, analysis: Analysis, expectation: Expectation) -> Iterator[tuple[str, Fraction, str]]:
    """What is kept of each number, by each dimension."""
    names = {one: first for first, every in analysis.aliases.items() for one in every}
    for (tensor, dim), said in fields.dims.items():
        axes, place = analysis.axes.get(names.get(tensor, tensor)), f"{tensor}[{dim}]"
        if axes is None:
            yield from ((one, Fraction(1), place) for one in said)
            continue
        axis = axes[dim]
        if len(said) == 1:
            yield said[0], _share(expectation, axis), place
            yield from _of_heads(fields, tensor, axis, expectation, place)
            continue
        for one, columns in zip(said, split_columns(axis, [fields.values[one] for one in said]), strict=True):
            yield one, _share(expectation, axis[:, columns]), place


def _of_heads(
    fields: ConfigFields, tensor: str, axis: Axis, expectation: Expectation, place: str
) -> Iterator[tuple[str, Fraction, str]]:
    """What is kept of a number of heads that no size follows, where heads are the outer factor of a dimension."""
    for name, modules in fields.heads.items():
        heads = fields.values[name]
        if axis.shape[1] < 2 or len(axis) % heads or not any(tensor.startswith(f"{one}.") for one in modules):
            continue
        outer, _ = split_columns(axis, [heads, len(axis) // heads])
        if outer:
            yield name, _share(expectation, axis[:, outer]), place


def _share(expectation: Expectation, axis: Axis) -> Fraction:
    alive = expectation.alive(np.ascontiguousarray(axis))
    return Fraction(int(alive.sum()), len(alive))
