"""Ultralytics' trainers, one a task, that take the network as it is. Imports Ultralytics: import it on demand only."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import nn
from ultralytics.models import yolo

from sapwood.errors import TrainingError


class _KeepsWidths:
    """What they share."""

    data: dict[str, Any]

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """A copy of the network that training starts from, all of it trainable.

        Raises:
            TrainingError: If there is none, or it has other classes than the data.
        """
        del cfg, verbose
        if not isinstance(weights, nn.Module):
            raise TrainingError("no network to train; expected YOLO('small.pt').train(trainer=keep_widths, ...)")
        model: Any = deepcopy(weights).float()
        names, classes = getattr(model, "names", {}), self.data["nc"]
        if len(names) != classes:
            raise TrainingError(
                f"the network has {len(names)} classes and the data {classes}; expected as many: train the dense "
                "network on the data first, then prune it"
            )
        for name, parameter in model.named_parameters():
            parameter.requires_grad = ".dfl." not in name
        model.criterion = None
        return model.train()


class DetectionTrainer(_KeepsWidths, yolo.detect.DetectionTrainer):  # type: ignore[misc]
    """Of detectors."""


class SegmentationTrainer(_KeepsWidths, yolo.segment.SegmentationTrainer):  # type: ignore[misc]
    """Of segmentation."""


class PoseTrainer(_KeepsWidths, yolo.pose.PoseTrainer):  # type: ignore[misc]
    """Of key points."""


class OBBTrainer(_KeepsWidths, yolo.obb.OBBTrainer):  # type: ignore[misc]
    """Of boxes with an angle."""


class ClassificationTrainer(_KeepsWidths, yolo.classify.ClassificationTrainer):  # type: ignore[misc]
    """Of classifiers."""


TRAINERS = {
    "detect": DetectionTrainer,
    "segment": SegmentationTrainer,
    "pose": PoseTrainer,
    "obb": OBBTrainer,
    "classify": ClassificationTrainer,
}
"""By Ultralytics' name of the task."""
