"""A plan: which indices of which tensors stay. Data, not code: it can be written, read and applied again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Gives: TypeAlias = Literal["input", "relu", "zero", "zeros"]
"""What stands for a module that was removed: what it was given, the positive part of that, one zero that is added to
everything, or as many zeros."""


@dataclass(frozen=True)
class Cut:
    """What stays of one dimension of one tensor.

    Attributes:
        tensor: Name of the parameter or buffer.
        dim: The dimension.
        width: Its size before.
        kept: The indices that stay, in the order of the compact tensor: ascending, but where code shuffles channels.
    """

    tensor: str
    dim: int
    width: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class AttributeEdit:
    """An attribute of a module that has to follow the new widths.

    Attributes:
        module: Name of the module.
        attribute: Name of the attribute, with a position for an element of a list or tuple: ``"sizes[1]"``.
        before: Its value in the dense model.
        after: Its value in the compact model.
    """

    module: str
    attribute: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Rescale:
    """Rows of a parameter that are multiplied by a factor, so that a value stays as large as in the dense model.

    Attributes:
        tensor: Name of the parameter.
        rows: Indices of its dimension 0, in the dense model.
        factor: What they are multiplied by.
    """

    tensor: str
    rows: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class Gain:
    """A gain that makes up for what the norm of another parameter loses with its cuts, as weight normalisation needs.

    Every index of the gain is multiplied by the norm of what is kept over the norm of what was there, so that gain
    times direction over norm stays what it was. The factors follow from the values when the plan is applied.

    Attributes:
        tensor: Name of the gain.
        of: Name of the parameter whose norm it multiplies.
        dim: The dimension that the norm is not taken over; the gain has one index there for each.
    """

    tensor: str
    of: str
    dim: int


@dataclass(frozen=True)
class Shift:
    """Values added to a parameter or buffer of one dimension, in the dense model's rows, before anything is cut.

    A ``bias`` that the module does not have yet is made, so that a constant can be folded into it.

    Attributes:
        tensor: Name of the parameter or buffer.
        values: One value a row of the dense tensor.
    """

    tensor: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Merge:
    """Slices of a parameter that are added to another of its slices, times a factor each, and are zero afterwards.

    Attributes:
        tensor: Name of the parameter.
        dim: The dimension.
        into: Index of the slice that is added to.
        sources: Indices of the slices that are added, in the dense tensor.
        factors: What each is multiplied by.
    """

    tensor: str
    dim: int
    into: int
    sources: tuple[int, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True)
class Removal:
    """A module that goes as a whole; a :class:`sapwood.models.Removed` stands in its place.

    Attributes:
        module: Its name.
        gives: What is returned in its place.
        entries: How many entries the tuple has that it returned; None of a tensor.
    """

    module: str
    gives: Gives
    entries: int | None = None


@dataclass(frozen=True)
class Shortened:
    """A list of modules of which some go, so that the others move up.

    Attributes:
        list: Its name.
        size: How many entries it has.
        kept: Which of them stay, ascending.
    """

    list: str
    size: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Factored:
    """A convolution or linear layer that becomes two, with few channels between them (:class:`sapwood.models.LowRank`).

    Applied to a model, the two are the best product of that rank by the singular values of its weight; what
    :func:`sapwood.prune` returns has values that it found on pictures.

    Attributes:
        module: Its name.
        rank: How many channels are between the two.
    """

    module: str
    rank: int


@dataclass(frozen=True)
class Plan:
    """Everything that turns the dense model into the compact one; see :func:`sapwood.models.apply_plan`.

    Lists are shortened first, then goes what is removed, then layers become two: all else is said of the model that is
    left, by the names that it has.

    Attributes:
        shapes: Of a plan that cuts nothing: the shapes of the parameters of what it leaves, as nothing else of it says
            for which sizes it was made.
    """

    cuts: tuple[Cut, ...] = ()
    attributes: tuple[AttributeEdit, ...] = ()
    rescales: tuple[Rescale, ...] = ()
    shifts: tuple[Shift, ...] = ()
    merges: tuple[Merge, ...] = ()
    gains: tuple[Gain, ...] = ()
    removed: tuple[Removal, ...] = ()
    shortened: tuple[Shortened, ...] = ()
    factored: tuple[Factored, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
