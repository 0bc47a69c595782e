"""Detectors with the outputs of their heads instead of boxes that were chosen: what recovery compares.

Which boxes pass thresholds and NMS differs between two networks, and no number of the one has a partner in the
other's. What the heads say of every anchor has. The second stage of an R-CNN looks at the same windows of every
picture, whatever the first proposes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sapwood.models.detectors.describing import kind_of

GRIDS = (1, 2, 4, 6)
"""The second stage looks at a picture cut into so many rows and columns, each in turn."""

MASKED = 5
"""Masks and key points are compared in the first so many of these windows: they cost a hundred times a box."""

Parts: TypeAlias = "tuple[Tensor, ...]"
"""Scores in [0, 1], (B, N, classes), and numbers (B, N, D) that matter where there is something; again and again."""


class _Comparable:
    """What the views share: how pictures become maps."""

    transform: nn.Module
    backbone: nn.Module

    def _maps(self, pictures: Any) -> tuple[Any, dict[str, Tensor]]:
        images, _ = self.transform(pictures)
        maps = self.backbone(images.tensors)
        return images, {"0": maps} if isinstance(maps, Tensor) else maps


class _Anchors(_Comparable):
    """SSD, RetinaNet and FCOS: one look."""

    head: nn.Module

    def forward(self, pictures: Any) -> Parts:
        _, maps = self._maps(pictures)
        found = self.head(list(maps.values()))
        return self._scores(found), found["bbox_regression"]

    def _scores(self, found: dict[str, Tensor]) -> Tensor:
        scores = found["cls_logits"].sigmoid()
        return scores * found["bbox_ctrness"].sigmoid() if "bbox_ctrness" in found else scores


class _Softmax(_Anchors):
    """SSD: classes compete with the background."""

    def _scores(self, found: dict[str, Tensor]) -> Tensor:
        return found["cls_logits"].softmax(-1)[..., 1:]


class _Stages(_Comparable):
    """R-CNNs: anchors, then windows."""

    rpn: Any
    roi_heads: Any

    def forward(self, pictures: Any) -> Parts:
        from torchvision.models.detection.rpn import concat_box_prediction_layers

        images, maps = self._maps(pictures)
        sizes, count = images.image_sizes, len(images.image_sizes)
        objectness, moves = concat_box_prediction_layers(*self.rpn.head(list(maps.values())))
        heads, windows = self.roi_heads, [_windows(size, images.tensors) for size in sizes]
        logits, boxes = heads.box_predictor(heads.box_head(heads.box_roi_pool(maps, windows, sizes)))
        first = objectness.sigmoid().reshape(count, -1, 1), moves.reshape(count, -1, 4)
        scores = logits.softmax(-1)[:, 1:].reshape(count, len(windows[0]), -1)
        return (*first, scores, boxes.reshape(count, len(windows[0]), -1), *self._inside(maps, windows, sizes, scores))

    def _inside(self, maps: Any, windows: list[Tensor], sizes: Any, scores: Tensor) -> Parts:
        """What is seen in the windows: masks or key points."""
        few = [one[:MASKED] for one in windows]
        parts: list[Tensor] = []
        for name in ("mask", "keypoint"):
            if getattr(self.roi_heads, f"has_{name}")():
                pool, head, predictor = (
                    getattr(self.roi_heads, f"{name}_{part}") for part in ("roi_pool", "head", "predictor")
                )
                values = predictor(head(pool(maps, few, sizes)))
                parts += [scores[:, :MASKED], values.reshape(len(windows), MASKED, -1)]
        return tuple(parts)


def _windows(size: tuple[int, int], like: Tensor) -> Tensor:  # shape: (windows, 4)
    """A picture cut into equal parts, the coarsest first."""
    height, width = size
    found = [
        (width * column / count, height * row / count, width * (column + 1) / count, height * (row + 1) / count)
        for count in GRIDS
        for row in range(count)
        for column in range(count)
    ]
    return torch.tensor(found, dtype=like.dtype, device=like.device)


def view(model: Any) -> nn.Module:
    """A module of the same tensors and submodules that returns :data:`Parts`."""
    if hasattr(model, "plain_class"):
        return model  # type: ignore[no-any-return]
    twin: nn.Module = model.__class__.__new__(model.__class__)
    vars(twin).update(vars(model))
    kind: Any = type(model)
    twin.__class__ = _class(kind, kind_of(model) or "")
    return twin


def unview(model: Any) -> nn.Module:
    """The detector of a view, or of a copy of one, which is changed."""
    if hasattr(model, "plain_class"):
        model.__class__ = model.plain_class
    return model  # type: ignore[no-any-return]


@cache
def _class(kind: type, name: str) -> type:
    mixin = {"GeneralizedRCNN": _Stages, "SSD": _Softmax}.get(name, _Anchors)
    return type(kind.__name__, (mixin, kind), {"plain_class": kind, "__module__": __name__})
