"""What a detector of torchvision says of itself: its kind, its classes, the pictures that it works on."""

from __future__ import annotations

from typing import Any

from torch import nn

from sapwood.types import ListedHead, TaskSpec

HOME = "torchvision.models.detection."
KINDS = ("GeneralizedRCNN", "RetinaNet", "FCOS", "SSD")
"""The classes that torchvision's detectors are of, or of subclasses."""

COCO_CLASSES = 91
"""Classes of the published weights, the background and eleven that COCO does not use among them."""

UNUSED = ("__background__", "N/A", "no person")


def kind_of(model: nn.Module) -> str | None:
    """Which of :data:`KINDS` a model is; torchvision is not imported for it."""
    names = {base.__name__ for base in type(model).__mro__ if base.__module__.startswith(HOME)}
    return next((kind for kind in KINDS if kind in names), None)


def num_scores(model: nn.Module) -> int | None:
    """How many classes a detector scores, background included where it has one; None where its head does not say."""
    own: Any = model
    try:
        if kind_of(model) == "GeneralizedRCNN":
            return int(own.roi_heads.box_predictor.cls_score.out_features)
        head = own.head.classification_head
        return int(head.num_columns if kind_of(model) == "SSD" else head.num_classes)
    except (AttributeError, TypeError):
        return None


def class_labels(num_classes: int) -> tuple[int, ...]:
    """What a detector calls its classes: COCO's numbers where it has as many scores, else 1 and on; 0 is background.

    Examples:
        >>> class_labels(4)
        (1, 2, 3)
        >>> len(class_labels(91)), class_labels(91)[-1]
        (80, 90)
    """
    if num_classes != COCO_CLASSES:
        return tuple(range(1, num_classes))
    return tuple(label for label, name in enumerate(_coco_names()) if name not in UNUSED)


def known_names(num_classes: int) -> tuple[str, ...]:
    """COCO's names of the classes where a detector has as many, else placeholders."""
    if num_classes == COCO_CLASSES:
        return tuple(name for name in _coco_names() if name not in UNUSED)
    return tuple(f"class{index}" for index in range(num_classes - 1))


def describe(model: nn.Module, names: tuple[str, ...] | None = None) -> TaskSpec | None:
    """The task of a detector; None where its head does not say how many classes there are.

    Batches for calibration and recovery are letterboxed to one size, at which the detector resizes no further: that of
    SSD, of the others a square of the short side that they bring pictures to.
    """
    own: Any = model
    count = num_scores(model)
    if count is None:
        return None
    fixed = own.transform.fixed_size
    size = (own.transform.min_size[-1],) * 2 if fixed is None else (fixed[1], fixed[0])
    labels = class_labels(count)
    return TaskSpec(
        "detection",
        (int(size[0]), int(size[1])),
        known_names(count) if names is None else names,
        "letterbox" if fixed is None else "stretch",
        heads=(ListedHead(len(labels), labels),),
    )


def _coco_names() -> list[str]:
    from torchvision.models._meta import _COCO_CATEGORIES  # imports for seconds

    return list(_COCO_CATEGORIES)
