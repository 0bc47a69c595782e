"""Scoring all groups of a model, with something to fall back on where a criterion does not apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from sapwood.criteria.criterion import CRITERIA, Criterion
from sapwood.criteria.norm import NormCriterion
from sapwood.criteria.view import ModelView
from sapwood.errors import ConfigError, CriterionError
from sapwood.graph import ChannelGroup

FALLBACK = NormCriterion()
"""Scores where another criterion does not apply: it applies everywhere."""


@dataclass(frozen=True)
class GroupScores:
    """The scores of some groups.

    Attributes:
        scores: One tensor a group, shape (C,), float64, larger = keep.
        fallbacks: Name of a group -> why it was scored by the fallback instead.
    """

    scores: tuple[Tensor, ...]
    fallbacks: Mapping[str, str] = field(default_factory=dict)


def make_criterion(name: str, **parameters: Any) -> Criterion:
    """Makes the criterion of that name.

    Raises:
        ConfigError: If there is no such criterion, it has no such parameter, or a value is not one it may have.

    Examples:
        >>> make_criterion("norm", n=1, normalize="mean")
        NormCriterion(reduction='sum', normalize='mean', members='all', n=1)
        >>> make_criterion("random", n=1)
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: the criterion 'random' has no parameter 'n'; it has: seed
    """
    kind = CRITERIA[name]
    held = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(parameters) - set(held))
    if unknown:
        raise ConfigError(f"the criterion {name!r} has no parameter {unknown[0]!r}; it has: {', '.join(held)}")
    return kind(**parameters)


def score_groups(
    criterion: Criterion, groups: Sequence[ChannelGroup], view: ModelView, *, fallback: Criterion | None = FALLBACK
) -> GroupScores:
    """Scores every group, and where ``criterion`` does not apply to one, by ``fallback``.

    So that a group scored by the fallback compares with the others, its scores are scaled until their mean absolute
    value is that over all channels that ``criterion`` scored. Where ``criterion`` normalises, the fallback normalises
    the same way instead.

    Args:
        criterion: What to score by.
        groups: The channel groups.
        view: The model.
        fallback: Scores the groups for which ``criterion`` raises ``CriterionError``; None passes the error on.

    Returns:
        The scores, and for which groups and why they are the fallback's.

    Raises:
        CriterionError: If a group cannot be scored.
        ConfigError: If a statistic was not collected.
    """
    if fallback is None:
        return GroupScores(tuple(criterion.group_scores(group, view) for group in groups))
    attempts = [_attempt(criterion, group, view) for group in groups]
    known = [found for found in attempts if isinstance(found, Tensor)]
    scores = tuple(
        found if isinstance(found, Tensor) else _fallback_scores(criterion, fallback, group, view, known)
        for group, found in zip(groups, attempts, strict=True)
    )
    reasons = {
        group.name: found for group, found in zip(groups, attempts, strict=True) if not isinstance(found, Tensor)
    }
    return GroupScores(scores, reasons)


def _attempt(criterion: Criterion, group: ChannelGroup, view: ModelView) -> Tensor | str:
    """The scores, or why there are none."""
    try:
        return criterion.group_scores(group, view)
    except CriterionError as error:
        return str(error)


def _fallback_scores(
    criterion: Criterion, fallback: Criterion, group: ChannelGroup, view: ModelView, known: Sequence[Tensor]
) -> Tensor:
    """The fallback's scores, on the scale of those that are ``known``."""
    how = getattr(criterion, "normalize", "none")
    if how != "none" and hasattr(fallback, "normalize"):
        return replace(fallback, normalize=how).group_scores(group, view)  # type: ignore[type-var]
    scores = fallback.group_scores(group, view)
    size = float(scores.abs().mean())
    if not known or not size:
        return scores
    return scores * (float(torch.cat(list(known)).abs().mean()) / size)
