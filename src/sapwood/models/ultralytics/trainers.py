"""Ultralytics' trainers, one a task, that take the network as it is.

The classes are made when they are asked for, since Ultralytics is imported for them; by name they are found here, where
the processes of a training on several devices look for them.
"""

from __future__ import annotations

import importlib
from copy import deepcopy
from typing import Any

from torch import nn

from sapwood.errors import TrainingError

TRAINERS = {
    "detect": "DetectionTrainer",
    "segment": "SegmentationTrainer",
    "pose": "PoseTrainer",
    "obb": "OBBTrainer",
    "classify": "ClassificationTrainer",
}
"""Names of the classes, by Ultralytics' name of the task."""


class KeepsWidths:
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


def __getattr__(name: str) -> Any:
    task = next((task for task, known in TRAINERS.items() if known == name), None)
    if task is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    own = getattr(importlib.import_module(f"ultralytics.models.yolo.{task}"), name)
    globals()[name] = type(name, (KeepsWidths, own), {"__module__": __name__, "__doc__": f"Ultralytics' {name}."})
    return globals()[name]
