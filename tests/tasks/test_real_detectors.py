"""The published weights on real pictures: mAP near the figures of the real-data folder, dog.jpg's objects found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.ops import box_iou

from sapwood.data import open_detection, read_image
from sapwood.models import load_model
from sapwood.tasks import detect, evaluate
from sapwood.types import ModelBundle


def load(data_dir: Path, name: str) -> ModelBundle:
    detectors = data_dir / "detectors"
    return load_model(str(detectors / f"{name}.cfg"), weights=detectors / f"{name}.weights")


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("yolov3-tiny", {"dog", "bicycle", "car", "truck"}),
        ("yolo-fastest-1.1", {"dog", "bicycle", "car"}),
        ("yolo-fastest-1.1-xl", {"dog", "bicycle", "car", "truck"}),
    ],
)
def test_dog(data_dir: Path, name: str, objects: set[str]) -> None:
    bundle = load(data_dir, name)
    (found,) = detect(bundle, [read_image(data_dir / "images" / "dog.jpg")])
    names = [bundle.task.class_names[label] for label in found.labels.tolist()]
    assert objects <= set(names)
    dog = found.boxes[names.index("dog")][None]
    assert float(box_iou(dog, torch.tensor([[128.0, 226.0, 312.0, 543.0]]))) > 0.5


# The figures are those for 128 pictures. The 64 here are a sample of the same kind: drawn with replacement, its mAP has
# a standard deviation of 0.036 (100 draws, each of the detectors), so 0.07 is two of them.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("yolov3-tiny", 0.284, marks=pytest.mark.slow),
        ("yolo-fastest-1.1", 0.369),
        pytest.param("yolo-fastest-1.1-xl", 0.450, marks=pytest.mark.slow),
    ],
)
def test_accuracy_on_coco(data_dir: Path, name: str, expected: float) -> None:
    bundle = load(data_dir, name)
    dataset = open_detection(data_dir / "coco", class_names=bundle.task.class_names)
    result = evaluate(bundle, dataset)
    assert result.value == pytest.approx(expected, abs=0.07)
    assert result.num_images == 64
    beside = result.seconds["read"] + result.seconds["postprocess"]
    assert beside < result.seconds["network"]
