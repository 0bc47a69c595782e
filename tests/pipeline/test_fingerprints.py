"""What a stored result depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sapwood.fingerprints import data_fingerprint
from sapwood.types import DetectionDataset, DetectionSample


def dataset(difficult: bool, crowd: bool) -> DetectionDataset:
    box = np.array([[1, 1, 9, 9]], np.float32)
    sample = DetectionSample(
        "a", box, np.zeros(1, np.int64), np.array([difficult]), lambda: np.zeros((10, 10, 3), np.uint8)
    )
    return DetectionDataset("toy", (replace(sample, crowd=crowd),), ("cat",))


def test_the_rule_for_difficult_boxes_counts_where_there_are_some() -> None:
    assert data_fingerprint(dataset(True, crowd=True)) != data_fingerprint(dataset(True, crowd=False))
    assert data_fingerprint(dataset(False, crowd=True)) == data_fingerprint(dataset(False, crowd=False))
