"""Maps of attention: zero between a network and itself, the same whatever the width, with a gradient otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.training import train
from sapwood.training.attention import AttentionMatch
from sapwood.types import DetectionDataset, ModelBundle


def seen(match: AttentionMatch, model: nn.Module, pictures: Tensor) -> dict[str, Tensor]:
    with match.watching(model) as found:
        model(pictures)
    return found


def test_a_network_looks_where_it_looks(classifier: ModelBundle) -> None:
    match = AttentionMatch(classifier.model, classifier.model)
    assert match.names == ["1"]
    pictures = torch.rand(2, 3, 16, 16)
    own = seen(match, classifier.model, pictures)
    assert own["1"].shape == (2, 256)
    torch.testing.assert_close(own["1"].square().sum(dim=1), torch.ones(2))
    assert float(match.distance(own, own).detach()) == 0.0


def test_twice_the_channels_are_the_same_attention() -> None:
    torch.manual_seed(0)
    narrow = nn.Sequential(nn.Conv2d(3, 4, 3))
    wide = nn.Sequential(nn.Conv2d(3, 8, 3))
    with torch.no_grad():
        wide[0].weight.copy_(narrow[0].weight.repeat(2, 1, 1, 1))
        wide[0].bias.copy_(narrow[0].bias.repeat(2))
    match, pictures = AttentionMatch(wide, narrow), torch.rand(2, 3, 8, 8)
    assert float(match.distance(seen(match, narrow, pictures), seen(match, wide, pictures)).detach()) < 1e-12


def test_another_network_is_drawn_to_it() -> None:
    torch.manual_seed(0)
    teacher, student = (nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)).eval() for width in (8, 4))
    match, pictures = AttentionMatch(teacher, student), torch.rand(4, 3, 8, 8)
    wanted = {name: one.detach() for name, one in seen(match, teacher, pictures).items()}
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    distances = []
    for _ in range(20):
        distance = match.distance(seen(match, student, pictures), wanted)
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(float(distance.detach()))
    assert distances[-1] < 0.5 * distances[0]


def test_no_layer_in_common() -> None:
    teacher, student = nn.ModuleDict({"a": nn.Conv2d(3, 4, 1)}), nn.ModuleDict({"b": nn.Conv2d(3, 4, 1)})
    with pytest.raises(TrainingError, match="share no convolution or BatchNorm by name"):
        AttentionMatch(teacher, student)


def test_maps_of_other_sizes() -> None:
    teacher, student = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Conv2d(3, 4, 3, stride=2))
    match, pictures = AttentionMatch(teacher, student), torch.rand(1, 3, 8, 8)
    with pytest.raises(TrainingError, match="no layer's map is of the same size"):
        match.distance(seen(match, student, pictures), seen(match, teacher, pictures))


def test_a_pruned_detector_trains_beside_its_dense_self(
    sober_detector: ModelBundle, digits: DetectionDataset, tmp_path: Path
) -> None:
    small = sapwood.prune(sober_detector.model, sober_detector.example_inputs, target=sapwood.Target(sparsity=0.5))
    pruned = replace(sober_detector, model=small.model)
    config = TrainConfig(epochs=2, batch_size=4, lr=0.01, init="keep", feature_weight=2.0, distill_weight=0.5)
    result = train(pruned, digits, config=config, run_dir=tmp_path, teacher=sober_detector)
    first, last = result.history[0], result.history[-1]
    assert first["attention"] > 0
    parts = first["box"] + first["objectness"] + first["class"] + 0.5 * first["divergence"] + 2.0 * first["attention"]
    assert first["total"] == pytest.approx(parts, abs=1e-4)
    assert last["total"] < first["total"]


def test_a_detector_has_no_temperature(sober_detector: ModelBundle, digits: DetectionDataset, tmp_path: Path) -> None:
    config = TrainConfig(epochs=1, batch_size=4, init="keep", distill_temperature=4.0)
    with pytest.raises(TrainingError, match=r"distill_temperature: 4\.0 for a model whose task is detection; only"):
        train(sober_detector, digits, config=config, run_dir=tmp_path, teacher=sober_detector)


def test_a_loss_that_calls_the_model_twice_has_no_teacher(classifier: ModelBundle, tmp_path: Path) -> None:
    def twice(model: nn.Module, batch: Tensor) -> Tensor:
        return (model(batch) + model(batch)).square().mean()

    with pytest.raises(TrainingError, match="called the model 2 times"):
        train(
            classifier,
            [torch.rand(3, 16, 16)] * 4,
            loss=twice,
            teacher=classifier,
            config=TrainConfig(epochs=1),
            run_dir=tmp_path,
        )
