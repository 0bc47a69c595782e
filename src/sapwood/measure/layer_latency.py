"""The latency of each layer as a function of its work, fitted to runs of a network at several widths."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sapwood.allocation import KINDS, CostTable, Term, Work
from sapwood.errors import MeasureError

STEPS = (1, 8, 16)
"""Multiples in which a runtime may count channels: vector kernels work on 8 or 16 at a time."""

MIN_SAMPLES = 5
"""Runs at different widths below which four figures a layer are not told apart."""

LIKELY_NOISE = 0.1
"""A layer's times are weighed by one over (themselves + this share of its longest): short times are noisier."""

SAME_FIT = 1e-9
"""Misfits closer than this share of all times differ by rounding only."""

Rows = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Sample:
    """One run of the network at some widths.

    Attributes:
        layer_ms: Time of each layer (module path), exclusive of layers in it; ``"(runtime)"`` and ``"(overhead)"`` are
            what belongs to none.
        work: For each of :data:`STEPS` the work of each layer in the order of ``KINDS``, channels counted in it.
        quartiles: The middle half of the layers' times, where the runtime tells it.
    """

    layer_ms: Mapping[str, float]
    work: Mapping[int, Mapping[str, tuple[float, ...]]]
    quartiles: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        """The time of the run."""
        return sum(self.layer_ms.values())


@dataclass(frozen=True)
class LayerFit:
    """What a layer's time is made of.

    Attributes:
        fixed_ms: Time whatever its width: the cost of calling it, and of all that no pruned channel touches.
        ms_per: Time a unit of work, in the order of ``KINDS``.
        of_all: It has no work of its own, and what counts is that of the whole network.
    """

    fixed_ms: float
    ms_per: tuple[float, ...]
    of_all: bool = False

    def applies_to(self, name: str, layers: Collection[str]) -> bool:
        """Whether a network in which these layers work spends this time; ``name`` is the fitted layer's."""
        return self.of_all or name in layers


@dataclass(frozen=True)
class LatencyModel:
    """Predicts the time of a network from the widths of its channel groups.

    Attributes:
        step: Multiple in which the runtime counts channels, as fitted.
        layers: The fit of each layer.
        error: Median over the samples of ``|predicted - measured| / measured``, for the whole network.
        worst: The largest of them.
    """

    step: int
    layers: Mapping[str, LayerFit]
    error: float
    worst: float

    def table(self, work: Work) -> CostTable:
        """The cost in milliseconds of a network with this work, each term by the layer that does it."""
        found: list[Term] = []
        fixed = 0.0
        for name, fit in self.layers.items():
            if not fit.applies_to(name, work.layers):
                continue
            if fit.of_all:
                fixed += fit.fixed_ms
            else:
                found.append(Term(name, fit.fixed_ms, ()))
            for kind, rate in zip(KINDS, fit.ms_per, strict=True):
                if rate:
                    own = [term for term in work.terms[kind] if fit.of_all or term.layer == name]
                    found += [replace(term, factor=term.factor * rate) for term in own]
        return CostTable("ms", tuple(_stepped(term, self.step) for term in found), fixed)

    def predicted_ms(self, sample: Sample) -> dict[str, float]:
        """The time of each layer at the widths of a sample; a layer that did no work there has none."""
        work = sample.work[self.step]
        everything = _everything(work)
        return {
            name: _at(fit, everything if fit.of_all else work[name])
            for name, fit in self.layers.items()
            if fit.applies_to(name, work)
        }


def sample_work(work: Work, kept: Sequence[int]) -> dict[int, dict[str, tuple[float, ...]]]:
    """The work of each layer at some widths, for each of :data:`STEPS`.

    Args:
        work: Of the network.
        kept: Channels that each group keeps.
    """
    widths = np.asarray(kept, dtype=np.int64)
    found = {}
    for step in STEPS:
        by_kind = [
            CostTable(kind, tuple(_stepped(term, step) for term in work.terms[kind])).by_layer(widths) for kind in KINDS
        ]
        found[step] = {layer: tuple(one.get(layer, 0.0) for one in by_kind) for layer in work.layers}
    return found


def fit_latency(samples: Sequence[Sample]) -> LatencyModel:
    r"""Fits the time of every layer to its work.

    .. math:: t = a + b_1 \, \mathrm{macs} + b_2 \, \mathrm{reads} + b_3 \, \mathrm{writes}, \quad a, b_i \ge 0

    The multiple in which channels count is the one of :data:`STEPS` under which the times are fitted best; the
    smallest, where the runs cannot tell, as those at multiples of 8 cannot tell 1 from 8.

    Args:
        samples: Runs at different widths, the unpruned network among them.

    Raises:
        MeasureError: If there are fewer than :data:`MIN_SAMPLES`.
    """
    if len(samples) < MIN_SAMPLES:
        raise MeasureError(f"{len(samples)} runs at different widths; expected at least {MIN_SAMPLES}")
    names = list(dict.fromkeys(name for sample in samples for name in sample.layer_ms))
    rounding = SAME_FIT * sum(sample.total_ms for sample in samples)
    best: tuple[float, int, dict[str, LayerFit]] | None = None
    for step in STEPS:
        fits = {}
        misfit = 0.0
        for name in names:
            fits[name], error = _fit_layer(name, samples, step)
            misfit += error
        if best is None or misfit < best[0] - rounding:
            best = (misfit, step, fits)
    assert best is not None
    model = LatencyModel(best[1], best[2], 0.0, 0.0)
    errors = [abs(sum(model.predicted_ms(one).values()) / one.total_ms - 1.0) for one in samples]
    return replace(model, error=float(np.median(errors)), worst=max(errors))


def _fit_layer(name: str, samples: Sequence[Sample], step: int) -> tuple[LayerFit, float]:
    """The fit of one layer, and the sum of its errors in milliseconds; samples without the layer say nothing of it."""
    from scipy.optimize import nnls  # imports for a second

    of_all = not any(name in sample.work[step] for sample in samples)
    samples = [sample for sample in samples if of_all or name in sample.work[step]]
    times = np.array([sample.layer_ms.get(name, 0.0) for sample in samples])
    rows = np.array([_everything(sample.work[step]) if of_all else sample.work[step][name] for sample in samples])
    largest = rows.max(axis=0)
    used = (largest > 0) & (np.ptp(rows, axis=0) > 0)
    columns = np.concatenate([np.ones((len(samples), 1)), rows[:, used] / largest[used]], axis=1)
    weights = 1.0 / (times + LIKELY_NOISE * times.max() + 1e-9)
    found, _ = nnls(columns * weights[:, None], times * weights)
    rates = np.zeros(len(KINDS))
    rates[used] = found[1:] / largest[used]
    error = float(np.abs(columns @ found - times).sum())
    return LayerFit(float(found[0]), tuple(rates.tolist()), of_all), error


def _everything(work: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    """The work of the whole network: what the time of no layer in particular may follow."""
    return tuple(np.sum(list(work.values()), axis=0).tolist())


def _at(fit: LayerFit, work: Sequence[float]) -> float:
    return fit.fixed_ms + sum(rate * amount for rate, amount in zip(fit.ms_per, work, strict=True))


def _stepped(term: Term, step: int) -> Term:
    return replace(term, extents=tuple(replace(extent, step=step) for extent in term.extents))
