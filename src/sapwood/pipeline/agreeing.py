"""How far two ways to run one network find the same in pictures, whatever is true of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchvision.ops import box_iou

from sapwood.tasks import TASKS, Sighting
from sapwood.types import ClassificationDataset, Dataset, ModelBundle, TextDataset

SHOWN = 0.25
"""Detections with a larger score count."""
NMS_OVERLAP, SAME_OVERLAP = 0.45, 0.5


def agreement(one: ModelBundle, other: ModelBundle, dataset: Dataset) -> float:
    """Returns the share of what two networks find that both find, in [0, 1].

    Of classifiers it is the share of pictures that they put into the same class. Of detectors that of the detections
    (score above :data:`SHOWN`) for which the other one has its own, of the same class and with an overlap of at least
    :data:`SAME_OVERLAP`; 1 where neither finds anything.

    Args:
        one: A network with its task.
        other: Another one for the same task.
        dataset: The pictures; labels are not looked at.
    """
    same = found = 0
    assert not isinstance(dataset, TextDataset)  # whose networks have no int8 file
    for sample in dataset.samples:
        picture = sample.load()
        first, second = (
            TASKS[bundle.task.kind].find(bundle, [picture], score_threshold=SHOWN, iou_threshold=NMS_OVERLAP)[0]
            for bundle in (one, other)
        )
        if isinstance(dataset, ClassificationDataset):
            first, second = first[:1], second[:1]
        same += 2 * num_matched(first, second)
        found += len(first) + len(second)
    return same / found if found else 1.0


def num_matched(first: Sequence[Sighting], second: Sequence[Sighting]) -> int:
    """How many of the first find one of the second, of the same class and in the same place; each is found once.

    Examples:
        >>> there, beside = (0.0, 0.0, 4.0, 4.0), (0.0, 1.0, 4.0, 5.0)
        >>> num_matched([Sighting(1, 0.9, there), Sighting(1, 0.8, there)], [Sighting(1, 0.7, beside)])
        1
        >>> num_matched([Sighting(1, 0.9)], [Sighting(2, 0.9)])
        0
    """
    free = list(second)
    count = 0
    for sighting in first:
        partner = max(
            (one for one in free if one.label == sighting.label), key=lambda one: _overlap(sighting, one), default=None
        )
        if partner is not None and _overlap(sighting, partner) >= SAME_OVERLAP:
            free.remove(partner)
            count += 1
    return count


def _overlap(one: Sighting, other: Sighting) -> float:
    """Of their boxes; what has none is everywhere."""
    if one.box is None or other.box is None:
        return 1.0
    return float(box_iou(torch.tensor([one.box]), torch.tensor([other.box])))
