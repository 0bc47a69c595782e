"""What channels and single weights of a model are worth, by any criterion, with statistics collected where needed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress

from torch import Tensor, nn

from sapwood.calibration import Statistics, collect
from sapwood.criteria import Criterion, ModelView, make_criterion, score_groups
from sapwood.errors import ConfigError, CriterionError
from sapwood.graph import Analysis
from sapwood.pipeline.search import Planner
from sapwood.pipeline.targets import Calibration
from sapwood.types import ExampleInputs


def scorer(
    model: nn.Module, criterion: str | Criterion, calibration: Calibration | None = None
) -> Callable[[Analysis], list[Tensor]]:
    """Returns what scores the channels of every group of ``model``; statistics are collected once, when first needed,
    and the scores of the groups it was asked for last are kept.

    Args:
        model: The dense model.
        criterion: A name, or a criterion.
        calibration: Batches and a loss.

    Raises:
        ConfigError: If the criterion needs data and there is none.
    """
    made, statistics = _prepared(model, criterion, calibration)
    last: dict[Hashable, list[Tensor]] = {}

    def score(analysis: Analysis) -> list[Tensor]:
        key = tuple(
            (group.name, group.units, tuple((member.tensor, member.dim) for member in group.members))
            for group in analysis.groups
        )
        if key not in last:
            found = score_groups(made, analysis.groups, ModelView.of(model, analysis, statistics()))
            last.clear()
            last[key] = [comparable(made, scores) for scores in found.scores]
        return list(last[key])

    return score


def weight_scores(
    model: nn.Module, example_inputs: ExampleInputs, criterion: str | Criterion, calibration: Calibration | None = None
) -> dict[str, Tensor]:
    """Scores every single weight of ``model``.

    Returns:
        Parameter name -> its scores, of its shape; parameters that the criterion says nothing about are left out.

    Raises:
        ConfigError: If the criterion scores channels only, or needs data and there is none.
    """
    made, statistics = _prepared(model, criterion, calibration)
    view = ModelView.of(model, Planner(model, example_inputs, {}).analysis(), statistics())
    found = {}
    for name, _ in model.named_parameters():
        with suppress(CriterionError):
            found[name] = made.weight_scores(name, view)
    return found


def comparable(criterion: Criterion, scores: Tensor) -> Tensor:  # shape: (C,)
    """Brings a criterion's scores of one group to numbers of at least 0 whose sums compare between groups.

    Scores in units of the loss, and those that the criterion normalises, are taken as they are; of others each channel
    gets its share of the group's whole (of a norm of order n, of the sum of its n-th powers).
    """
    scores = scores.double()
    if float(scores.min()) < 0:
        scores = scores - scores.min()
    if criterion.loss_units or getattr(criterion, "normalize", "none") != "none":
        return scores
    scores = scores.pow(getattr(criterion, "n", 1.0))
    total = float(scores.sum())
    return scores / total if total > 0 else scores


def _prepared(
    model: nn.Module, criterion: str | Criterion, calibration: Calibration | None
) -> tuple[Criterion, Callable[[], Statistics | None]]:
    """The criterion, and its statistics when they are asked for."""
    made = make_criterion(criterion) if isinstance(criterion, str) else criterion
    if made.needs and calibration is None:
        raise ConfigError(
            f"criterion {made.name!r} needs {', '.join(sorted(made.needs))}; expected data to collect that on (--data, "
            "or calibration=)"
        )
    kept: list[Statistics] = []

    def statistics() -> Statistics | None:
        if made.needs and calibration is not None and not kept:
            kept.append(collect(model, calibration.batches, calibration.loss, made.needs))
        return kept[0] if kept else None

    return made, statistics
