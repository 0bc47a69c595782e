"""Evaluating any module by its task: figures by hand, the model left as it was, bad input said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sapwood.data import digits_dataset, read_image
from sapwood.errors import ConfigError, DataError, ImageError, ShapeError, WeightsError
from sapwood.models import load_model
from sapwood.tasks import detect, evaluate, open_data
from sapwood.tasks.classification import label_ranks
from sapwood.types import (
    ClassificationDataset,
    ClassificationSample,
    DetectionDataset,
    DetectionSample,
    ModelBundle,
    ModelSource,
    Picture,
    TaskSpec,
    YoloHead,
)

HEAD = YoloHead("yolo", ((16.0, 16.0),), 2)
DETECTION = TaskSpec("detection", (32, 64), ("red", "blue"), heads=(HEAD,))
CLASSIFICATION = TaskSpec("classification", (4, 4), tuple("rgb"))


class RedOrBlue(nn.Module):
    """A detector that sees the colour of each 32-pixel cell: red is class 0, blue is class 1, grey is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        cells = self.dropout(nn.functional.avg_pool2d(x, 32)) * self.weight
        red, blue = cells[:, 0] - cells[:, 1], cells[:, 2] - cells[:, 1]
        nothing = torch.zeros_like(red)
        present = 40 * (torch.maximum(red, blue) - 0.5)
        return (torch.stack((nothing, nothing, nothing, nothing, present, 40 * (red - 0.5), 40 * (blue - 0.5)), 1),)


