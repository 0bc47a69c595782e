"""Anchors from boxes."""

from __future__ import annotations

import numpy as np
import pytest

from sapwood.data import digits_dataset
from sapwood.data.anchors import box_sizes, fit_anchors
from sapwood.errors import DataError
from sapwood.types import DetectionDataset, DetectionSample, TaskSpec


def test_sizes_are_those_at_the_input() -> None:
    sample = DetectionSample(
        "a",
        np.array([[0, 0, 20, 10], [0, 0, 40, 40]], np.float32),
        np.zeros(2, np.int64),
        np.array([False, True]),
        lambda: np.zeros((100, 200, 3), np.uint8),
    )
    dataset = DetectionDataset("one", (sample,), ("thing",))
    assert box_sizes(dataset, TaskSpec("detection", (50, 50))).tolist() == [[5, 5]]
    assert box_sizes(dataset, TaskSpec("detection", (50, 50), resize="letterbox")).tolist() == [[5, 2.5]]


def test_groups_far_apart_are_found() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[8.0, 12.0], [40.0, 30.0], [90.0, 140.0]])
    sizes = np.concatenate([centre * rng.uniform(0.9, 1.1, (50, 2)) for centre in true])
    found = fit_anchors(sizes, 3, seed=4)
    assert np.allclose(found, true, rtol=0.05)


def test_anchors_fit_better_than_their_mean_and_ascend() -> None:
    sizes = box_sizes(digits_dataset("train", num_images=40), TaskSpec("detection", (192, 192)))
    anchors = fit_anchors(sizes, 6)
    assert (np.diff(anchors.prod(axis=1)) > 0).all()
    assert (fit_anchors(sizes, 6) == anchors).all()
    mean = sizes.mean(axis=0)[None]
    fits = [
        (np.minimum(sizes[:, None], k).prod(-1) / np.maximum(sizes[:, None], k).prod(-1)).max(axis=1).mean()
        for k in (anchors[None], mean[None])
    ]
    assert fits[0] > fits[1] + 0.2


def test_too_few_boxes() -> None:
    with pytest.raises(DataError, match=r"2 different boxes in the training data; expected at least 3"):
        fit_anchors(np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]), 3)
