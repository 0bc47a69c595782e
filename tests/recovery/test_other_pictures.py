"""Pictures of other folders: they count as much as helps on one's own that were held out, and never judge."""

from __future__ import annotations

import importlib
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import sapwood
from sapwood.errors import ConfigError
from sapwood.masks import Unstructured
from sapwood.pipeline import Pruned, recover
from sapwood.recovery import DistillConfig, Rule, distill, reconstruct
from sapwood.recovery.distillation.samples import Drawn, Samples
from sapwood.recovery.reconstruction.layer_sums import LayerSums
from sapwood.recovery.reconstruction.masked import choose
from sapwood.types import ModelBundle, ModelSource, TaskSpec

TASK = TaskSpec("classification", (6, 6), tuple("abcd"))


def _rows(count: int, seed: int, truth: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 1, 4, dtype=torch.float64, generator=generator)
    noise = torch.randn(count, 1, 2, dtype=torch.float64, generator=generator)
    return inputs, inputs @ truth + 0.5 * noise


def _sums(truth: Tensor, of_others: Tensor) -> LayerSums:
    sums = LayerSums.zeros((1, 4, 2), others=True)
    assert sums.others is not None
    sums.fit.add(*_rows(6, 0, truth))
    sums.held.add(*_rows(200, 1, truth))
    sums.others.add(*_rows(400, 2, of_others))
    return sums


TRUTH = torch.arange(8, dtype=torch.float64).reshape(1, 4, 2) / 4.0


