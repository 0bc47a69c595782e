"""Augmentation: boxes follow their pixels, the same seed gives the same picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sapwood.config import AugmentConfig
from sapwood.data import to_input
from sapwood.data.augment import (
    GREY,
    LabelledPicture,
    augment,
    colour_matrix,
    example_generator,
    mirror,
    shrink,
    whole_window,
)
from sapwood.types import Resize, TaskSpec

STILL = AugmentConfig(horizontal_flip=0, scale=0, aspect=0, translate=0, hue=0, saturation=0, brightness=0, mosaic=0)
SIZE = (96, 128)


def example(height: int = 100, width: int = 150, *boxes: tuple[int, int, int, int]) -> LabelledPicture:
    """White rectangles on black; without any given, two."""
    boxes = boxes or ((20, 30, 60, 70), (100, 10, 140, 50))
    picture = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        picture[y1:y2, x1:x2] = 255
    return LabelledPicture(picture, np.array(boxes, np.float32), np.arange(len(boxes), dtype=np.int64))


def ink_box(picture: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The box around bright pixels within a margin of 3 pixels of ``near``."""
    x1, y1, x2, y2 = (round(float(edge)) for edge in near)
    left, top = max(0, x1 - 3), max(0, y1 - 3)
    ys, xs = np.nonzero(picture[top : y2 + 3, left : x2 + 3].mean(axis=2) > 191)
    return np.array([xs.min() + left, ys.min() + top, xs.max() + 1 + left, ys.max() + 1 + top])


