"""Anchors that suit the boxes of a data set."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from sapwood.data.augment import whole_window
from sapwood.errors import DataError
from sapwood.types import DetectionDataset, TaskSpec

Sizes: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

MAX_PICTURES = 1000
"""Pictures whose boxes are measured; each must be opened for its size, and more would hardly move the anchors."""

_MAX_ROUNDS = 300


def box_sizes(dataset: DetectionDataset, task: TaskSpec) -> Sizes:  # shape: (N, 2)
    """Returns (width, height) of every box in pixels of the model's input, difficult ones left out."""
    step = -(-len(dataset.samples) // MAX_PICTURES)
    sizes = [np.zeros((0, 2))]
    for sample in dataset.samples[::step]:
        boxes = sample.boxes[~sample.difficult].astype(np.float64)
        if len(boxes):
            height, width = sample.load().shape[:2]
            x1, y1, x2, y2 = whole_window((height, width), task.input_size, task.resize)
            scale = np.array([task.input_size[1] / (x2 - x1), task.input_size[0] / (y2 - y1)])
            sizes.append((boxes[:, 2:] - boxes[:, :2]) * scale)
    return np.concatenate(sizes)


def fit_anchors(sizes: Sizes, count: int, *, seed: int = 0) -> Sizes:  # shape: (count, 2)
    """Groups boxes by shape with k-means under the distance 1 - IoU, so that large boxes count no more than small ones.

    Args:
        sizes: (width, height) of each box, shape (N, 2).
        count: Number of anchors.
        seed: Of the first centres, drawn as k-means++ does.

    Returns:
        The mean box of each group, ascending by area.

    Raises:
        DataError: If there are fewer different boxes than anchors.

    Examples:
        >>> sizes = np.array([[10.0, 10.0], [12.0, 12.0], [50.0, 40.0], [50.0, 44.0]])
        >>> fit_anchors(sizes, 2).tolist()
        [[11.0, 11.0], [50.0, 42.0]]

    References:
        Redmon and Farhadi, YOLO9000, 2017, arXiv:1612.08242, section 2 ("dimension clusters").
    """
    different = len(np.unique(sizes, axis=0))
    if different < count:
        raise DataError(f"{different} different boxes in the training data; expected at least {count}, one an anchor")
    centres = _first_centres(sizes, count, np.random.default_rng(seed))
    nearest = np.full(len(sizes), -1)
    for _ in range(_MAX_ROUNDS):
        previous, nearest = nearest, _overlap(sizes, centres).argmax(axis=1)
        if (nearest == previous).all():
            break
        centres = np.stack(
            [sizes[nearest == k].mean(axis=0) if (nearest == k).any() else centres[k] for k in range(count)]
        )
    return centres[np.argsort(centres.prod(axis=1), kind="stable")]


def _first_centres(sizes: Sizes, count: int, generator: np.random.Generator) -> Sizes:
    centres: Sizes = sizes[generator.integers(len(sizes))][None]
    while len(centres) < count:
        distance = (1 - _overlap(sizes, centres).max(axis=1)).clip(min=0) ** 2
        chosen = generator.choice(len(sizes), p=distance / distance.sum())
        centres = np.concatenate([centres, sizes[chosen][None]])
    return centres


def _overlap(sizes: Sizes, centres: Sizes) -> Sizes:  # shapes: (N, 2), (K, 2) -> (N, K)
    shared = np.minimum(sizes[:, None], centres[None]).prod(-1)
    overlap: Sizes = shared / (sizes.prod(-1)[:, None] + centres.prod(-1)[None] - shared)
    return overlap