def test_a_weight_counts_rows_as_if_they_were_there_so_many_times() -> None:
    sums = _sums(TRUTH, 0.5 * TRUTH)
    old, bias = torch.zeros(1, 4, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    solved, counted = sums.solve(old, bias, intercept=False, weights=(0.25,))
    assert counted == 0.25
    parts = [(_rows(6, 0, TRUTH), 1.0), (_rows(200, 1, TRUTH), 1.0), (_rows(400, 2, 0.5 * TRUTH), 0.25)]
    inputs, targets = (torch.cat([weight**0.5 * rows[place][:, 0] for rows, weight in parts]) for place in (0, 1))
    assert solved.damping is not None
    gram = inputs.T @ inputs
    ridge = solved.damping * gram.diagonal().mean() * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(solved.weight[0], torch.linalg.solve(gram + ridge, inputs.T @ targets))
    assert sums.num_rows == 606


def test_the_weight_is_the_one_that_is_best_on_rows_of_ones_own() -> None:
    old, bias = torch.zeros(1, 4, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    alike, apart = _sums(TRUTH, TRUTH), _sums(TRUTH, -TRUTH)
    assert alike.solve(old, bias, intercept=True)[1] == 1.0
    solved, counted = apart.solve(old, bias, intercept=True)
    assert counted == 0.0
    alone = replace(apart, others=None).solve(old, bias, intercept=True)
    assert alone[1] is None
    assert torch.equal(solved.weight, alone[0].weight)
    rule = Rule(torch.ones(2, 4, dtype=torch.bool))
    assert alike.solve_by_rule(old, bias, rule, intercept=True)[2] == 1.0
    assert apart.solve_by_rule(old, bias, rule, intercept=True)[2] == 0.0


def test_which_weights_stay_is_chosen_once_however_many_weights_of_the_others_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masked = importlib.import_module("sapwood.recovery.reconstruction.masked")
    chosen: list[int] = []

    def counted(*given: Tensor, **how: object) -> Tensor:
        chosen.append(1)
        return choose(*given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(masked, "choose", counted)
    old, bias = torch.zeros(1, 4, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    rule = Rule(torch.tensor([[True, False, True, False]] * 2), Unstructured())
    for others, weight in ((TRUTH, 1.0), (-TRUTH, 0.0)):
        chosen.clear()
        solved, mask, counts = _sums(TRUTH, others).solve_by_rule(old, bias, rule, intercept=True)
        assert (len(chosen), counts, int(mask.sum())) == (1, weight, 4)
        assert solved.after < solved.before


@pytest.mark.parametrize(("ruled", "most"), [(False, 3.5), (True, 4.5)])
def test_solving_takes_few_matrices_beside_the_sums(ruled: bool, most: float) -> None:
    """5 of either while sums were added up beside each other for every weight of the others."""
    torch.manual_seed(0)
    unknowns, weight = 256, torch.randn(1, 256, 4, dtype=torch.float64)
    sums = LayerSums.zeros((1, unknowns, 4), others=True)
    assert sums.others is not None
    for one in (sums.fit, sums.held, sums.others):
        rows = torch.randn(400, 1, unknowns, dtype=torch.float64)
        one.add(rows, rows[:, :, :4] + torch.randn(400, 1, 4, dtype=torch.float64))
    bias, rule = torch.zeros(1, 4, dtype=torch.float64), Rule(torch.rand(4, unknowns) < 0.1, Unstructured())

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        if ruled:
            sums.solve_by_rule(weight, bias, rule, intercept=True)
        else:
            sums.solve(weight, bias, intercept=True)
    assert seen.profiler is not None
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    bytes_of = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    assert max(accumulate(bytes_of)) < most * 8 * unknowns**2


def test_samples_are_views_of_their_batches() -> None:
    batches = [torch.randn(3, 2, 4, 4), torch.randn(2, 2, 4, 4)]
    samples = Samples.of(batches)
    memory = {one.untyped_storage().data_ptr() for one in batches}
    taken = samples.take([4, 0]).joined(samples.take([2]))
    rows = [tensor for one in (samples, taken) for row in one.rows for tensor in row]
    assert {tensor.untyped_storage().data_ptr() for tensor in rows} == memory
    assert torch.equal(taken.inputs(), torch.cat(batches)[[4, 0, 2]])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def case() -> tuple[ModelBundle, Pruned, Tensor, Tensor]:
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ).eval()
    own, others = torch.randn(24, 3, 6, 6), 5.0 + torch.randn(16, 3, 6, 6)
    pruned = sapwood.prune(dense, own[:1], target=sapwood.Target(sparsity=0.5))
    return ModelBundle(dense, own[:1], TASK, ModelSource("tiny:net", "test")), pruned, own, others


def _same(one: nn.Module, other: nn.Module) -> bool:
    values = other.state_dict()
    return all(torch.equal(value, values[name]) for name, value in one.state_dict().items())


def test_reconstruction_without_their_weight_is_as_if_they_were_not_there(
    case: tuple[ModelBundle, Pruned, Tensor, Tensor],
) -> None:
    bundle, pruned, own, others = case
    given = (bundle.model, pruned.model, pruned.plan, own.split(8))
    alone = reconstruct(*given)
    beside = reconstruct(*given, others=[others], others_weights=(0.0,))
    assert _same(alone.model, beside.model)
    assert (alone.num_pictures, beside.num_pictures) == (24, 40)
    assert {layer.others_weight for layer in alone.layers} == {None}
    assert {layer.others_weight for layer in beside.layers} == {0.0}
    counted = reconstruct(*given, others=[others], others_weights=(1.0,))
    assert not _same(alone.model, counted.model)
    assert [one.error_before for one in counted.layers][:1] == [one.error_before for one in alone.layers][:1]
    chosen = reconstruct(*given, others=[others])
    assert all(
        one.error_after <= other.error_after for one, other in zip(chosen.layers[:1], alone.layers, strict=False)
    )
    for weights in ((), (-1.0,), (float("nan"),)):
        with pytest.raises(ConfigError, match=r"others_weights: got .*; expected numbers of at least 0"):
            reconstruct(*given, others=[others], others_weights=weights)


def test_distillation_shows_a_share_of_them_and_holds_none_out(
    case: tuple[ModelBundle, Pruned, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, pruned, own, others = case
    seen: list[list[bool]] = []

    def shown(inputs: Tensor, generator: torch.Generator, *, mosaics: bool) -> Tensor:
        del generator
        assert not mosaics, "of a classifier"
        seen.append([float(picture.mean()) > 2.5 for picture in inputs])
        return inputs

    monkeypatch.setattr(importlib.import_module("sapwood.recovery.distillation.distill"), "looked_at", shown)
    config = DistillConfig(steps=6, batch_size=8, others_share=0.25, evaluations=1)
    given = (bundle.model, pruned.model, pruned.plan, [own], TASK)
    found = distill(*given, others=[others], config=config)
    assert [(len(batch), sum(batch)) for batch in seen] == [(8, 2)] * 6
    assert found.num_pictures == 40
    alone = distill(*given, config=config)
    assert alone.history[0] == found.history[0], "others are held out"
    assert alone.num_pictures == 24
    without = distill(*given, others=[others], config=replace(config, others_share=0.0))
    assert _same(alone.model, without.model)


def test_each_sample_is_drawn_once_before_any_comes_again() -> None:
    drawn = Drawn(Samples.of([torch.arange(5)]), torch.Generator().manual_seed(0))
    order = [int(one) for _ in range(5) for one in drawn.take(2).inputs()]  # type: ignore[union-attr]
    assert sorted(order[:5]) == sorted(order[5:]) == [0, 1, 2, 3, 4]


def test_recovery_takes_them_and_the_record_says_what_they_counted(
    case: tuple[ModelBundle, Pruned, Tensor, Tensor],
) -> None:
    bundle, pruned, own, others = case
    found = recover(bundle, pruned, [own], "reconstruct", others=[others]).recovery
    assert found is not None
    assert found.num_pictures == 40
    assert all(layer.others_weight in {0.0, 0.1, 1.0} for layer in found.layers)


def test_memory_goes_back_after_each_layer_and_targets_end_with_theirs(
    case: tuple[ModelBundle, Pruned, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside, freed memory stays with the process: matrices of one layer would stand beside those of the next."""
    bundle, pruned, own, others = case
    recovering = importlib.import_module("sapwood.pipeline.recovering")
    module = importlib.import_module("sapwood.recovery.reconstruction.reconstruct")
    back: list[int] = []
    left: list[int] = []
    solve_wave = module._TwoNetworks._solve_wave

    def watched(self: object, wave: object, wanted: list[dict[int, object]], restart: object) -> object:
        found = solve_wave(self, wave, wanted, restart)
        left.append(sum(map(len, wanted)))
        return found

    monkeypatch.setattr(recovering, "give_back", lambda: back.append(1))
    monkeypatch.setattr(module._TwoNetworks, "_solve_wave", watched)
    told: list[tuple[int, int]] = []
    recover(bundle, pruned, [own], "reconstruct", others=[others], progress=lambda _: lambda *done: told.append(done))
    assert left == [5, 0], "a layer of four looks and of the others, then nothing"
    assert len(back) == len(told) == 2
