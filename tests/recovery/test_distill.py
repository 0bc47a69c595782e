"""Distillation on a small classifier: towards the dense network, never away from it, the same each time."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import ConfigError
from sapwood.models import Plan
from sapwood.pipeline import Pruned, recover
from sapwood.recovery import DistillConfig, distill
from sapwood.recovery import views as views_module
from sapwood.recovery.views import augmented
from sapwood.tasks import divergence
from sapwood.types import ModelBundle, ModelSource, TaskSpec

TASK = TaskSpec("classification", (12, 12), tuple("abcde"))
QUICK = DistillConfig(steps=40, batch_size=8, lr=3e-3, evaluations=4, decay=0.8)


@pytest.fixture(scope="module")
def case() -> tuple[ModelBundle, Pruned, Tensor]:
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        nn.Conv2d(12, 16, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()
    with torch.no_grad():
        dense[-1].weight.mul_(20.0)
    pictures = torch.randn(48, 3, 12, 12)
    bundle = ModelBundle(dense, pictures[:1], TASK, ModelSource("tiny:net", "test"))
    pruned = sapwood.prune(dense, pictures[:1], target=sapwood.Target(sparsity=0.5))
    return bundle, pruned, pictures


def test_it_ends_nearer_to_the_dense_network(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    bundle, pruned, pictures = case
    before = {name: value.clone() for name, value in pruned.model.state_dict().items()}
    found = distill(bundle.model, pruned.model, pruned.plan, pictures[:40].split(16), TASK, config=QUICK)
    best = min(check.divergence for check in found.history)
    assert best < 0.8 * found.history[0].divergence
    assert found.best_step == next(check.step for check in found.history if check.divergence == best)
    with torch.no_grad():
        wanted = bundle.model(pictures[40:])
        apart = [float(divergence(TASK, model(pictures[40:]), wanted, model)) for model in (pruned.model, found.model)]
    assert apart[1] < apart[0]
    assert all(torch.equal(value, before[name]) for name, value in pruned.model.state_dict().items())
    with torch.no_grad():
        read = found.model[0](pictures[:40]).mean((0, 2, 3))
    assert torch.allclose(found.model[1].running_mean, read, rtol=0, atol=1e-5), "BatchNorms hold what they read"


def test_the_same_seed_gives_the_same_weights(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    bundle, pruned, pictures = case
    first, again = (
        distill(bundle.model, pruned.model, pruned.plan, [pictures], TASK, config=QUICK).model.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_a_descent_that_does_harm_changes_nothing(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    bundle, pruned, pictures = case
    config = DistillConfig(steps=4, batch_size=8, lr=50.0, evaluations=4, decay=0.0)
    found = distill(bundle.model, pruned.model, pruned.plan, [pictures], TASK, config=config)
    assert found.best_step == 0
    norms = {f"{name}." for name, one in found.model.named_modules() if isinstance(one, nn.BatchNorm2d)}
    given = pruned.model.state_dict()
    weights = {name: value for name, value in found.model.state_dict().items() if not name.startswith(tuple(norms))}
    assert all(torch.equal(value, given[name]) for name, value in weights.items())
    with torch.no_grad():
        assert torch.allclose(found.model(pictures), pruned.model(pictures), rtol=1e-5, atol=1e-5), "nor any output"


def test_outputs_apart_by_rounding_only_stay_so(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    """The divergence is no larger than its rounding, and may come out below 0; nothing is measured in it."""
    bundle, pruned, pictures = case
    dense, small = (copy.deepcopy(model) for model in (bundle.model, pruned.model))
    with torch.no_grad():
        for network in (dense, small):
            network[-1].weight.mul_(1e-5)
    config = DistillConfig(steps=4, batch_size=8, lr=1e-3, evaluations=2)
    found = distill(dense, small, pruned.plan, [pictures], TASK, config=config)
    assert abs(found.history[0].divergence) < 1e-7
    assert min(check.divergence for check in found.history) <= found.history[0].divergence


def test_mirrored_follows_what_the_dense_network_says_of_both_sides() -> None:
    """The dense network itself is not there yet, and a copy of it comes nearer."""
    torch.manual_seed(0)
    pictures = torch.randn(160, 3, 6, 6)
    dense = nn.Sequential(nn.Conv2d(3, 5, 6), nn.Flatten()).eval()
    config = replace(QUICK, steps=40, batch_size=32, lr=1e-2, augment=False, mirrored=True, precision="float32")
    found = distill(dense, dense, Plan(), [pictures[:128]], TASK, config=config)
    seen = pictures[128:]
    with torch.no_grad():
        both = (dense(seen).softmax(1) + dense(seen.flip(3)).softmax(1)) / 2.0
        before, after = (float(divergence(TASK, model(seen), both.log(), model)) for model in (dense, found.model))
    assert after < 0.5 * before


def test_mirrored_is_of_classifiers_of_pictures(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    bundle, pruned, pictures = case
    config = replace(QUICK, mirrored=True)
    boxes = replace(TASK, kind="detection")
    wanted = r"mirrored: answers to mirror images are of classifiers of pictures; got a network for detection"
    with pytest.raises(ConfigError, match=wanted):
        distill(bundle.model, pruned.model, pruned.plan, [pictures], boxes, config=config)
    line = nn.Linear(4, 5)
    with pytest.raises(ConfigError, match=r"got a network for classification, which reads shape \(1, 4\)"):
        distill(line, line, Plan(), [torch.randn(4, 4)], TASK, config=config)


def test_mirrored_is_refused_before_anything_is_solved(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    bundle, pruned, pictures = case
    stages: list[str] = []
    boxes = replace(bundle, task=replace(TASK, kind="detection"))
    with pytest.raises(ConfigError, match="mirrored: answers to mirror images are of classifiers of pictures"):
        recover(boxes, pruned, [pictures], "distill", config=replace(QUICK, mirrored=True), progress=stages.append)
    assert stages == []


def test_recover_reconstructs_first(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    bundle, pruned, pictures = case
    stages: list[str] = []
    solved = recover(bundle, pruned, [pictures], "reconstruct")
    refined = recover(bundle, pruned, [pictures], "distill", config=QUICK, progress=stages.append)
    assert stages == ["reconstructing", "distilling"]
    assert solved.recovery.layers == refined.recovery.layers
    assert solved.plan is refined.plan is pruned.plan
    assert recover(bundle, pruned, [pictures], "none") is pruned
    with pytest.raises(ConfigError, match="recover 'magic'; expected one of none, batchnorm, reconstruct, distill"):
        recover(bundle, pruned, [pictures], "magic")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "steps: got 0; expected a whole number of at least 1"),
        ("lr", math.inf, "lr: got inf; expected more than 0"),
        ("held_out", 1.0, r"held_out: got 1.0; expected a number in \[0, 1\)"),
        ("feature_weight", -1.0, "feature_weight: got -1.0; expected at least 0"),
    ],
)
def test_bad_settings_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DistillConfig(**{name: value})  # type: ignore[arg-type]


def test_one_picture_is_too_few(case: tuple[ModelBundle, Pruned, Tensor]) -> None:
    bundle, pruned, pictures = case
    with pytest.raises(ConfigError, match="1 pictures to distill on; expected at least 2"):
        distill(bundle.model, pruned.model, pruned.plan, [pictures[:1]], TASK, config=QUICK)


def test_views_of_small_pictures_are_moved_by_whole_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "MIXED", 0.0)
    pictures = torch.randn(24, 3, 16, 16)
    views = augmented(pictures, torch.Generator().manual_seed(0))
    seen = set()
    for view, picture in zip(views, pictures, strict=True):
        padded = F.pad(picture, (2, 2, 2, 2))
        found = []
        for top, left, mirrored in itertools.product(range(5), range(5), (False, True)):
            moved = padded[:, top : top + 16, left : left + 16]
            moved = moved.flip(2) if mirrored else moved
            factor = float((view * moved).sum() / moved.square().sum())
            if float((view - factor * moved).abs().max()) < 1e-4:
                assert 0.8 <= factor <= 1.2
                found.append((top, left, mirrored))
        assert len(found) == 1
        seen.update(found)
    assert len(seen) > 12


def test_views_of_large_pictures_keep_their_size_and_move() -> None:
    pictures = torch.rand(8, 3, 96, 80) + 1.0
    views = augmented(pictures, torch.Generator().manual_seed(1))
    assert views.shape == pictures.shape
    assert ((views - pictures).abs().amax(dim=(1, 2, 3)) > 0.1).all()
    assert float(views.min()) >= 0.0
    assert float(views.max()) <= 2.0 * 1.2


def test_a_rectangle_of_the_next_picture_is_cut_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "CONTRAST", 0.0)
    monkeypatch.setattr(views_module, "SHIFT", 0.0)
    monkeypatch.setattr(views_module, "MIXED", 1.0)
    pictures = torch.arange(4.0)[:, None, None, None].expand(4, 1, 16, 16)
    views = augmented(pictures, torch.Generator().manual_seed(0))
    for number, view in enumerate(views):
        other = (number - 1) % 4
        assert set(view.unique().tolist()) == {float(number), float(other)}
        share = float((view == other).float().mean())
        assert 0.25**2 * 0.9 <= share <= 0.75**2 * 1.1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_precisions_descend(case: tuple[ModelBundle, Pruned, Tensor], precision: str) -> None:
    bundle, pruned, pictures = case
    config = DistillConfig(steps=40, batch_size=8, lr=1e-3, decay=0.9, precision=precision)  # type: ignore[arg-type]
    found = distill(bundle.model, pruned.model, pruned.plan, [pictures], TASK, config=config)
    assert min(check.divergence for check in found.history) < 0.9 * found.history[0].divergence
    assert all(one.dtype == torch.float32 for one in found.model.parameters())
    assert all(one.is_contiguous() for one in found.model.parameters())


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision: got 'half'; expected one of auto, float32, bfloat16"):
        DistillConfig(precision="half")  # type: ignore[arg-type]