class MeanColor(nn.Module):
    """A classifier: the mean of red, green and blue are the scores of three classes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def bundle(model: nn.Module, task: TaskSpec) -> ModelBundle:
    return ModelBundle(model, torch.zeros(1, 3, *task.input_size), task, ModelSource("toy:model", "toy"))


def two_cells(left: tuple[int, int, int], right: tuple[int, int, int]) -> Picture:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, :64], picture[:, 64:] = left, right
    return picture


RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (90, 90, 90)


def detection_sample(name: str, load: Callable[[], Picture], labels: list[int]) -> DetectionSample:
    """True boxes of 32 x 32 pixels in the middles of the left and the right half."""
    boxes = np.array([[16, 16, 48, 48], [80, 16, 112, 48]], np.float32)[: len(labels)]
    return DetectionSample(name, boxes, np.array(labels), np.zeros(len(labels), np.bool_), load)


def detection_dataset(*extra: DetectionSample) -> DetectionDataset:
    samples = (
        detection_sample("1", partial(two_cells, RED, BLUE), [0, 1]),
        detection_sample("2", partial(two_cells, BLUE, GREY), [1]),
        detection_sample("3", partial(two_cells, GREY, GREY), [0]),
    )
    return DetectionDataset("colours", (*samples, *extra), ("red", "blue"), ("an old skip",))


def test_detector_by_hand() -> None:
    """Both blues are found, one of two reds: AP 1 and 51/101 whatever the batches."""
    for batch_size in (1, 2, 8):
        result = evaluate(bundle(RedOrBlue(), DETECTION), detection_dataset(), batch_size=batch_size)
        assert result.primary == "mAP@0.5"
        assert result.per_class == {"red": pytest.approx(51 / 101), "blue": 1.0}
        assert result.value == pytest.approx((1 + 51 / 101) / 2)
        assert result.metrics["mAP@[.5:.95]"] == pytest.approx(result.value)
        assert result.num_images == 3
        assert set(result.seconds) == {"read", "network", "postprocess", "score"}
        assert all(seconds > 0 for seconds in result.seconds.values())
        assert result.skipped == ("an old skip",)


def test_detect_gives_pixels_of_each_picture() -> None:
    pictures = [two_cells(RED, GREY), two_cells(GREY, BLUE)[::2, ::2].copy()]
    first, second = detect(bundle(RedOrBlue(), DETECTION), pictures)
    assert (first.labels.tolist(), second.labels.tolist()) == ([0], [1])
    assert first.boxes.tolist() == [[16.0, 16.0, 48.0, 48.0]]
    assert second.boxes.tolist() == [[40.0, 8.0, 56.0, 24.0]]


def test_the_model_is_left_as_it_was() -> None:
    model = RedOrBlue()
    model.train()
    model.dropout.eval()
    random_state = torch.get_rng_state()
    before = evaluate(bundle(model, DETECTION), detection_dataset()).metrics
    assert model.training
    assert not model.dropout.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.weight.grad is None
    assert before == evaluate(bundle(model, DETECTION), detection_dataset()).metrics


def test_training_mode_returns_even_after_an_error() -> None:
    model = RedOrBlue().train()
    with pytest.raises(ShapeError):
        evaluate(bundle(model, replace(DETECTION, heads=(HEAD, HEAD))), detection_dataset())
    assert model.training


def test_half_precision_model() -> None:
    result = evaluate(bundle(RedOrBlue().bfloat16(), DETECTION), detection_dataset())
    assert result.per_class["blue"] == 1.0


def test_progress_counts_pictures() -> None:
    calls: list[tuple[int, int]] = []
    progress = lambda done, total: calls.append((done, total))  # noqa: E731
    evaluate(bundle(RedOrBlue(), DETECTION), detection_dataset(), batch_size=2, progress=progress)
    assert calls == [(2, 3), (3, 3)]


@pytest.fixture
def broken(tmp_path: Path) -> DetectionSample:
    file = tmp_path / "broken.jpg"
    file.write_text("no picture")
    return detection_sample("broken", partial(read_image, file), [0])


def test_broken_picture_stops(broken: DetectionSample) -> None:
    with pytest.raises(ImageError, match=r"broken\.jpg: cannot be read as a picture"):
        evaluate(bundle(RedOrBlue(), DETECTION), detection_dataset(broken))


def test_broken_picture_is_skipped_and_listed(broken: DetectionSample) -> None:
    result = evaluate(bundle(RedOrBlue(), DETECTION), detection_dataset(broken), batch_size=1, on_bad="skip")
    assert result.num_images == 3
    assert result.per_class["red"] == pytest.approx(51 / 101)  # the skipped picture's box is not missed
    assert len(result.skipped) == 2
    assert "broken.jpg" in result.skipped[1]


def test_only_broken_pictures(broken: DetectionSample) -> None:
    dataset = DetectionDataset("broken", (broken,), ("red", "blue"))
    with pytest.raises(DataError, match=r"none of the 1 pictures can be read; the first reason: .*broken\.jpg"):
        evaluate(bundle(RedOrBlue(), DETECTION), dataset, on_bad="skip")


def test_bad_arguments() -> None:
    detector = bundle(RedOrBlue(), DETECTION)
    with pytest.raises(DataError, match="the data set is empty; expected at least one picture"):
        evaluate(detector, DetectionDataset("none", (), ("red", "blue")))
    with pytest.raises(DataError, match="digits val has 10 classes and the model scores 2; expected as many"):
        evaluate(detector, digits_dataset(num_images=1))
    with pytest.raises(ConfigError, match="batch_size is at least 1; got 0"):
        evaluate(detector, detection_dataset(), batch_size=0)
    with pytest.raises(ConfigError, match=r"score_threshold is in \[0, 1\]; got 2"):
        evaluate(detector, detection_dataset(), score_threshold=2)
    with pytest.raises(ConfigError, match="toy:model is a detector whose task describes no heads"):
        evaluate(bundle(RedOrBlue(), replace(DETECTION, heads=())), detection_dataset())


def test_tasks_that_do_not_fit() -> None:
    classes = ClassificationDataset("flags", (), ("r", "g", "b"))
    with pytest.raises(ConfigError, match="toy:model is for detection, and flags is a data set with classes"):
        evaluate(bundle(RedOrBlue(), DETECTION), classes)
    with pytest.raises(ConfigError, match="toy:model is for classification, and colours is a data set with boxes"):
        evaluate(bundle(MeanColor(), CLASSIFICATION), detection_dataset())
    with pytest.raises(ConfigError, match="toy:model has no task, so nothing says what its accuracy is"):
        evaluate(bundle(MeanColor(), TaskSpec("none")), classes)
    with pytest.raises(ConfigError, match="toy:model is no detector: its task is 'classification'"):
        detect(bundle(MeanColor(), CLASSIFICATION), [])


def test_nan_weights_are_named() -> None:
    model = RedOrBlue()
    nn.init.constant_(model.weight, float("nan"))
    with pytest.raises(
        WeightsError, match=r"output 0 of the model holds \d+ NaN of 14 values; it has NaN .* in weight"
    ):
        detect(bundle(model, DETECTION), [two_cells(RED, RED)])


class Returns(nn.Module):
    """A model that returns what it was made with."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, _: Tensor) -> Any:
        return self.value


