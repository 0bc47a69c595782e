"""What channels and single weights of a model are worth, by any criterion, with statistics collected where needed."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from contextlib import suppress

from torch import Tensor, nn

from sapwood.arguments import check_kind, described
from sapwood.calibration import Statistics, collect
from sapwood.criteria import FALLBACK, Criterion, ModelView, Sums, make_criterion, score_groups
from sapwood.errors import ConfigError, CriterionError
from sapwood.goals.targets import Calibration
from sapwood.graph import Analysis
from sapwood.removal import Planner
from sapwood.types import ExampleInputs

MOST_REASONS = 3
"""Of groups that another criterion scored, so many are named."""


class Scorer:
    """Scores the channels of every group of a model; see :func:`scorer`."""

    def __init__(self, model: nn.Module, criterion: Criterion, calibration: Calibration | None) -> None:
        self._model, self._criterion, self._calibration = model, criterion, calibration
        self._statistics: Statistics | None = None
        self._last: dict[Hashable, list[Tensor]] = {}
        self._sums: Sums = {}
        self._otherwise: dict[str, str] = {}
        self._other: Scorer | None = None

    def of(self, model: nn.Module, statistics: Statistics | None = None) -> Scorer:
        """The same for another model, as for what is left without some blocks; asked again, what it has found is kept.

        Args:
            model: The other model.
            statistics: Of that model, where they are known from another.
        """
        if model is self._model:
            return self
        if self._other is None or self._other._model is not model:
            self._other = Scorer(model, self._criterion, self._calibration)
            self._other._statistics = statistics
        return self._other

    def statistics(self, needs: Collection[str] | None = None) -> Statistics | None:
        """What the criterion needs, collected when first asked for; None where that is nothing.

        Args:
            needs: Names of statistics; None where these are not among what the criterion collects.
        """
        wanted = self._criterion.needs
        if not wanted or self._calibration is None or not set(needs or wanted) <= wanted:
            return None
        if self._statistics is None:
            self._statistics = collect(self._model, self._calibration.batches, self._calibration.loss, wanted)
        return self._statistics

    def __call__(self, analysis: Analysis) -> list[Tensor]:
        """The scores of each group; those of the groups it was asked for last are kept."""
        key = tuple(
            (group.name, group.units, tuple((member.tensor, member.dim) for member in group.members))
            for group in analysis.groups
        )
        if key not in self._last:
            view = ModelView.of(self._model, analysis, self.statistics(), self._sums)
            found = score_groups(self._criterion, analysis.groups, view)
            self._otherwise |= found.fallbacks
            self._last.clear()
            self._last[key] = [comparable(self._criterion, scores) for scores in found.scores]
        return list(self._last[key])

    def notes(self, analysis: Analysis) -> tuple[str, ...]:
        """A sentence about the groups that were scored by another criterion, as this one says nothing of them."""
        groups = [group.name for group in analysis.groups]
        reasons = [self._otherwise[name] for name in groups if name in self._otherwise]
        if not reasons:
            return ()
        name, more = self._criterion.name, len(reasons) - MOST_REASONS
        shown = [*reasons[:MOST_REASONS], *([f"and {more} more"] if more > 0 else [])]
        return (
            f"{len(reasons)} of {len(groups)} groups are scored by {FALLBACK.name!r}, as {name!r} does not apply to "
            f"them ({'; '.join(shown)})",
        )


def scorer(model: nn.Module, criterion: str | Criterion, calibration: Calibration | None = None) -> Scorer:
    """Returns what scores the channels of every group of ``model``; statistics are collected once, when first needed,
    and the scores of the groups it was asked for last are kept.

    Args:
        model: The dense model.
        criterion: A name, or a criterion.
        calibration: Batches and a loss.

    Raises:
        ConfigError: If the criterion needs data and there is none.
    """
    return Scorer(model, _checked(criterion, calibration), calibration)


def weight_scores(
    model: nn.Module, example_inputs: ExampleInputs, criterion: str | Criterion, calibration: Calibration | None = None
) -> dict[str, Tensor]:
    """Scores every single weight of ``model``.

    Returns:
        Parameter name -> its scores, of its shape; parameters that the criterion says nothing about are left out.

    Raises:
        ConfigError: If the criterion scores channels only, or needs data and there is none.
    """
    made = _checked(criterion, calibration)
    view = ModelView.of(model, Planner(model, example_inputs).analysis(), Scorer(model, made, calibration).statistics())
    found = {}
    for name, _ in model.named_parameters():
        with suppress(CriterionError):
            found[name] = made.weight_scores(name, view)
    return found


def default_criterion(*, low_rank: bool = False, pictures: bool = False) -> str:
    """The criterion where none is named: ``l2``; of layers that may become two, ``obs`` where there are pictures.

    The size of a direction of low rank says little of what the outputs lose without it.

    Examples:
        >>> default_criterion(), default_criterion(low_rank=True, pictures=True)
        ('l2', 'obs')
    """
    return "obs" if low_rank and pictures else "l2"


def scores_by_pictures(criterion: str) -> bool:
    """Whether a criterion looks at more than the weights.

    Raises:
        ConfigError: If there is none of this name.

    Examples:
        >>> scores_by_pictures("l2"), scores_by_pictures("taylor")
        (False, True)
    """
    return bool(make_criterion(criterion).needs)


def comparable(criterion: Criterion, scores: Tensor) -> Tensor:  # shape: (C,)
    """Brings a criterion's scores of one group to numbers of at least 0 whose sums compare between groups.

    Scores in units of the loss, and those that the criterion normalises, are taken as they are; of others each channel
    gets its share of the group's whole (of a norm of order n, of the sum of its n-th powers).
    """
    scores = scores.double()
    if float(scores.min()) < 0:
        scores = scores - scores.min()
    if getattr(criterion, "compares", criterion.loss_units):
        return scores
    scores = scores.pow(getattr(criterion, "adds_as", 1.0))
    total = float(scores.sum())
    return scores / total if total > 0 else scores


def _checked(criterion: str | Criterion, calibration: Calibration | None) -> Criterion:
    made = make_criterion(criterion) if isinstance(criterion, str) else criterion
    if isinstance(made, type) or not hasattr(made, "needs"):
        raise ConfigError(f"criterion is {described(made)}; expected a name, or what make_criterion returns")
    if calibration is not None:
        check_kind("calibration", calibration, Calibration, "batches and a loss, a sapwood.Calibration")
    if made.needs and calibration is None:
        raise ConfigError(
            f"criterion {made.name!r} needs {', '.join(sorted(made.needs))}; expected data to collect that on (--data, "
            "or calibration=)"
        )
    return made
