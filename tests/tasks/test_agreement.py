"""Agreement with a dense network: figures by hand, intervals, and the same mAP as the evaluation has."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.data import open_unlabelled
from sapwood.errors import ConfigError, DataError
from sapwood.tasks import agreement, mean_average_precision
from sapwood.tasks.agreeing import RESAMPLES
from sapwood.tasks.matched import Hits, MatchedDetections
from sapwood.types import (
    ClassificationDataset,
    ClassificationSample,
    DetectionDataset,
    Detections,
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


class Cells(nn.Module):
    """A detector that sees the colour of each 32-pixel cell; it misses what is weaker than ``least``."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        cells = nn.functional.avg_pool2d(x, 32)
        red, blue = cells[:, 0] - cells[:, 1], cells[:, 2] - cells[:, 1]
        nothing = torch.zeros_like(red)
        sure = 40 * (torch.maximum(red, blue) - self.least)
        return (torch.stack((nothing, nothing, nothing, nothing, sure, 40 * (red - 0.1), 40 * (blue - 0.1)), 1),)


class Channels(nn.Module):
    """A classifier: the means of the channels, each times a factor, are the scores."""

    def __init__(self, *factors: float) -> None:
        super().__init__()
        self.factors = torch.tensor(factors)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.factors


def bundle(model: nn.Module, task: TaskSpec) -> ModelBundle:
    return ModelBundle(model, torch.zeros(1, 3, *task.input_size), task, ModelSource("dense:model", "toy"))


def colours(left: tuple[int, int, int], right: tuple[int, int, int]) -> Picture:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = left, right
    return picture


STRONG, WEAK, BLUE, GREY = (255, 0, 0), (150, 0, 0), (0, 0, 255), (90, 90, 90)


def unlabelled(*pairs: tuple[tuple[int, int, int], tuple[int, int, int]]) -> DetectionDataset:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    samples = [DetectionSample(str(number), *nothing, partial(colours, *pair)) for number, pair in enumerate(pairs)]
    return DetectionDataset("colours", tuple(samples), ())


def classes(*shades: tuple[int, int, int]) -> ClassificationDataset:
    samples = [
        ClassificationSample(str(number), -1, partial(np.full, (4, 4, 3), shade, np.uint8))
        for number, shade in enumerate(shades)
    ]
    return ClassificationDataset("shades", tuple(samples), ())


def test_a_detector_agrees_with_itself_and_half_with_one_that_sees_less() -> None:
    """The dense one finds two reds and a blue; the other misses the weak red: AP 51/101 of red, 1 of blue."""
    data = unlabelled((STRONG, BLUE), (WEAK, GREY))
    networks = {"same": bundle(Cells(0.3), DETECTION), "less": bundle(Cells(0.8), DETECTION)}
    found = agreement(bundle(Cells(0.3), DETECTION), networks, data, batch_size=1)
    assert (found.figure, found.num_images, found.num_found) == ("mAP@0.5", 2, 3)
    assert found.networks["same"].value == found.networks["same"].low == found.networks["same"].high == 1.0
    assert found.networks["less"].value == pytest.approx((1 + 51 / 101) / 2)


def test_a_classifier_by_hand() -> None:
    """Of four pictures the other network calls one another class."""
    data = classes((200, 100, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200))
    networks = {"other": bundle(Channels(1.0, 3.0, 1.0), CLASSIFICATION)}
    found = agreement(bundle(Channels(1.0, 1.0, 1.0), CLASSIFICATION), networks, data)
    assert (found.figure, found.networks["other"].value, found.num_found) == ("top-1", 0.75, 4)
    assert 0.25 <= found.networks["other"].low < 0.75 < found.networks["other"].high == 1.0


