"""What recovery brought is told beside what was pruned, on pictures that neither saw."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sapwood
from sapwood.cli.budget import PictureOptions, Recover, RecoveryOptions
from sapwood.cli.recovery import Recovery
from sapwood.goals import unseen_pictures
from sapwood.pipeline import shrink_record
from sapwood.report import MeasuredAgreement
from sapwood.types import ModelBundle, ModelSource, TaskSpec


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)
    ).eval()
    task = TaskSpec("classification", (8, 8), tuple("abcd"))
    return ModelBundle(model, torch.zeros(1, 3, 8, 8), task, ModelSource("tiny:net", "test"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(generator.integers(0, 255, (8, 8, 3), np.uint8)).save(found / f"{number}.png")
    return found


def _judged(
    bundle: ModelBundle, folder: Path, how: Recover, num_pictures: int
) -> tuple[sapwood.Pruned, sapwood.Pruned, MeasuredAgreement | None]:
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.5))
    options = RecoveryOptions(recover=how, recover_pictures=num_pictures)
    recovery = Recovery(options, PictureOptions(data=folder, num_pictures=1), 0)
    return pruned, *recovery.judged(bundle, pruned)


def test_agreement_is_of_pictures_that_recovery_did_not_see(bundle: ModelBundle, folder: Path) -> None:
    pruned, recovered, found = _judged(bundle, folder, Recover.batchnorm, 6)
    assert found is not None
    unseen = unseen_pictures(bundle, folder, num_seen=6)
    assert unseen is not None
    assert found.num_images == len(unseen.samples) == 4
    networks = {name: replace(bundle, model=one.model) for name, one in (("pruned", pruned), ("recovered", recovered))}
    wanted = sapwood.agreement(bundle, networks, unseen)
    assert {name: one.value for name, one in found.networks.items()} == {
        name: one.value for name, one in wanted.networks.items()
    }
    (pair,) = found.differences
    assert (pair.network, pair.other) == ("recovered", "pruned")
    assert asdict(wanted.differences[0].estimate) == dict(pair.estimate)
    record = shrink_record(bundle, recovered, {}, agreement=found)
    assert record.plain()["agreement"]["num_images"] == 4


@pytest.mark.parametrize("scored", [True, False])
def test_a_criterion_that_looks_at_nothing_leaves_pictures(bundle: ModelBundle, folder: Path, scored: bool) -> None:
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.5))
    options = RecoveryOptions(recover=Recover.batchnorm, recover_pictures=6)
    recovery = Recovery(options, PictureOptions(data=folder, num_pictures=128), 0, scored)
    _, found = recovery.judged(bundle, pruned)
    assert (found is None) is scored


def test_without_recovery_or_pictures_left_there_is_none(bundle: ModelBundle, folder: Path) -> None:
    _, recovered, found = _judged(bundle, folder, Recover.batchnorm, 99)
    assert found is None
    told = (
        f"was not measured: all pictures of {folder} were looked at; --recover-pictures below their number leaves some"
    )
    assert recovered.notes[-1] == f"agreement with the dense network {told}"
    pruned, same, found = _judged(bundle, folder, Recover.none, 6)
    assert same is pruned
    assert found is None


def test_a_detector_that_finds_nothing_has_a_note_instead(folder: Path) -> None:
    bundle = sapwood.load_model("builtin:digits")
    with torch.no_grad():
        for module in bundle.model.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:  # that of a head
                module.bias.fill_(-50.0)
    _, recovered, found = _judged(bundle, folder, Recover.batchnorm, 6)
    assert found is None
    assert recovered.notes[-1].startswith("agreement with the dense network was not measured: ")
    assert "finds nothing with a score above 0.3" in recovered.notes[-1]
