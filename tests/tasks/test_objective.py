"""The loss of a task on pictures as evaluation reads them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.calibration import STATISTICS, collect
from sapwood.data import digits_dataset, to_input
from sapwood.errors import ConfigError, DataError, TrainingError
from sapwood.models import load_model
from sapwood.tasks import YoloLoss, calibration_batches, class_loss, detect, task_loss
from sapwood.types import (
    ClassificationDataset,
    ClassificationSample,
    DetectionDataset,
    DetectionSample,
    ModelBundle,
    ModelSource,
    TaskSpec,
)


@pytest.fixture
def classifier() -> ModelBundle:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    task = TaskSpec("classification", (8, 8), ("a", "b", "c"))
    return ModelBundle(model.eval(), torch.zeros(1, 3, 8, 8), task, ModelSource("tests:tiny", "factory"))


@pytest.fixture
def pictures() -> ClassificationDataset:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (10, 12, 3)).astype(np.uint8) for _ in range(7)]
    samples = tuple(
        ClassificationSample(f"p{index}", index % 3, lambda picture=picture: picture)  # type: ignore[misc]
        for index, picture in enumerate(noise)
    )
    return ClassificationDataset("noise", samples, ("a", "b", "c"))


@pytest.fixture
def detector(tmp_path: Path, detector_text: str) -> ModelBundle:
    path = tmp_path / "tiny.cfg"
    path.write_text(detector_text)
    return load_model(str(path))


@pytest.fixture
def boxes() -> DetectionDataset:
    """One picture of twice the input's size: a box, a difficult one, and one that is hardly inside."""
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    sample = DetectionSample(
        "p0",
        np.array([[8, 16, 24, 40], [0, 0, 9, 9], [40, 40, 80, 80]], np.float32),
        np.array([1, 0, 0]),
        np.array([False, True, False]),
        lambda: picture,
    )
    return DetectionDataset("one", (sample,), ("a", "b"))


def test_batches_hold_other_pictures_for_another_seed(classifier: ModelBundle, pictures: ClassificationDataset) -> None:
    def chosen(seed: int) -> list[str]:
        batches = calibration_batches(classifier, pictures, num_pictures=5, batch_size=2, seed=seed)
        assert len(batches) == len(list(batches)) == 3
        return [sample.image_id for batch in batches for sample in batch.samples]

    assert len(set(chosen(0))) == 5
    assert chosen(0) == chosen(0) != chosen(1)
    everything = calibration_batches(classifier, pictures, num_pictures=100, batch_size=4)
    assert sorted(sample.image_id for batch in everything for sample in batch.samples) == [f"p{n}" for n in range(7)]


def test_cross_entropy_with_the_labels_of_the_data(classifier: ModelBundle, pictures: ClassificationDataset) -> None:
    (batch,) = calibration_batches(classifier, pictures, batch_size=7)
    inputs = torch.stack([to_input(sample.load(), classifier.task)[0] for sample in batch.samples])
    scores = classifier.model(inputs)
    wanted = -sum(scores.log_softmax(1)[row, sample.label] for row, sample in enumerate(batch.samples)) / 7
    torch.testing.assert_close(task_loss(classifier, "data")(classifier.model, batch), wanted)


def test_probabilities(classifier: ModelBundle, pictures: ClassificationDataset) -> None:
    soft = replace(
        classifier,
        model=nn.Sequential(classifier.model, nn.Softmax(dim=1)),
        task=replace(classifier.task, outputs="probabilities"),
    )
    (batch,) = calibration_batches(classifier, pictures, batch_size=7)
    wanted = task_loss(classifier)(classifier.model, batch)
    torch.testing.assert_close(task_loss(soft)(soft.model, batch), wanted)


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    task = TaskSpec("classification", outputs="probabilities")
    loss = class_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), task)
    assert float(loss) == pytest.approx(-math.log(1e-12) + math.log1p(1e-12))


def test_own_labels_are_those_of_the_dense_model(classifier: ModelBundle, pictures: ClassificationDataset) -> None:
    """Also for the loss of another model, and whatever the data say."""
    (batch,) = calibration_batches(classifier, pictures, batch_size=7)
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    labels = classifier.model(batch.inputs).argmax(dim=1)
    loss = task_loss(classifier, "own")
    torch.testing.assert_close(loss(other, batch), F.cross_entropy(other(batch.inputs), labels))
    torch.testing.assert_close(loss(classifier.model, batch), F.cross_entropy(classifier.model(batch.inputs), labels))
    assert loss(other, batch).requires_grad