def test_an_interval_is_that_of_a_share() -> None:
    """60 of 100 pictures: the normal interval is 0.6 plus or minus 1.96 * 0.049, within the noise of 1,000 samples."""
    data = classes(*[(200, 100, 0)] * 60, *[(0, 100, 90)] * 40)
    networks = {"other": bundle(Channels(1.0, 1.0, 2.0), CLASSIFICATION)}
    found = agreement(bundle(Channels(1.0, 1.0, 1.0), CLASSIFICATION), networks, data, batch_size=50).networks["other"]
    noise = 5 * 0.049 * 2.7 / RESAMPLES**0.5  # five deviations of a quantile at 2.5 %, whose density is 0.058
    assert found.value == 0.6
    assert found.low == pytest.approx(0.6 - 1.96 * 0.049, abs=noise)
    assert found.high == pytest.approx(0.6 + 1.96 * 0.049, abs=noise)


def test_differences_are_of_the_same_pictures() -> None:
    """One is right wherever the other is, and on one picture more: no sample tells the opposite."""
    shades = [(200, 100, 0)] * 5 + [(0, 150, 100)] * 5 + [(0, 100, 90)] * 2
    dense = bundle(Channels(1.0, 1.0, 1.0), CLASSIFICATION)
    networks = {
        "worse": bundle(Channels(1.0, 1.0, 2.0), CLASSIFICATION),
        "better": bundle(Channels(1.0, 1.0, 1.2), CLASSIFICATION),
    }
    found = agreement(dense, networks, classes(*shades))
    assert [(one.network, one.other) for one in found.differences] == [("better", "worse")]
    difference = found.differences[0].estimate
    assert difference.value == found.networks["better"].value - found.networks["worse"].value == pytest.approx(5 / 12)
    assert difference.low > 0.0
    assert found.networks["better"].low < found.networks["worse"].high, "apart, the two say nothing"


