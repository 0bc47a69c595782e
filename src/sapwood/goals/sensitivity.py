"""How much a model suffers when one group of channels is pruned alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.allocation import held_groups
from sapwood.calibration import collect
from sapwood.criteria import BlockObs, ModelView, compensated, problems_of
from sapwood.errors import ConfigError, CriterionError, MeasureError
from sapwood.goals.chooser import Curve, Score
from sapwood.goals.group_keys import GroupKey, group_key
from sapwood.goals.scoring import Scorer
from sapwood.goals.targets import Calibration
from sapwood.graph import Analysis
from sapwood.masks import lowest_units
from sapwood.models import Ignored, Plan, apply_plan, copy_model
from sapwood.removal import Planner, make_cuts
from sapwood.runtime import kept_memory
from sapwood.tasks import divergence_from, evaluate
from sapwood.types import ExampleInputs, ModelBundle

Compensate: TypeAlias = "Callable[[Analysis, int, np.ndarray], Mapping[str, Tensor]]"
"""Given the groups, the number of one and the units that went: parameters by name, as they should be then."""

FRACTIONS = (0.125, 0.25, 0.5, 0.75)
"""Fractions kept at which each group is tried."""

MEASURED_ON = 32
"""Pictures, at most, on which each layer is masked alone."""

RUINED = 0.98
"""The fraction of the worst harm that counts as all of it; the logarithm of nothing left is not finite."""

POINTS = 33
"""Fractions at which a smooth curve is written down, beside the trials' own."""


@dataclass(frozen=True)
class SensitivityRow:
    """One group pruned alone.

    Attributes:
        group: The group's name.
        num_channels: Its channels.
        kept: How many stay in each trial, ascending.
        losses: The figure measured in each trial, less the dense model's, so that 0 is no loss; of a figure of which
            more is better (accuracy), the dense one's less the trial's.
        first: The first index of the group's dimension that is its own: the halves of a map are groups of one name.
    """

    group: str
    num_channels: int
    kept: tuple[int, ...]
    losses: tuple[float, ...]
    first: int = 0


@dataclass(frozen=True)
class BlockLoss:
    """The model without one block.

    Attributes:
        name: The block's name.
        loss: The figure measured, less the dense model's; as in a :class:`SensitivityRow`.
    """

    name: str
    loss: float


@dataclass(frozen=True)
class Sensitivity:
    """The sensitivity of every group; its ``asdict`` is plain JSON.

    Attributes:
        figure: What was measured (``"loss"``, ``"mAP@0.5"``).
        dense: The figure of the untouched model.
        rows: One a group, in the order of the model.
        worst: The harm when all groups have the smallest width of their trials at once, or that of a block, if it is
            larger; None where that is not known.
        blocks: The model without each block that may go, if that was asked for.
    """

    figure: str
    dense: float
    rows: tuple[SensitivityRow, ...]
    worst: float | None = None
    blocks: tuple[BlockLoss, ...] = ()

    def block_losses(self) -> dict[str, float]:
        """The loss without each block, to be added to those of :meth:`curves`."""
        return {row.name: float(self._adding(np.array(max(row.loss, 0.0)))) for row in self.blocks}

    def _adding(self, harms: np.ndarray) -> np.ndarray:
        """Harms of at least 0 as what adds up; see :meth:`curves`."""
        if self.worst is None or not self.worst > 0.0:
            return harms
        return np.asarray(-self.worst * np.log1p(-np.minimum(harms / self.worst, RUINED)))

    def curves(self) -> dict[GroupKey, Curve]:
        r"""What an allocator takes as the value of each group: loss over the fraction kept, never falling with less.

        Trials that happen to help count as no loss. A loss h cannot grow beyond that of a ruined network: losses of
        several groups do not add up, but what each leaves multiplies. So, with H the worst loss, what adds up is

        .. math:: -H \log(1 - h / H)

        which is h as long as h is small. Between trials it is a smooth curve that keeps falling; without any channel,
        it is that of :data:`RUINED` of H. Where H is not known harms are taken as they are, with straight lines.
        """
        from scipy.interpolate import PchipInterpolator  # imports for a second

        found: dict[GroupKey, Curve] = {}
        for row in self.rows:
            fractions = np.array([0.0, *(kept / row.num_channels for kept in row.kept), 1.0])
            losses = np.array([*row.losses, 0.0])
            slope = (losses[0] - losses[1]) / (fractions[2] - fractions[1]) if len(row.losses) else 0.0
            losses = np.concatenate([[losses[0] + max(0.0, slope) * fractions[1]], losses])
            if self.worst is not None:
                losses[0] = max(losses[0], self.worst)
            rising = np.maximum.accumulate(np.maximum(losses, 0.0)[::-1])[::-1]
            if self.worst is not None and self.worst > 0.0:
                rising = self._adding(rising)
                fine = np.union1d(fractions, np.linspace(0.0, 1.0, POINTS))
                fractions, rising = fine, PchipInterpolator(fractions, rising)(fine)
                rising = np.maximum.accumulate(np.maximum(rising, 0.0)[::-1])[::-1]
            found[row.group, row.first] = (fractions.tolist(), rising.tolist())
        return found


