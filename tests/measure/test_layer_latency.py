"""Fits of layer times to made-up runs of a known law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from sapwood.allocation import Extent, Term
from sapwood.allocation.work import Work
from sapwood.errors import MeasureError
from sapwood.measure import Sample, explain, fit_latency, sample_work, width_samples
from sapwood.measure.layer_latency import MIN_SAMPLES, STEPS

PLACES = 256.0
CHANNELS = (64, 96)
UNSEEN = ((5, 7), (33, 50), (20, 90), (64, 1))
ROUNDING = 1e-9  # relative: a least-squares problem of at most four well-scaled columns, in float64

FIXED = {"a": 0.01, "b": 0.02, "c": 0.005, "": 0.03}
LAW = {"a": (1e-6, 2e-6, 3e-6), "b": (2e-7, 0.0, 1e-5), "c": (5e-7, 4e-6, 0.0), "": (1e-8, 0.0, 0.0)}
"""Milliseconds a multiply-accumulate, a number read and a number written; ``""`` follows the whole network."""


def network() -> Work:
    """3 -> 64 -> 96 -> 10 channels by a 3 x 3 convolution and two of 1 x 1, on 256 places."""
    first, second = Extent(0, {0: 1}), Extent(0, {1: 1})
    macs = (Term("a", 27 * PLACES, (first,)), Term("b", PLACES, (first, second)), Term("c", 10 * PLACES, (second,)))
    reads = (Term("a", 3 * PLACES, ()), Term("b", PLACES, (first,)), Term("c", PLACES, (second,)))
    writes = (Term("a", PLACES, (first,)), Term("b", PLACES, (second,)), Term("c", 10 * PLACES, ()))
    return Work({"macs": macs, "reads": reads, "writes": writes}, ("a", "b", "c"))


def counted(width: int, step: int) -> int:
    return width if width <= step else math.ceil(width / step) * step


def law(kept: tuple[int, ...], step: int) -> dict[str, float]:
    """The time of each layer where channels count in multiples of ``step``."""
    a, b = (counted(width, step) for width in kept)
    work = {
        "a": np.array([27 * a, 3, a]) * PLACES,
        "b": np.array([a * b, a, b]) * PLACES,
        "c": np.array([10 * b, b, 10]) * PLACES,
    }
    work[""] = work["a"] + work["b"] + work["c"]
    return {name: FIXED[name] + float(np.dot(LAW[name], work[name])) for name in FIXED}


def sample_of(kept: tuple[int, ...], times: Mapping[str, float]) -> Sample:
    return Sample(times, sample_work(network(), kept))


def runs(step: int, count: int = 12) -> dict[tuple[int, ...], Sample]:
    return {kept: sample_of(kept, law(kept, step)) for kept in width_samples(CHANNELS, count, seed=3)}


@pytest.mark.parametrize("step", STEPS)
def test_a_known_law_is_recovered(step: int) -> None:
    fit = fit_latency(list(runs(step).values()))
    assert fit.step == step
    assert fit.worst < ROUNDING
    for kept in UNSEEN:
        assert fit.predicted_ms(sample_of(kept, {})) == pytest.approx(law(kept, step), rel=ROUNDING)


@pytest.mark.parametrize("step", STEPS)
def test_the_table_is_the_sum_of_the_predictions(step: int) -> None:
    samples = runs(step)
    fit = fit_latency(list(samples.values()))
    table = fit.table(network())
    for kept, sample in samples.items():
        assert table.total(np.array(kept)) == pytest.approx(sum(fit.predicted_ms(sample).values()), rel=ROUNDING)


def test_runs_at_multiples_do_not_speak_for_them() -> None:
    """Runs at multiples of 8 are the same under a step of 1 and of 8, which would make 23 channels cost what 24 do."""
    samples = [sample_of(kept, law(kept, 1)) for kept in width_samples(CHANNELS, 12, steps=(8, 8))]
    assert fit_latency(samples).step == 1


def test_noise_is_averaged() -> None:
    """Of 60 runs with 10 % of noise each, the fit has to be several times better than any one of them."""
    rng = np.random.default_rng(0)
    noisy = [
        replace(sample, layer_ms={name: time * rng.normal(1.0, 0.1) for name, time in sample.layer_ms.items()})
        for sample in runs(16, count=60).values()
    ]
    fit = fit_latency(noisy)
    inside = ((33, 50), (20, 90), (50, 20), (16, 24))  # of the range that was sampled, from 0.12 of the channels on
    wrong = [sum(fit.predicted_ms(sample_of(kept, {})).values()) / sum(law(kept, 16).values()) - 1 for kept in inside]
    # four figures from 60 runs: 0.1 * sqrt(4 / 60) = 0.026 at a typical width; twice that is allowed
    assert max(map(abs, wrong)) < 0.052
    assert 0.01 < fit.error < 0.1


def test_costs_are_never_negative() -> None:
    rng = np.random.default_rng(1)
    samples = [sample_of(kept, {name: rng.uniform() for name in FIXED}) for kept in width_samples(CHANNELS, 12)]
    fit = fit_latency(samples)
    assert all(figure >= 0 for one in fit.layers.values() for figure in (one.fixed_ms, *one.ms_per))


def without(sample: Sample, layer: str) -> Sample:
    """A run of a network without the layer."""
    work = {step: {name: own for name, own in layers.items() if name != layer} for step, layers in sample.work.items()}
    return Sample({name: time for name, time in sample.layer_ms.items() if name != layer}, work)


def test_a_layer_that_is_not_there_costs_nothing() -> None:
    """Nor does a run without it spoil what the others say of it."""
    samples = {kept: replace(one, layer_ms=one.layer_ms | {"": FIXED[""]}) for kept, one in runs(16).items()}
    gone, last = list(samples.items())[-1]
    some = [*list(samples.values())[:-1], without(last, "c")]
    fit = fit_latency(some)
    assert fit.worst < ROUNDING
    assert fit.predicted_ms(last)["c"] == pytest.approx(law(gone, 16)["c"], rel=ROUNDING)
    assert "c" not in fit.predicted_ms(some[-1])
    work = network()
    terms = {kind: tuple(term for term in own if term.layer != "c") for kind, own in work.terms.items()}
    total = fit.table(Work(terms, ("a", "b"))).total(np.array(gone))
    assert total == pytest.approx(sum(fit.predicted_ms(some[-1]).values()), rel=ROUNDING)


def test_too_few_runs_are_refused() -> None:
    few = list(runs(1).values())[: MIN_SAMPLES - 1]
    with pytest.raises(MeasureError, match=r"^4 runs at different widths; expected at least 5$"):
        fit_latency(few)


def test_equal_groups_are_sampled_in_equal_numbers() -> None:
    samples = width_samples((32, 32, 48), 12, equal=((0, 1),))
    assert len(samples) == 12
    assert samples[0] == (32, 32, 48)
    assert all(a == b for a, b, _ in samples)
    assert all(1 <= width <= full for one in samples for width, full in zip(one, (32, 32, 48), strict=True))
    assert samples == width_samples((32, 32, 48), 12, equal=((0, 1),))


def test_samples_cover_the_range_of_every_group() -> None:
    """A Latin hypercube: each of the 11 slots from 0.12 to 1 is met once in every group."""
    fractions = np.array(width_samples((10_000, 10_000), 12)[1:]) / 10_000
    slots = np.floor((fractions - 0.12) / 0.88 * 11 - 1e-9)
    assert np.array_equal(np.sort(slots, axis=0), np.tile(np.arange(11.0)[:, None], (1, 2)))


def reason(name: str, kept: tuple[int, ...], times: Mapping[str, float], step: int = 16) -> str:
    """What is said of a layer that took so long at some widths, where the runtime counts in multiples of ``step``."""
    samples = runs(step)
    dense = samples[CHANNELS]
    rows = explain(
        dense, sample_of(kept, times), fit_latency(list(samples.values())), {"c": "is an output of the model"}
    )
    return next(row.reason for row in rows if row.layer == name)


def test_reasons() -> None:
    full, half = law(CHANNELS, 16), law((32, 48), 16)
    assert reason("b", (32, 48), half | {"b": full["b"] / 4}) == ""
    assert reason("b", (33, 49), law((33, 49), 16) | {"b": full["b"]}).startswith(
        "its widths are no multiples of 16, in which this runtime counts: 1.90 times the work"
    )
    assert reason("a", CHANNELS, full) == "keeps all of its work"
    assert reason("c", CHANNELS, full) == "keeps all of its work: is an output of the model"
    # b at 16 x 16 channels: 0.02 fixed, 2e-7 * 256 * 256 = 0.013 of arithmetic, 1e-5 * 16 * 256 = 0.041 of writing
    bound = "bound by memory: 55% of its time goes with the maps it reads and writes"
    assert reason("b", (16, 16), half | {"b": full["b"]}) == bound
    # c at 1 channel: 0.005 fixed and 9e-6 * 256 = 0.0023 a channel
    assert reason("c", (64, 1), half | {"c": full["c"]}) == "68% of its time is a fixed cost that no width changes"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((0.9, 1.2), (1.1, 1.9), ""),
        ((0.9, 1.1), (1.1, 1.9), ""),
        ((0.9, 1.05), (1.1, 1.9), "less work, done less efficiently"),
        (None, (1.1, 1.9), "less work, done less efficiently"),
    ],
)
def test_no_cause_where_the_clock_tells_no_difference(
    before: tuple[float, float] | None, after: tuple[float, float], told: str
) -> None:
    """Half of the work in more time, but the middle halves of the two timings share a time, or not."""
    dense, half = sample_of(CHANNELS, {"b": 1.0}), sample_of((32, 48), {"b": 1.5})
    dense = replace(dense, quartiles={} if before is None else {"b": before})
    (row,) = explain(dense, replace(half, quartiles={"b": after}))
    assert row.reason == told


def test_work_that_all_stays_is_no_matter_of_the_clock() -> None:
    dense = replace(sample_of(CHANNELS, {"c": 1.0}), quartiles={"c": (0.5, 1.5)})
    (row,) = explain(dense, dense, frozen={"c": "is an output of the model"})
    assert row.reason == "keeps all of its work: is an output of the model"


def test_changes_are_the_slowest_first_and_keep_both_times() -> None:
    rows = explain(sample_of(CHANNELS, {"a": 1.0, "b": 3.0}), sample_of((32, 48), {"a": 0.5, "c": 0.1}))
    assert [(row.layer, row.before_ms, row.after_ms) for row in rows] == [
        ("b", 3.0, 0.0),
        ("a", 1.0, 0.5),
        ("c", 0.0, 0.1),
    ]
    assert [row.ratio for row in rows] == [0.0, 0.5, None]
    assert rows[1].macs_after == rows[1].macs_before / 2