@pytest.mark.parametrize("seed", range(5))
def test_the_figure_is_the_evaluations(seed: int) -> None:
    """Random boxes of three classes: all pictures once is COCO's mAP@0.5, computed by another package."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(count: int, scored: bool) -> Detections:
        corner = torch.rand(count, 2, generator=generator) * 60
        made = torch.cat([corner, corner + 20 + torch.rand(count, 2, generator=generator) * 30], dim=1)
        scores = torch.rand(count, generator=generator).sort(descending=True).values if scored else torch.ones(count)
        return Detections(made, scores, torch.randint(3, (count,), generator=generator))

    truth, found = [boxes(6, False) for _ in range(8)], [boxes(20, True) for _ in range(8)]
    samples = [
        DetectionSample(
            str(n), one.boxes.numpy(), one.labels.numpy(), np.zeros(6, np.bool_), partial(colours, BLUE, BLUE)
        )
        for n, one in enumerate(truth)
    ]
    wanted = mean_average_precision(found, DetectionDataset("random", tuple(samples), tuple("abc"))).map_50
    matched = MatchedDetections(found, truth)
    assert 0.0 < wanted < 0.9
    assert float(matched.figure(torch.ones(1, 8, dtype=torch.float64))) == pytest.approx(wanted, abs=1e-12)
    some = torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 0]], dtype=torch.float64)
    half = mean_average_precision(found[:4], DetectionDataset("random", tuple(samples[:4]), tuple("abc"))).map_50
    assert float(matched.figure(some)) == pytest.approx(half, abs=1e-12)


def test_a_sample_without_a_box_has_no_figure() -> None:
    one = Detections(torch.tensor([[0.0, 0, 9, 9]]), torch.ones(1), torch.zeros(1, dtype=torch.int64))
    matched = MatchedDetections([one, one], [one, Detections.none()])
    counts = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    assert matched.figure(counts).tolist()[:2] == [1.0, 1.0]
    assert bool(matched.figure(counts)[2].isnan())
    assert len(matched) == len(Hits(torch.ones(2, dtype=torch.bool))) == 2


def test_the_same_seed_gives_the_same_interval_and_random_numbers_are_left_alone() -> None:
    dense, data = bundle(Channels(1.0, 1.0, 1.0), CLASSIFICATION), classes((200, 100, 0), (0, 100, 90), (0, 0, 9))
    networks = {"other": bundle(Channels(1.0, 1.0, 2.0), CLASSIFICATION)}
    state = torch.get_rng_state()
    assert agreement(dense, networks, data, seed=1) == sapwood.agreement(dense, networks, data, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


DENSE = bundle(Cells(0.3), DETECTION)
SEEN = unlabelled((STRONG, BLUE))
BAD: list[tuple[type[Exception], str, ModelBundle, dict[str, ModelBundle], Any]] = [
    (ConfigError, "^no network to compare with the dense one; expected at least one$", DENSE, {}, SEEN),
    (
        ConfigError,
        "^small is for classification and dense:model for detection$",
        DENSE,
        {"small": bundle(Channels(1.0, 1.0, 1.0), CLASSIFICATION)},
        SEEN,
    ),
    (
        ConfigError,
        "^small scores 5 classes and dense:model 2; expected as many$",
        DENSE,
        {"small": bundle(Cells(0.3), replace(DETECTION, heads=(replace(HEAD, num_classes=5),)))},
        SEEN,
    ),
    (
        ConfigError,
        "^small is a detector whose task describes no heads; expected one an output map$",
        DENSE,
        {"small": bundle(Cells(0.3), replace(DETECTION, heads=()))},
        SEEN,
    ),
    (
        ConfigError,
        "^dense:model is for detection, and shades is a data set with classes$",
        DENSE,
        {"small": DENSE},
        classes(STRONG),
    ),
    (
        DataError,
        r"^dense:model finds nothing with a score above 0\.3 in the 1 pictures of colours; expected something to agree",
        DENSE,
        {"small": DENSE},
        unlabelled((GREY, GREY)),
    ),
    (
        ConfigError,
        "^dense:model has no task, so nothing says what it finds; expected a detector or a classifier",
        bundle(Cells(0.3), TaskSpec("none", (32, 64))),
        {"small": DENSE},
        SEEN,
    ),
]


@pytest.mark.parametrize(("error", "message", "dense", "networks", "data"), BAD, ids=[row[1][1:20] for row in BAD])
def test_what_cannot_be_compared_is_said(
    error: type[Exception], message: str, dense: ModelBundle, networks: dict[str, ModelBundle], data: Any
) -> None:
    with pytest.raises(error, match=message):
        agreement(dense, networks, data)


def test_classifiers_of_other_classes_are_refused() -> None:
    dense, small = (bundle(Channels(1.0, 1.0, 1.0), CLASSIFICATION) for _ in range(2))
    small = replace(small, model=nn.Sequential(small.model, nn.Linear(3, 2)))
    with pytest.raises(ConfigError, match=r"^small scores 2 classes and dense:model 3; expected as many$"):
        agreement(dense, {"small": small}, classes(STRONG))


def test_a_folder_of_pictures_will_do(tmp_path: Any) -> None:
    from PIL import Image

    Image.fromarray(colours(STRONG, BLUE)).save(tmp_path / "a.png")
    found = agreement(DENSE, {"small": DENSE}, open_unlabelled(tmp_path, "detection"))
    assert (found.num_found, found.networks["small"].value) == (2, 1.0)


def test_two_networks_that_find_nothing_have_a_difference_of_nothing() -> None:
    dataset = unlabelled((STRONG, BLUE), (BLUE, GREY))
    networks = {name: bundle(Cells(9.0), DETECTION) for name in ("one", "other")}
    found = agreement(bundle(Cells(0.3), DETECTION), networks, dataset)
    assert [one.value for one in found.networks.values()] == [0.0, 0.0]
    (pair,) = found.differences
    assert (pair.estimate.value, pair.estimate.low, pair.estimate.high) == (0.0, 0.0, 0.0)