def test_outputs_of_another_kind() -> None:
    with pytest.raises(ShapeError, match="a detector returns a tensor or a tuple of tensors, its raw maps; got dict"):
        detect(bundle(Returns({}), DETECTION), [two_cells(RED, RED)])
    task = replace(DETECTION, heads=(HEAD, HEAD))
    with pytest.raises(ShapeError, match="the model returned 1 maps; its task describes 2 heads"):
        detect(bundle(RedOrBlue(), task), [two_cells(RED, RED)])
    samples = color_dataset()
    with pytest.raises(ShapeError, match=r"a classifier returns a tensor of shape \(B, classes\); got list"):
        evaluate(bundle(Returns([]), CLASSIFICATION), samples)
    with pytest.raises(ShapeError, match=r"a classifier returns shape \(4, classes\); got \(4, 3, 1\)"):
        evaluate(bundle(Returns(torch.zeros(4, 3, 1)), CLASSIFICATION), samples)
    with pytest.raises(WeightsError, match="holds 12 NaN of 12 values; it has finite weights"):
        evaluate(bundle(Returns(torch.full((4, 3), float("nan"))), CLASSIFICATION), samples)


def color_dataset(class_names: tuple[str, ...] = tuple("rgb")) -> ClassificationDataset:
    """Four pictures: red, green and blue of their class, and a green one that should be red."""
    colors = (((255, 9, 0), 0), ((0, 255, 9), 1), ((9, 0, 255), 2), ((9, 255, 0), 0))
    samples = [
        ClassificationSample(str(number), label, partial(np.full, (8, 8, 3), color, np.uint8))
        for number, (color, label) in enumerate(colors)
    ]
    return ClassificationDataset("flags", tuple(samples), class_names)


def test_classifier_by_hand() -> None:
    result = evaluate(bundle(MeanColor(), CLASSIFICATION), color_dataset(), batch_size=3)
    assert result.primary == "top-1"
    assert result.metrics == {"top-1": 0.75}  # top-5 says nothing of three classes
    assert result.per_class == {"r": 0.5, "g": 1.0, "b": 1.0}
    assert result.num_images == 4
    assert set(result.seconds) == {"read", "network", "postprocess", "score"}


class Padded(nn.Module):
    """:class:`MeanColor` with four classes more, two of which score above everything."""

    def forward(self, x: Tensor) -> Any:
        means = x.mean((2, 3))
        rest = torch.tensor([5.0, 5.0, -1.0, -1.0]).expand(len(x), 4)
        return type("Output", (), {"logits": torch.cat((means, rest), 1)})()


def test_top_five_and_logits_objects() -> None:
    result = evaluate(bundle(Padded(), CLASSIFICATION), color_dataset(tuple("rgbwxyz")))
    assert result.metrics == {"top-1": 0.0, "top-5": 1.0}


def test_number_of_classes_differs() -> None:
    with pytest.raises(DataError, match="flags has 2 classes and the model scores 3; expected as many"):
        evaluate(bundle(MeanColor(), CLASSIFICATION), color_dataset(("r", "g")))


def test_names_of_classes_differ() -> None:
    with pytest.raises(DataError, match="flags has the classes x, y, z, and the model r, g, b: none is the other's"):
        evaluate(bundle(MeanColor(), CLASSIFICATION), color_dataset(tuple("xyz")))


def test_ties_count_against_the_model() -> None:
    assert label_ranks(torch.zeros(1, 10), torch.tensor([3])).tolist() == [9]


def test_any_torchvision_classifier() -> None:
    from torchvision.models import squeezenet1_1

    task = TaskSpec(
        "classification", (64, 64), tuple("rgb"), "center_crop", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    result = evaluate(bundle(squeezenet1_1(num_classes=3), task), color_dataset())
    assert 0 <= result.value <= 1
    assert result.num_images == 4


def test_a_place_stands_for_its_data_set_and_a_file_for_its_picture(tmp_path: Path) -> None:
    bundle = load_model("builtin:digits-half")
    picture = digits_dataset("val").samples[0].load()
    Image.fromarray(picture).save(tmp_path / "digits.png")
    (by_name, by_value) = (detect(bundle, [one])[0] for one in (tmp_path / "digits.png", picture))
    assert torch.equal(by_name.boxes, by_value.boxes)
    (tmp_path / "images" / "val").mkdir(parents=True)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    (tmp_path / "digits.png").rename(tmp_path / "images" / "val" / "a.png")
    (tmp_path / "labels" / "val" / "a.txt").write_text("3 0.5 0.5 0.2 0.2\n")
    there = open_data(bundle, tmp_path)
    assert evaluate(bundle, tmp_path).metrics == evaluate(bundle, there).metrics
