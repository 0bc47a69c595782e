"""The built-in digits: always the same, splits apart, boxes tight, digits apart."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from sapwood.data import digits, digits_dataset
from sapwood.errors import ConfigError, DataError
from sapwood.types import DetectionDataset


@pytest.fixture(scope="module")
def val() -> DetectionDataset:
    return digits_dataset("val", num_images=60)


def test_same_arguments_same_pictures(val: DetectionDataset) -> None:
    again = digits_dataset("val", num_images=3)
    assert len(again.samples) == 3
    for first, second in zip(val.samples[:3], again.samples, strict=True):
        np.testing.assert_array_equal(first.boxes, second.boxes)
        np.testing.assert_array_equal(first.load(), second.load())
        np.testing.assert_array_equal(first.load(), first.load())


def test_layout_is_pinned() -> None:
    """Another machine or version that places the digits differently would make another data set."""
    sample = digits_dataset("val", num_images=1).samples[0]
    assert sample.labels.tolist() == [9, 1, 1, 2]
    assert sample.boxes.tolist() == [[36, 29, 84, 98], [1, 100, 48, 161], [127, 48, 150, 96], [100, 39, 123, 76]]


def test_seeds_and_splits_differ(val: DetectionDataset) -> None:
    others = (digits_dataset("val", num_images=1, seed=1), digits_dataset("test", num_images=1))
    prints = {hashlib.sha256(data.samples[0].load().tobytes()).hexdigest() for data in (val, *others)}
    assert len(prints) == 3


def test_splits_share_no_handwritten_digit() -> None:
    parts = digits._split_glyphs()
    assert {split: len(part) for split, part in parts.items()} == {"train": 1258, "val": 270, "test": 269}
    assert len(np.unique(np.concatenate(list(parts.values())))) == 1797
    labels = digits._digits()[1]
    for part in parts.values():
        assert len(np.unique(labels[part])) == 10


def test_boxes_are_tight_around_the_ink() -> None:
    """Every edge of a digit's box touches its ink."""
    samples = digits_dataset("train", num_images=10).samples
    assert sum(len(sample.boxes) for sample in samples) >= 10
    for sample in samples:
        for box, placed in zip(sample.boxes, sample.load.args[1], strict=True):  # type: ignore[attr-defined]
            ink = digits._ink(placed.glyph, placed.turn) >= 128
            assert tuple(box) == placed.box
            assert all(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))


def test_boxes_lie_inside_and_hardly_overlap(val: DetectionDataset) -> None:
    assert len(val.samples) == 60
    for sample in val.samples:
        boxes = sample.boxes
        assert len(boxes) >= 1
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= 192).all()
        heights = boxes[:, 3] - boxes[:, 1]
        assert heights.min() >= 17
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        shared = np.clip(high - low, 0, None).prod(-1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        np.fill_diagonal(shared, 0)
        assert (shared <= 0.05 * np.minimum(area[:, None], area[None]) + 1e-6).all()


def test_digits_come_at_several_scales_and_all_classes(val: DetectionDataset) -> None:
    heights = np.concatenate([sample.boxes[:, 3] - sample.boxes[:, 1] for sample in val.samples])
    assert heights.min() < 24
    assert heights.max() > 72
    labels = np.concatenate([sample.labels for sample in val.samples])
    assert set(labels.tolist()) == set(range(10))


def test_ink_stands_out_from_its_surroundings(val: DetectionDataset) -> None:
    """The ink of a digit differs in brightness from the rest of its box, in nine of ten at least."""
    contrasts = []
    for sample in val.samples[:20]:
        picture = sample.load().astype(float).mean(-1)
        for placed in sample.load.args[1]:  # type: ignore[attr-defined]
            left, top, right, bottom = placed.box
            ink = digits._ink(placed.glyph, placed.turn)
            rows = np.arange(bottom - top) * len(ink) // (bottom - top)
            columns = np.arange(right - left) * ink.shape[1] // (right - left)
            covered = ink[rows][:, columns] >= 128
            patch = picture[top:bottom, left:right]
            if covered.any() and not covered.all():
                contrasts.append(abs(patch[covered].mean() - patch[~covered].mean()))
    assert np.quantile(contrasts, 0.1) > 25


def test_sizes_are_as_asked() -> None:
    dataset = digits_dataset("train", size=(96, 160), num_images=5)
    assert all(sample.load().shape == (96, 160, 3) for sample in dataset.samples)
    assert max(sample.boxes[:, 3].max() for sample in dataset.samples) <= 96
    assert len(dataset.samples) == 5


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="digits: no split 'dev'; it has the splits: train, val, test"):
        digits_dataset("dev")
    with pytest.raises(ConfigError, match=r"size \(height, width\) is at least 64 x 64; got 32 x 192"):
        digits_dataset(size=(32, 192))
    with pytest.raises(ConfigError, match="num_images is at least 1 and seed at least 0; got 0 and 0"):
        digits_dataset(num_images=0)