@pytest.mark.parametrize(
    ("resize", "size"), [("stretch", (96, 128)), ("letterbox", (128, 120)), ("center_crop", (70, 70))]
)
def test_without_change_it_is_what_evaluation_sees(resize: Resize, size: tuple[int, int]) -> None:
    """At sizes that need no rounding: evaluation resizes to whole pixels first."""
    source = example()
    rng = np.random.default_rng(0)
    source.picture[:] = rng.integers(0, 256, (10, 15, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    made = augment([source], size, STILL, example_generator(0, 0, 0), resize=resize)
    seen, placement = to_input(source.picture, TaskSpec("detection", size, resize=resize))
    boxes = placement.to_input(torch.from_numpy(source.boxes)).numpy()
    assert np.abs(made.boxes - boxes.clip(0, np.array([size[1], size[0]] * 2))).max() < 1e-3
    difference = np.abs(made.picture.astype(int) - (seen.permute(1, 2, 0).numpy() * 255))
    assert difference.max() <= 1


def test_boxes_stay_on_their_pixels() -> None:
    # half of the box must be left, so that it is large enough to be found again
    config = AugmentConfig(hue=0, saturation=0, brightness=0, vertical_flip=0.5, min_visible=0.5)
    found = 0
    for index in range(40):
        made = augment([example(100, 150, (55, 30, 95, 70))], SIZE, config, example_generator(1, 0, index))
        for box in made.boxes:
            assert np.abs(ink_box(made.picture, box) - box).max() <= 1.5
            found += 1
    assert found >= 35


def test_boxes_of_a_mosaic_hold_their_pixels_and_no_others() -> None:
    config = AugmentConfig(hue=0, saturation=0, brightness=0, vertical_flip=0.5, min_visible=0.001)
    for index in range(40):
        made = augment([example(100, 150, (55, 30, 95, 70))] * 4, SIZE, config, example_generator(1, 0, index))
        inside, around = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
        for x1, y1, x2, y2 in made.boxes:
            inside[int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1] = True
            around[max(0, int(y1) - 2) : int(y2) + 3, max(0, int(x1) - 2) : int(x2) + 3] = True
        white = made.picture.mean(axis=2) > 191
        assert white[inside].all()
        assert white[~around].mean() < 0.005  # slivers under two pixels are dropped


def test_the_same_numbers_give_the_same_picture() -> None:
    config = AugmentConfig(mosaic=1.0)
    for count in (1, 4):
        first, again = (augment([example()] * count, SIZE, config, example_generator(3, 1, 2)) for _ in range(2))
        other = augment([example()] * count, SIZE, config, example_generator(3, 2, 2))
        assert (first.picture == again.picture).all()
        assert (first.boxes == again.boxes).all()
        assert not np.array_equal(first.picture, other.picture)


def test_results_lie_in_the_picture_and_are_large_enough() -> None:
    config = AugmentConfig(scale=0.9, translate=0.9, aspect=0.5, vertical_flip=0.5)
    for index in range(60):
        made = augment([example()] * (1 + 3 * (index % 2)), SIZE, config, example_generator(0, 0, index))
        assert made.picture.shape == (*SIZE, 3)
        assert made.picture.dtype == np.uint8
        assert made.boxes.dtype == np.float32
        assert made.boxes.shape == (len(made.labels), 4)
        assert (made.boxes[:, :2] >= 0).all()
        assert (made.boxes[:, 2:] <= np.array([SIZE[1], SIZE[0]])).all()
        assert (made.boxes[:, 2:] - made.boxes[:, :2] >= 1.99).all()


def test_boxes_of_which_little_is_left_are_dropped() -> None:
    config = STILL.model_copy(update={"min_visible": 0.5})
    source = example(100, 100, (0, 40, 20, 60), (40, 40, 60, 60))
    crop = TaskSpec("detection", (50, 50), resize="center_crop")  # shows 87.5 % of each side: 6.25 to 93.75
    made = augment([source], crop.input_size, config, example_generator(0, 0, 0), resize="center_crop")
    assert made.labels.tolist() == [0, 1]
    assert made.boxes[0, 0] == 0
    strict = config.model_copy(update={"min_visible": 0.7})  # (20 - 6.25) / 20 = 0.69 is visible
    made = augment([source], crop.input_size, strict, example_generator(0, 0, 0), resize="center_crop")
    assert made.labels.tolist() == [1]


def test_mosaic_shows_four_pictures_at_one_scale() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    sources = [
        LabelledPicture(np.full((50, 70, 3), colour, np.uint8), np.array([[0, 0, 70, 50]], np.float32), np.array([k]))
        for k, colour in enumerate(colours)
    ]
    made = augment(sources, SIZE, STILL.model_copy(update={"min_visible": 0.01}), example_generator(0, 0, 5))
    assert {tuple(pixel) for pixel in made.picture.reshape(-1, 3).tolist()} == set(colours)
    for box, label in zip(made.boxes.astype(int), made.labels, strict=True):
        part = made.picture[box[1] : box[3], box[0] : box[2]].reshape(-1, 3)
        assert (part == colours[label]).all()
    assert sum((made.boxes[:, 2:] - made.boxes[:, :2]).prod(axis=1)) == SIZE[0] * SIZE[1]


def test_zooming_out_leaves_grey_around() -> None:
    config = STILL.model_copy(update={"scale": 0.9})
    sides = []
    for index in range(20):
        made = augment([example(100, 100, (0, 0, 100, 100))], (100, 100), config, example_generator(0, 0, index))
        white = (made.picture == 255).all(axis=2)
        assert white.all() or (made.picture[~white] == GREY).mean() > 0.95
        sides.append(white.sum(axis=1).max())
    assert min(sides) < 70
    assert max(sides) == 100


@pytest.mark.parametrize("axis", [0, 1])
def test_mirroring_twice_changes_nothing(axis: int) -> None:
    source = example()
    twice = mirror(mirror(source, axis=axis), axis=axis)
    assert (twice.picture == source.picture).all()
    assert (twice.boxes == source.boxes).all()
    once = mirror(source, axis=axis)
    for box in once.boxes.astype(int):
        assert (once.picture[box[1] : box[3], box[0] : box[2]] == 255).all()


def test_flips_happen_as_often_as_asked() -> None:
    config = STILL.model_copy(update={"horizontal_flip": 0.25})
    source = example(96, 128, (0, 0, 20, 96))
    flipped = [augment([source], SIZE, config, example_generator(0, 0, k)).boxes[0, 0] > 0 for k in range(400)]
    assert 0.18 < np.mean(flipped) < 0.32


def test_colours_keep_grey_grey() -> None:
    config = AugmentConfig(hue=0.5, saturation=2.0, brightness=0.0)
    matrix = colour_matrix(config, example_generator(0, 0, 0))
    assert matrix is not None
    assert np.allclose(matrix @ np.full(3, 90.0), 90.0, atol=0.2)
    assert not np.allclose(matrix @ np.array([200.0, 20.0, 20.0]), [200, 20, 20], atol=5)
    assert colour_matrix(STILL, example_generator(0, 0, 0)) is None


def test_brightness_scales_every_channel() -> None:
    config = STILL.model_copy(update={"brightness": 1.0})
    matrix = colour_matrix(config, example_generator(0, 0, 3))
    assert matrix is not None
    assert np.allclose(matrix, matrix[0, 0] * np.eye(3), atol=1e-9)
    assert 0.5 <= matrix[0, 0] <= 2


def test_shrinking_keeps_boxes_on_their_pixels() -> None:
    small = shrink(example(400, 600, (60, 80, 240, 200)), 150)
    assert small.picture.shape == (100, 150, 3)
    assert small.boxes.tolist() == [[15, 20, 60, 50]]
    assert (small.picture[21:49, 16:59] == 255).all()
    untouched = example()
    assert shrink(untouched, 150) is untouched


def test_windows_of_evaluation() -> None:
    assert whole_window((100, 200), (64, 64), "stretch") == (0, 0, 200, 100)
    assert whole_window((100, 200), (64, 64), "letterbox") == (0, -50, 200, 150)
    x1, y1, x2, y2 = whole_window((100, 200), (64, 64), "center_crop")
    assert (x2 - x1, y2 - y1) == pytest.approx((87.5, 87.5))
    assert (x1 + x2, y1 + y2) == pytest.approx((200, 100))


def test_one_picture_or_four() -> None:
    with pytest.raises(ValueError, match=r"one picture or four make a training picture; got 2"):
        augment([example()] * 2, SIZE, STILL, example_generator(0, 0, 0))