def test_boxes_of_the_data_in_input_pixels(detector: ModelBundle, boxes: DetectionDataset) -> None:
    (batch,) = calibration_batches(detector, boxes)
    truth = [(torch.tensor([[4.0, 8, 12, 20], [20, 20, 32, 32]]), torch.tensor([1, 0]))]
    wanted = YoloLoss(detector.task.heads, (32, 32))(detector.model(batch.inputs), truth)["total"]
    torch.testing.assert_close(task_loss(detector, "data")(detector.model, batch), wanted)


def sure(detector: ModelBundle) -> ModelBundle:
    """Objectness and classes far up, so that there is something to detect."""
    bias = next(module for module in reversed(list(detector.model.modules())) if isinstance(module, nn.Conv2d)).bias
    assert bias is not None
    bias.data.reshape(2, 7)[:, 4:] = 3.0
    return detector


def test_own_boxes_are_the_detections(detector: ModelBundle, boxes: DetectionDataset) -> None:
    bundle = sure(detector)
    (batch,) = calibration_batches(bundle, boxes)
    small = np.ascontiguousarray((batch.inputs[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    (found,) = detect(bundle, [small])
    assert len(found.boxes) > 3
    wanted = YoloLoss(bundle.task.heads, (32, 32))(bundle.model(batch.inputs), [(found.boxes, found.labels)])["total"]
    torch.testing.assert_close(task_loss(bundle, "own")(bundle.model, batch), wanted, rtol=1e-2, atol=0)


def test_a_picture_without_detections_has_a_loss(detector: ModelBundle, boxes: DetectionDataset) -> None:
    (batch,) = calibration_batches(detector, boxes)
    no_boxes = replace(batch.samples[0], boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64),
                       difficult=np.zeros(0, bool))  # fmt: skip
    assert math.isfinite(
        float(task_loss(detector, "data")(detector.model, replace(batch, samples=(no_boxes,))).detach())
    )


@pytest.mark.parametrize("labels", ["data", "own"])
def test_statistics_of_a_detector(detector: ModelBundle, labels: str) -> None:
    data = digits_dataset("train", size=(64, 64), num_images=4)
    two = tuple(replace(sample, labels=sample.labels % 2) for sample in data.samples)
    batches = calibration_batches(detector, replace(data, samples=two, class_names=("a", "b")), batch_size=2)
    detector.model.train()
    found = collect(detector.model, batches, task_loss(sure(detector), labels), set(STATISTICS))  # type: ignore[arg-type]
    assert found.num_samples == 4
    assert all(bool(value.any()) for value in found["gate_grad_squared"].values())
    assert all(module.training for module in detector.model.modules())


def test_bad_requests(classifier: ModelBundle, pictures: ClassificationDataset, boxes: DetectionDataset) -> None:
    with pytest.raises(ConfigError, match="num_pictures is at least 1; got 0"):
        calibration_batches(classifier, pictures, num_pictures=0)
    with pytest.raises(ConfigError, match="batch_size is at least 1; got -1"):
        calibration_batches(classifier, pictures, batch_size=-1)
    with pytest.raises(DataError, match="noise is empty; expected at least one picture"):
        calibration_batches(classifier, replace(pictures, samples=()))
    with pytest.raises(ConfigError, match="labels are 'none'; expected 'data' or 'own'"):
        task_loss(classifier, "none")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tests:tiny has no loss: its task is 'none' with 0 heads; expected a lang"):
        task_loss(replace(classifier, task=TaskSpec("none")))
    (batch,) = calibration_batches(classifier, boxes)
    with pytest.raises(DataError, match="p0 has boxes; expected a class, for tests:tiny"):
        task_loss(classifier)(classifier.model, batch)


def test_a_detector_needs_boxes_and_a_classifier_the_label(
    detector: ModelBundle, classifier: ModelBundle, pictures: ClassificationDataset
) -> None:
    batch = next(iter(calibration_batches(detector, pictures)))
    with pytest.raises(DataError, match="has a class and no boxes; expected boxes, for a detector"):
        task_loss(detector)(detector.model, batch)

    def two_classes(inputs: Tensor) -> Tensor:
        return torch.zeros(len(inputs), 2)

    with pytest.raises(TrainingError, match="label 2 in the data; the model has classes 0 to 1"):
        class_loss(two_classes(torch.zeros(1)), torch.tensor([2]), classifier.task)
