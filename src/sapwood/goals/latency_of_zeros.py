"""A latency target for masks: each layer gets the sparsity at which a millisecond saved harms least, on a runtime where
zeros cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.allocation import solve_separable
from sapwood.errors import BudgetError, ConfigError, MeasureError
from sapwood.goals.approach import (
    CLOSE_ENOUGH,
    MAX_NUDGES,
    MET_WITHIN,
    Reached,
    distance,
    is_met,
    next_fraction,
    nudged,
)
from sapwood.goals.bench import Bench
from sapwood.goals.clock import timed
from sapwood.goals.sensitivity import Sensitivity, SensitivityRow, bounded_harm, restored
from sapwood.masks import MaskCase, MaskRecord, Slot, apply_masks_, keep_largest, remove_masks_, select_targets
from sapwood.measure import LatencyRow
from sapwood.models import copy_model

LEVELS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Sparsities at which all layers are timed."""

TRIED = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Sparsities at which each layer alone is tried."""

OPTIONS = 61
"""Sparsities that a layer may get, from none to the highest level, evenly in the logarithm of what stays."""

MAX_ATTEMPTS = 6

Curve: TypeAlias = "tuple[np.ndarray, np.ndarray]"
Progress: TypeAlias = "Callable[[int, int], None]"


@dataclass(frozen=True)
class LayerSparsity:
    """What one layer got.

    Attributes:
        name: Of its weight.
        num_params: Its elements.
        sparsity: The fraction that is masked.
        dense_ms: Its time without a mask.
        masked_ms: Its time at that sparsity, between those that were measured.
        loss: What the mask was expected to harm.
    """

    name: str
    num_params: int
    sparsity: float
    dense_ms: float
    masked_ms: float
    loss: float


@dataclass(frozen=True)
class SparsityOutcome:
    """How a latency target for masks was met.

    Attributes:
        target: The ratio to the dense network's latency that was asked for.
        ratio: The ratio measured, round by round (median), with its quartiles.
        ratio_q1: Lower quartile.
        ratio_q3: Upper quartile.
        dense_ms: Median latency of the dense network.
        pruned_ms: Median latency of the masked one.
        attempts: Ratios that were asked of the layers' times, and measured, in order.
        figure: What losses are.
        layers: What each layer got.
        conditions: Runtime, threads, batch.
    """

    target: float
    ratio: float
    ratio_q1: float
    ratio_q3: float
    dense_ms: float
    pruned_ms: float
    attempts: tuple[tuple[float, float], ...]
    figure: str
    layers: tuple[LayerSparsity, ...]
    conditions: Mapping[str, Any]

    @property
    def met(self) -> bool:
        """Whether the target is reached, as far as the clock can tell; see :func:`sapwood.goals.approach.is_met`."""
        return is_met(self.ratio, self.target, quartiles=(self.ratio_q1, self.ratio_q3))


def mask_to_latency_(
    model: nn.Module,
    case: MaskCase,
    target: float,
    bench: Bench,
    *,
    scores: Mapping[str, Tensor] | None = None,
    measure: Callable[[nn.Module], float] | None = None,
    figure: str = "share of the squared scores",
    progress: Progress | None = None,
) -> tuple[MaskRecord, SparsityOutcome]:
    """Masks single weights of a model in place until it takes ``target`` of its latency.

    The whole network is timed at :data:`LEVELS`, layer by layer; each layer alone is masked at :data:`TRIED` and the
    model measured. The layers' sparsities are those of least harm whose times add up to the target
    (:func:`sapwood.allocation.solve_separable`); the network they make is measured, and the target corrected until the
    clock agrees.

    Args:
        model: In evaluation mode, without masks on what ``case`` selects.
        case: Of method ``scored``, single weights; its sparsity is replaced, and its budget not used.
        target: Fraction of the dense model's latency, in (0, 1).
        bench: Where it runs: a runtime that tells the times of layers.
        scores: As for :func:`sapwood.masks.apply_masks_`; magnitudes unless given.
        measure: A figure of a model that rises with harm, such as its divergence from the dense one; without it, the
            share of a layer's squared scores that goes.
        figure: What that is.
        progress: Called with (done, total) steps.

    Raises:
        ConfigError: If the target is not in (0, 1), or ``case`` is not about single weights by scores.
        BudgetError: If zeros do not make the model that fast on the runtime; says what the highest level reaches.
        MeasureError: If the runtime does not tell the times of layers.
    """
    if not 0.0 < target < 1.0:
        raise ConfigError(f"latency {target}; expected a fraction of the dense network's, in (0, 1)")
    if case.method != "scored" or case.blocks != "unstructured":
        raise ConfigError(
            f"a latency target with {case.method}, {case.blocks}; expected --method scored and single weights"
        )
    return _MaskSearch(model, case, target, bench, scores=scores, progress=progress).reach(measure, figure)


@dataclass(frozen=True)
class _LayerOptions:
    """The sparsities that layers may get, and what each of them takes and harms.

    Attributes:
        kept: The fraction that stays, by option, shape (OPTIONS,).
        costs: Milliseconds of each layer at each option.
        losses: Its harm likewise.
        rest: Milliseconds of everything else.
    """

    kept: np.ndarray
    costs: Sequence[np.ndarray]
    losses: Sequence[np.ndarray]
    rest: float

    @property
    def fewest(self) -> tuple[int, ...]:
        """The highest level everywhere."""
        return (len(self.kept) - 1,) * len(self.costs)

    def solved(self, fraction: float) -> tuple[int, ...] | None:
        """The options of least harm that take this fraction of the dense time; None where none are that fast."""
        choice = solve_separable(self.losses, self.costs, fraction * self._total((0,) * len(self.costs)) - self.rest)
        return None if choice is None else tuple(choice.picks)

    def predicted(self, picks: Sequence[int]) -> float:
        """What the layers' times say of a choice, as a ratio to the dense network."""
        return self._total(picks) / self._total((0,) * len(self.costs))

    def kept_by(self, picks: Sequence[int]) -> list[float]:
        """The fraction that stays in each layer."""
        return [float(self.kept[pick]) for pick in picks]

    def _total(self, picks: Sequence[int]) -> float:
        return self.rest + sum(float(cost[pick]) for cost, pick in zip(self.costs, picks, strict=True))


