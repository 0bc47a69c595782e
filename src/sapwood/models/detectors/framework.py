"""What detectors of torchvision need beside being modules: a task, their own loss, outputs that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sapwood.models.detectors.comparable import unview, view
from sapwood.models.detectors.describing import class_labels, describe, kind_of, num_scores
from sapwood.models.framework import FRAMEWORKS, Framework
from sapwood.types import ModelBundle

NAME = "torchvision"


class TorchvisionDetectors(Framework[nn.Module]):
    """Models of ``torchvision.models.detection``, and of subclasses."""

    title: ClassVar[str] = "torchvision detection"
    traced: ClassVar[bool] = True

    def owns(self, model: nn.Module) -> bool:
        """Whether it is a detector of torchvision."""
        return kind_of(model) is not None

    def bundle(self, model: nn.Module) -> ModelBundle:
        """Its head says the task."""
        plain, task = super().bundle(model), describe(model)
        return plain if task is None else replace(plain, task=task)

    def has_loss(self, model: nn.Module) -> bool:
        """Whether boxes are all that it is trained with."""
        own: Any = model
        inside = kind_of(model) == "GeneralizedRCNN" and (own.roi_heads.has_mask() or own.roi_heads.has_keypoint())
        return num_scores(model) is not None and not inside

    def loss(
        self,
        model: nn.Module,
        pictures: Tensor,  # shape: (B, 3, H, W)
        targets: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:  # shape: ()
        """The sum of the losses that torchvision trains the detector with.

        BatchNorms stay in the mode that they are in. A model in evaluation mode always draws the same anchors.
        """
        names = torch.tensor(class_labels(num_scores(model) or 0))
        wanted = [
            {"boxes": boxes.to(pictures), "labels": names[labels.cpu()].to(pictures.device)}
            for boxes, labels in targets
        ]
        with torch.random.fork_rng(devices=[], enabled=not model.training), _learning(model):
            if not model.training:
                torch.manual_seed(0)
            losses = model(list(pictures), wanted)
        total: Tensor = sum(losses.values(), start=pictures.new_zeros(()))
        return total

    def comparable(self, model: nn.Module) -> nn.Module:
        """What its heads say, before boxes are chosen."""
        return view(model)

    def plain(self, model: nn.Module) -> nn.Module:
        """The detector again."""
        return unview(model)


@contextmanager
def _learning(model: Any) -> Iterator[None]:
    """The parts that decide whether there are losses are in training mode; no BatchNorm or dropout is."""
    parts = [model, *(getattr(model, name) for name in ("rpn", "roi_heads") if hasattr(model, name))]
    before = [part.training for part in parts]
    for part in parts:
        part.training = True
    try:
        yield
    finally:
        for part, training in zip(parts, before, strict=True):
            part.training = training


FRAMEWORKS.register(NAME)(TorchvisionDetectors())
