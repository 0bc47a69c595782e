"""A line an epoch: loss, accuracy and time of training, on a terminal and in logs alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_METRIC = {
    "epoch", "lr", "images_per_second", "seconds", "loader_wait_share", "skipped", "eval_seconds", "total",
}  # fmt: skip
"""What an epoch's record has beside losses and accuracies."""


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """Writes what an epoch came to.

    Examples:
        >>> epoch_line({"epoch": 3, "lr": 0.01, "total": 2.34567, "mAP@0.5": 0.3121, "seconds": 12.34}, 60)
        'epoch 3/60  loss 2.346  mAP@0.5 0.312  12.3 s'
        >>> epoch_line({"epoch": 1, "total": 1.0, "gradual_zeros": 0.117, "seconds": 1.0}, 2)
        'epoch 1/2  loss 1  zeros 12 %  1.0 s'
    """
    accuracies = [name for name in record if name not in NO_METRIC and ("@" in name or name.startswith("top-"))]
    figures = [f"{name} {record[name]:.3f}" for name in accuracies]
    loss = [f"loss {record['total']:.4g}"] if "total" in record else []
    zeros = [f"zeros {100.0 * record['gradual_zeros']:.0f} %"] if "gradual_zeros" in record else []
    seconds = float(record.get("seconds", 0.0)) + float(record.get("eval_seconds", 0.0))
    return "  ".join([f"epoch {record['epoch']}/{epochs}", *loss, *figures, *zeros, f"{seconds:.1f} s"])