@dataclass(frozen=True)
class _Masked:
    """One network that was masked and measured."""

    picks: tuple[int, ...]
    asked: float
    predicted: float
    row: LatencyRow
    dense_ms: float

    @property
    def ratio(self) -> float:
        """Its measured ratio."""
        return self.row.ratio


class _MaskSearch:
    """One search."""

    def __init__(
        self,
        model: nn.Module,
        case: MaskCase,
        target: float,
        bench: Bench,
        *,
        scores: Mapping[str, Tensor] | None,
        progress: Progress | None,
    ) -> None:
        self._model, self._case, self._target, self._bench = model, case, target, bench
        self._progress, self._done = progress, 0
        self._slots = self._selected(model)
        self._scores = {
            slot.name: (slot.effective().abs() if scores is None else scores[slot.name]).detach()
            for slot in self._slots
        }
        self._total = len(LEVELS) + len(self._slots) * len(TRIED) + MAX_ATTEMPTS

    def reach(self, measure: Callable[[nn.Module], float] | None, figure: str) -> tuple[MaskRecord, SparsityOutcome]:
        options = self._options(measure, figure)
        tries = self._attempts(options)
        self._tell(self._total - self._done)
        best = min(tries, key=lambda one: distance(one.ratio, self._target))
        record = self._mask_(self._model, options.kept_by(best.picks))
        return record, self._outcome(best, tries, options, figure)

    def _options(self, measure: Callable[[nn.Module], float] | None, figure: str) -> _LayerOptions:
        """What each layer may get, what that takes, and what it harms."""
        curves, rest = self._times()
        harms = self._harms(measure, figure)
        kept = np.exp(np.linspace(0.0, np.log(1.0 - LEVELS[-1]), OPTIONS))
        costs = [np.interp(1.0 - kept, *curves[slot.name]) for slot in self._slots]
        losses = [np.interp(kept, *harms[slot.name]) for slot in self._slots]
        return _LayerOptions(kept, costs, losses, rest)

    def _attempts(self, options: _LayerOptions) -> list[_Masked]:
        """Masks and measures until one network is close enough; none is measured twice."""
        tries: list[_Masked] = []
        fraction, nudges = self._target, 0
        while len(tries) < MAX_ATTEMPTS and nudges <= MAX_NUDGES:
            picks = options.solved(fraction)
            reachable = picks is not None
            picks = picks or options.fewest
            if any(one.picks == picks for one in tries):
                best = min(tries, key=lambda one: distance(one.ratio, self._target))
                fraction, nudges = nudged(fraction, best.ratio, self._target), nudges + 1
                continue
            found = _Masked(picks, fraction, options.predicted(picks), *self._measured(options.kept_by(picks)))
            tries.append(found)
            if not reachable and found.ratio > self._target * (1.0 + MET_WITHIN):
                raise BudgetError(
                    f"latency {self._target:g} is out of reach: with {LEVELS[-1]:.0%} of every selected weight masked "
                    f"it is {found.ratio:.3g} on {self._bench.deployment.runtime}; expected more than that"
                )
            if distance(found.ratio, self._target) <= CLOSE_ENOUGH:
                break
            fraction = next_fraction([Reached(one.predicted, one.ratio) for one in tries], self._target)
        return tries

    def _outcome(self, best: _Masked, tries: Sequence[_Masked], options: _LayerOptions, figure: str) -> SparsityOutcome:
        deployment = self._bench.deployment
        return SparsityOutcome(
            self._target,
            best.row.ratio,
            best.row.ratio_q1,
            best.row.ratio_q3,
            best.dense_ms,
            best.row.median_ms,
            tuple((one.asked, one.ratio) for one in tries),
            figure,
            tuple(
                LayerSparsity(
                    slot.name,
                    slot.tensor.numel(),
                    1.0 - float(options.kept[pick]),
                    float(cost[0]),
                    float(cost[pick]),
                    float(loss[pick]),
                )
                for slot, pick, cost, loss in zip(self._slots, best.picks, options.costs, options.losses, strict=True)
            ),
            {"runtime": deployment.runtime, "threads": deployment.num_threads, "batch": deployment.batch},
        )

    def _selected(self, model: nn.Module) -> list[Slot]:
        return [one.slot for one in select_targets(model, self._case.layers, self._case.pattern).targets]

    def _times(self) -> tuple[dict[str, Curve], float]:
        """Milliseconds of each layer over its sparsity, never rising, and those of everything else."""
        modules = {slot.name: slot.name.rpartition(".")[0] for slot in self._slots}
        found: dict[str, list[float]] = {name: [] for name in modules}
        rest: list[float] = []
        for level in LEVELS:
            twin = copy_model(self._model)
            if level:
                self._mask_(twin, [1.0 - level] * len(self._slots))
            times = self._bench.layer_times(twin)
            if times is None or not set(modules.values()) & set(times):
                raise MeasureError(
                    f"{self._bench.deployment.runtime} does not tell what layers take; expected runtime sapwood"
                )
            for name, module in modules.items():
                found[name].append(times.get(module, 0.0))
            rest.append(sum(times.values()) - sum(own[-1] for own in found.values()))
            self._tell(1)
        levels = np.array(LEVELS)
        return {name: (levels, np.minimum.accumulate(own)) for name, own in found.items()}, float(np.median(rest))

    def _harms(self, measure: Callable[[nn.Module], float] | None, figure: str) -> dict[str, Curve]:
        """The loss of each layer over the fraction of its weights that stays."""
        if measure is None:
            return {slot.name: _norm_curve(self._scores[slot.name]) for slot in self._slots}
        twin = copy_model(self._model).eval()
        slots = {slot.name: slot for slot in self._selected(twin)}
        dense = float(measure(twin))
        if not np.isfinite(dense):
            raise MeasureError(f"{figure} of the untouched model is {dense}; expected a finite number")
        rows = []
        for name, slot in slots.items():
            size, harms = slot.tensor.numel(), {}
            for level in TRIED:
                count = max(1, round((1.0 - level) * size))
                with _zeroed({slot: count}, self._scores):
                    harms[count] = bounded_harm(float(measure(twin)) - dense)
                self._tell(1)
            counts = sorted(harms)
            rows.append(SensitivityRow(name, size, tuple(counts), tuple(harms[count] for count in counts)))
        with _zeroed({slots[row.group]: row.kept[0] for row in rows}, self._scores):
            worst = bounded_harm(float(measure(twin)) - dense)
        worst = max([worst, *(loss for row in rows for loss in row.losses)])
        curves = Sensitivity(figure, dense, tuple(rows), worst).curves()
        return {name: (np.array(kept), np.array(losses)) for (name, _), (kept, losses) in curves.items()}

    def _measured(self, kept: Sequence[float]) -> tuple[LatencyRow, float]:
        """Times the network with these fractions against the dense one; its row, and the dense milliseconds."""
        twin = copy_model(self._model)
        self._mask_(twin, kept)
        remove_masks_(twin)
        clocked = timed(self._bench, self._model, twin)
        self._tell(1)
        return clocked.row, clocked.dense_ms

    def _mask_(self, model: nn.Module, kept: Sequence[float]) -> MaskRecord:
        """Masks each layer so that a fraction of it stays."""
        sizes = [slot.tensor.numel() for slot in self._slots]
        counts = [max(1, round(fraction * size)) for fraction, size in zip(kept, sizes, strict=True)]
        case = replace(self._case, sparsity=1.0 - sum(counts) / sum(sizes))
        named = dict(zip((slot.name for slot in self._slots), counts, strict=True))
        return apply_masks_(model, case, scores=self._scores, kept=named)

    def _tell(self, steps: int) -> None:
        self._done = min(self._total, self._done + steps)
        if self._progress is not None:
            self._progress(self._done, self._total)


def _norm_curve(scores: Tensor) -> Curve:
    """The share of the squared scores that goes, over the fraction that stays."""
    squares = scores.flatten().double().square().sort().values.cumsum(0)
    gone = np.linspace(0.0, 1.0, 201)
    places = np.minimum(len(squares) - 1, (gone * len(squares)).astype(np.int64))
    total = max(float(squares[-1]), np.finfo(np.float64).tiny)
    lost = np.where(gone > 0.0, squares.numpy()[places] / total, 0.0)
    return (1.0 - gone)[::-1], lost[::-1]


@contextmanager
def _zeroed(counts: Mapping[Slot, int], scores: Mapping[str, Tensor]) -> Iterator[None]:
    """All but some weights of these parameters are zero inside."""
    with restored(slot.tensor for slot in counts):
        with torch.no_grad():
            for slot, count in counts.items():
                slot.tensor.mul_(keep_largest(scores[slot.name].flatten(), count).reshape(slot.tensor.shape))
        yield
