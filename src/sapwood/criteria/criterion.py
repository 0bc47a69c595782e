"""What a criterion is, the table of all of them, and what those that look at slices share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from sapwood.criteria.reduce import Normalize, Reduction, channel_sums, index_sums, normalized, reduced
from sapwood.criteria.view import Members, ModelView
from sapwood.errors import ConfigError, CriterionError
from sapwood.graph import ChannelGroup, Member
from sapwood.registry import Registry


class Criterion(Protocol):
    """Says what a channel, or a single weight, is worth: larger is kept."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    scores_weights: ClassVar[bool]
    loss_units: ClassVar[bool]
    """Whether scores estimate how much the loss would rise, so that those of different groups compare and add up.

    A criterion whose scores compare for another reason has a ``compares`` that is True, and one whose scores are roots
    of what adds up an ``adds_as``: the power that makes them add up, 1 where it has none.
    """

    def group_scores(self, group: ChannelGroup, view: ModelView) -> Tensor:
        """Scores the channels of a group: finite, float64, on the CPU, shape (C,).

        Raises:
            CriterionError: If what the criterion looks at is not there for this group.
            ConfigError: If a statistic it needs was not collected.
        """

    def weight_scores(self, name: str, view: ModelView) -> Tensor:
        """Scores each element of a parameter: finite, the parameter's shape.

        Raises:
            ConfigError: If the criterion scores channels only.
            CriterionError: If what the criterion looks at is not there for this parameter.
        """


CRITERIA: Registry[type[Criterion]] = Registry(
    "criterion",
    entry_points="sapwood.criteria",
    others={
        "activation": "activation_mean", "batchnorm": "bn_scale", "bn": "bn_scale", "bnscaling": "bn_scale",
        "gradient": "taylor", "hessian": "obs", "hrank": "activation_mean", "magnitude": "norm", "obc": "obs",
        "obd": "fisher", "optimalbrainsurgeon": "obs", "slimming": "bn_scale", "sparsegpt": "obs",
    },
)  # fmt: skip
"""Every criterion, by name."""


class Checked:
    """Refuses parameters that are not of the type a field says; says how the scores of different groups compare."""

    loss_units: ClassVar[bool] = False

    @property
    def compares(self) -> bool:
        """Whether the scores of different groups compare as they are."""
        return self.loss_units

    @property
    def adds_as(self) -> float:
        """The power of a score that adds up over the channels of a group."""
        return 1.0

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for entry in fields(self):  # type: ignore[arg-type]
            value, hint = getattr(self, entry.name), hints[entry.name]
            if get_origin(hint) is Literal:
                if value not in get_args(hint):
                    expected = ", ".join(map(repr, get_args(hint)))
                    raise ConfigError(f"{entry.name} is {value!r}; expected one of: {expected}")
            elif isinstance(value, bool) or not isinstance(value, (int, float) if hint is float else hint):
                raise ConfigError(f"{entry.name} is {value!r}; expected {hint.__name__}")


class ChannelsOnly:
    """Refuses single weights."""

    name: ClassVar[str]
    scores_weights: ClassVar[bool] = False

    def weight_scores(self, name: str, view: ModelView) -> Tensor:
        """Refuses."""
        del name, view
        able = ", ".join(key for key in CRITERIA if CRITERIA[key].scores_weights)
        raise ConfigError(f"the criterion {self.name!r} scores channels only; these score single weights: {able}")


@dataclass(frozen=True)
class SliceCriterion(Checked):
    """A criterion that gives every slice a value, reduces those of a channel and normalises those of a group.

    Attributes:
        reduction: How the values of a channel's slices become one.
        normalize: What the scores of a group are divided by.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    loss_units: ClassVar[bool] = False

    reduction: Reduction = "sum"
    normalize: Normalize = "none"

    @property
    def compares(self) -> bool:
        """Scores that are normalised compare, too."""
        return self.loss_units or self.normalize != "none"

    def group_scores(self, group: ChannelGroup, view: ModelView) -> Tensor:
        """Scores the channels of a group; see :class:`Criterion`."""
        scores = self.finished(reduced(self.slices(group, view), self.reduction))
        return finite(normalized(scores, self.normalize), f"{group.name}: its scores by {self.name!r}")

    def slices(self, group: ChannelGroup, view: ModelView) -> Sequence[Tensor]:
        """One value a channel for each slice, shape (C,) each, float64; at least one."""
        raise NotImplementedError

    def finished(self, values: Tensor) -> Tensor:
        """What the reduced values of all channels, shape (C,), become."""
        return values


@dataclass(frozen=True)
class WeightCriterion(SliceCriterion):
    """A criterion that gives every element of a parameter a value, and a slice the sum of its elements' values.

    Attributes:
        members: Which slices count.
    """

    scores_weights: ClassVar[bool] = True

    members: Members = "all"

    def slices(self, group: ChannelGroup, view: ModelView) -> Sequence[Tensor]:
        """The sums over the slices of each channel."""
        return [
            channel_sums(self._index_sums(member, view), member.column, group.num_channels)
            for member in view.members(group, self.members)
        ]

    def _index_sums(self, member: Member, view: ModelView) -> Tensor:
        """What stands at each index of a member's dimension; of a weight's first two both are asked for in the end."""
        known, key = view.sums, (id(self), member.tensor, member.dim)
        if key not in known:
            dims = {member.dim, *range(min(2, view.parameter(member.tensor).dim()))}
            for dim, sums in self.sums(member.tensor, view, dims).items():
                known[id(self), member.tensor, dim] = (self, sums)
        return known[key][1]

    def sums(self, name: str, view: ModelView, dims: Collection[int]) -> Mapping[int, Tensor]:
        """What the values of a parameter add up to at each index of some of its dimensions, float64."""
        values = self.values(name, view)
        return {dim: index_sums(values, dim) for dim in dims}

    def weight_scores(self, name: str, view: ModelView) -> Tensor:
        """Scores each element of a parameter by its value as if it were a slice of its own."""
        values = self.values(name, view)
        return finite(self.finished(values.flatten()).reshape(values.shape), f"{name}: its scores by {self.name!r}")

    def values(self, name: str, view: ModelView) -> Tensor:
        """The value of each element of a parameter, of its shape."""
        raise NotImplementedError


def finite(scores: Tensor, what: str) -> Tensor:
    """Returns ``scores`` if all are finite.

    Raises:
        CriterionError: If not.
    """
    if not bool(torch.isfinite(scores).all()):
        raise CriterionError(f"{what} are NaN or infinite in {int((~torch.isfinite(scores)).sum())} places")
    return scores


def parameters_of(criterion: Criterion) -> dict[str, Any]:
    """The parameters of a criterion, by name."""
    return {entry.name: getattr(criterion, entry.name) for entry in fields(criterion)}  # type: ignore[arg-type]
