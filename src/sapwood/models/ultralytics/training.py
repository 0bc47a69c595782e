"""Training a pruned network with Ultralytics' own trainers, at the widths that it has."""

from __future__ import annotations

from typing import Any

from sapwood.errors import ConfigError
from sapwood.models.ultralytics import trainers


def keep_widths(cfg: Any = None, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> Any:
    """The ``trainer=`` of ``YOLO(...).train`` that trains a network as it is.

    Ultralytics' trainers build the network anew from its ``.yaml`` and copy the weights that fit: of a pruned network
    hardly any. This one takes the network itself; all else is Ultralytics' own trainer for the task.

    Args:
        cfg: As Ultralytics' trainers take it; its own defaults where None.
        overrides: The options given to ``train``.
        _callbacks: Likewise.

    Returns:
        The trainer.

    Raises:
        ConfigError: If the task is none of detection, segmentation, pose, boxes with an angle and classification.
    """
    task = (overrides or {}).get("task", "detect")
    if task not in trainers.TRAINERS:
        raise ConfigError(f"a network for {task!r}; expected one of: {', '.join(trainers.TRAINERS)}")
    kept = {} if cfg is None else {"cfg": cfg}
    return getattr(trainers, trainers.TRAINERS[task])(overrides=overrides, _callbacks=_callbacks, **kept)