@kept_memory()
def sensitivity(
    model: nn.Module,
    example_inputs: ExampleInputs,
    measure: Callable[[nn.Module], float],
    *,
    score: Score,
    figure: str = "loss",
    more_is_better: bool = False,
    fractions: Sequence[float] = FRACTIONS,
    ignore: Ignored = None,
    whole_heads: bool = False,
    compensate: Compensate | None = None,
    blocks: Mapping[str, Plan] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Prunes every group alone, at several widths, and measures the model each time.

    Channels are silenced, not removed: every slice of a parameter that would go is zero, which is the same to
    everything but norms that pool over channels.

    Args:
        model: Any module; not touched, a copy in eval mode is measured.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        measure: A figure of a model: its loss on some pictures, or its accuracy.
        score: Scores the channels of each group; those with the lowest go first.
        figure: What ``measure`` returns, for the record.
        more_is_better: Whether it is a figure like accuracy.
        fractions: Fractions of a group that stay, each in (0, 1).
        ignore: What must stay whole, as for :func:`sapwood.models.whole_tensors`.
        whole_heads: Whether attention loses whole heads.
        compensate: Gives the weights that make up for the channels that went, from :func:`compensation`, so that the
            harm is what reconstruction will not undo.
        blocks: Plans that take out one block each, by the block's name: measured as well.
        progress: Called with (done, total) trials.

    Raises:
        ConfigError: If a fraction is outside (0, 1).
        MeasureError: If the untouched model's figure is not finite.
    """
    if not fractions or any(not 0.0 < fraction < 1.0 for fraction in fractions):
        raise ConfigError(f"fractions {tuple(fractions)}; expected numbers in (0, 1), the fractions kept")
    twin = copy_model(model).eval()
    analysis = Planner(model, example_inputs, ignore).analysis()
    scores = score(analysis)
    held = held_groups(analysis, whole_heads=whole_heads)
    dense = float(measure(twin))
    if not np.isfinite(dense):
        raise MeasureError(f"{figure} of the untouched model is {dense}; expected a finite number")
    sign = -1.0 if more_is_better else 1.0
    trials = _trials(analysis, fractions, held)
    numbered = list(enumerate(analysis.groups))
    rows: dict[int, list[tuple[int, float]]] = {number: [] for number, _ in trials}
    for done, (number, kept) in enumerate(trials, start=1):
        counts = [group.num_channels for group in analysis.groups]
        counts[number] = kept
        removed = lowest_units([group.units for group in analysis.groups], scores, counts)
        weights = {} if compensate is None else compensate(analysis, number, removed)
        with _silenced(twin, analysis, removed, weights):
            harm = sign * (float(measure(twin)) - dense)
        rows[number].append((kept, bounded_harm(harm)))
        if progress is not None:
            progress(done, len(trials) + len(blocks or {}))
    gone = []
    for name, plan in (blocks or {}).items():
        with torch.no_grad():
            harm = sign * (float(measure(apply_plan(twin, plan))) - dense)
        gone.append(BlockLoss(name, bounded_harm(harm)))
        if progress is not None:
            progress(len(trials) + len(gone), len(trials) + len(blocks or {}))
    counts = [min(dict(rows[number])) if number in rows else group.num_channels for number, group in numbered]
    with _silenced(twin, analysis, lowest_units([group.units for _, group in numbered], scores, counts), {}):
        worst = sign * (float(measure(twin)) - dense)
    every = [*(loss for pairs in rows.values() for _, loss in pairs), *(row.loss for row in gone)]
    worst = max([worst if np.isfinite(worst) else 0.0, *every])
    found = []
    for number, pairs in rows.items():
        group = analysis.groups[number]
        widths, losses = zip(*pairs, strict=True)
        name, first = group_key(group)
        found.append(SensitivityRow(name, group.num_channels, widths, losses, first))
    return Sensitivity(figure, dense, tuple(found), worst, tuple(gone))


def compensation(model: nn.Module, calibration: Calibration, score: Scorer | None = None) -> Compensate:
    """Returns what gives the weights of the layers that read a group, solved anew without some of its channels.

    Layers whose inputs are not known as patches, or hang on a group in more than one way, stay as they are.

    Args:
        model: The dense model.
        calibration: What its Gram matrices are collected on, now, unless ``score`` has them.
        score: Of the same model.
    """
    criterion = BlockObs()
    there = None if score is None else score.statistics(criterion.needs)
    statistics = there or collect(model, calibration.batches, calibration.loss, criterion.needs)

    def compensate(analysis: Analysis, number: int, removed: np.ndarray) -> dict[str, Tensor]:
        group = analysis.groups[number]
        view = ModelView.of(model, analysis, statistics)
        gone = torch.from_numpy(np.isin(np.asarray(group.units), removed))
        found: dict[str, Tensor] = {}
        for module, places in view.readers.of(group).items():
            try:
                problems = list(problems_of(module, places, group, view))
            except CriterionError:
                continue
            name = view.first_name(f"{module}.weight".lstrip("."))
            weight = view.parameter(name).clone()
            parts = weight.reshape(len(statistics["input_gram"][module]), -1, problems[0].gram.shape[0])
            for problem in problems:
                parts[problem.part] = compensated(problem, gone, criterion.damping).T.to(weight.dtype)
            found[name] = parts.reshape(weight.shape)
        return found

    return compensate


def sensitivity_measure(
    bundle: ModelBundle, figure: str, calibration: Calibration
) -> tuple[Callable[[nn.Module], float], str]:
    """Returns what measures a model for :func:`sensitivity`, and what the figure is called.

    Args:
        bundle: The dense model.
        figure: ``"divergence"`` (:func:`sapwood.tasks.divergence_from`, no labels), ``"loss"`` or ``"accuracy"``.
        calibration: The pictures.

    Raises:
        ConfigError: If there is no such figure, or no data set to measure accuracy on.
    """
    if figure == "divergence":
        return divergence_from(bundle, calibration.batches), "divergence from the dense model"
    if figure == "loss":

        def mean_loss(model: nn.Module) -> float:
            with torch.no_grad():
                losses = [float(calibration.loss(model, batch)) for batch in calibration.batches]
            return sum(losses) / len(losses)

        return mean_loss, "loss"
    if figure != "accuracy" or calibration.dataset is None:
        raise ConfigError(f"figure {figure!r}; expected divergence or loss, or accuracy with a data set")
    dataset = calibration.dataset
    primary = evaluate(bundle, dataset).primary
    return lambda model: evaluate(replace(bundle, model=model), dataset).value, primary


def sensitivity_of(
    bundle: ModelBundle,
    figure: str,
    calibration: Calibration,
    score: Scorer,
    *,
    ignore: Ignored = None,
    whole_heads: bool = False,
    recovered: bool = False,
    blocks: Mapping[str, Plan] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Prunes every group alone and measures what that does on the calibration pictures.

    Args:
        bundle: The dense model.
        figure: As for :func:`sensitivity_measure`.
        calibration: The pictures.
        score: Of the same model.
        ignore: What must stay whole, as for :func:`sapwood.models.whole_tensors`.
        whole_heads: Whether attention loses whole heads.
        recovered: Whether the network will be recovered: the layers that read a group are solved anew first.
        blocks: As for :func:`sensitivity`.
        progress: Called with (done, total) trials.

    Raises:
        ConfigError: If there is no such figure, or no data set to measure accuracy on.
    """
    measure, name = sensitivity_measure(bundle, figure, calibration)
    return sensitivity(
        bundle.model,
        bundle.example_inputs,
        measure,
        score=score,
        figure=name,
        more_is_better=figure == "accuracy",
        ignore=ignore,
        whole_heads=whole_heads,
        compensate=compensation(bundle.model, calibration, score) if recovered else None,
        blocks=blocks,
        progress=progress,
    )


def masking_harm(
    bundle: ModelBundle, calibration: Calibration | None
) -> tuple[Callable[[nn.Module], float] | None, str]:
    """Returns what a layer that is masked alone is judged by, and what that is called.

    Args:
        bundle: The dense model.
        calibration: Pictures, of which the first :data:`MEASURED_ON` are used; without any, scores have to do.
    """
    if calibration is None:
        return None, "share of the squared scores that goes"
    batches = list(calibration.batches)
    few = batches[: max(1, MEASURED_ON // max(1, len(batches[0].inputs)))]
    return sensitivity_measure(bundle, "divergence", replace(calibration, batches=few))


def bounded_harm(harm: float) -> float:
    """The harm; of one that is not finite, a number that is larger than any other."""
    return harm if np.isfinite(harm) else float(np.finfo(np.float32).max)


@contextmanager
def restored(tensors: Iterable[Tensor]) -> Iterator[None]:
    """These tensors may be changed in place inside; they are as they were afterwards."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, values in before:
                tensor.copy_(values)


def _trials(analysis: Analysis, fractions: Sequence[float], held: Mapping[int, str]) -> list[tuple[int, int]]:
    """(group, channels kept) of every trial."""
    found = []
    for number, group in enumerate(analysis.groups):
        if number not in held and group.num_channels > 1:
            widths = {max(1, round(fraction * group.num_channels)) for fraction in fractions}
            found += [(number, kept) for kept in sorted(widths - {group.num_channels})]
    return found


@contextmanager
def _silenced(
    model: nn.Module, analysis: Analysis, removed: np.ndarray, weights: Mapping[str, Tensor]
) -> Iterator[None]:
    """The model with other weights and with the removed channels at zero inside, as it was afterwards."""
    parameters = dict(model.named_parameters())
    cuts = [cut for cut in make_cuts(analysis, removed) if cut.tensor in parameters]
    names = {cut.tensor for cut in cuts} | set(weights)
    with restored(parameters[name] for name in names):
        with torch.no_grad():
            for name, values in weights.items():
                parameters[name].copy_(values)
            for cut in cuts:
                gone = np.setdiff1d(np.arange(cut.width), cut.kept)
                parameters[cut.tensor].index_fill_(cut.dim, torch.from_numpy(gone), 0.0)
        yield
