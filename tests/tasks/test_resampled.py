"""The accuracy of samples of the pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sapwood.tasks.resampled import resampled_hits, resampled_precision
from sapwood.types import Detections, DetectionSample


def picture(found: bool) -> tuple[Detections, DetectionSample]:
    box = np.array([[0.0, 0.0, 10.0, 10.0]], np.float32)
    sample = DetectionSample("a", box, np.array([0]), np.array([False]), lambda: np.zeros((16, 16, 3), np.uint8))
    boxes = torch.from_numpy(box) + (0.0 if found else 100.0)
    return Detections(boxes, torch.tensor([0.9]), torch.tensor([0])), sample


def test_samples_are_the_same_for_every_network() -> None:
    right = torch.tensor([True, False, True, True])
    values = resampled_hits(right, 50)
    assert len(values) == 50
    assert values == resampled_hits(right, 50)
    assert [1.0 - value for value in values] == pytest.approx(resampled_hits(~right, 50))
    assert resampled_hits(right, 0) == ()


def test_detectors_differ_by_the_pictures_that_a_sample_has() -> None:
    found, samples = zip(picture(True), picture(False), strict=True)
    values = resampled_precision(found, samples, 40, measured=51 / 101)
    assert set(values) == {0.0, 1.0, round(51 / 101, 5)}


def test_figures_that_are_counted_otherwise_have_no_samples() -> None:
    found, samples = zip(picture(True), picture(False), strict=True)
    assert resampled_precision(found, samples, 40, measured=0.6) == ()
    assert resampled_precision((), (), 40, measured=0.0) == ()
