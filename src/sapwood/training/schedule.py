"""The learning rate as a pure function of the step, so that a resumed run needs no state for it."""

from __future__ import annotations

import math

from sapwood.config import TrainConfig

ONE_CYCLE_RISE = 0.3
"""Fraction of a one-cycle run that the rate rises."""

ONE_CYCLE_START = 0.04
"""First rate of a one-cycle run, as a fraction of the highest."""


def learning_rate(step: int, *, total_steps: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Returns the learning rate of a step.

    ``"cosine"`` and ``"constant"`` start with a linear warm-up over ``config.warmup_epochs``; ``"one_cycle"`` rises
    along half a cosine over the first 30 % instead. ``"cosine"`` and ``"one_cycle"`` fall, along half a cosine, to
    ``config.final_lr * config.lr``.

    Args:
        step: Steps taken before this one, over all epochs.
        total_steps: Steps of the whole run.
        steps_per_epoch: Steps of one epoch.
        config: The highest rate, the schedule and its parameters.

    Examples:
        >>> config = TrainConfig(lr=1.0, warmup_epochs=1, final_lr=0.0)
        >>> [round(learning_rate(i, total_steps=8, steps_per_epoch=4, config=config), 2) for i in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.85, 0.5, 0.15]

    References:
        Loshchilov and Hutter, SGDR, 2017, arXiv:1608.03983, eq. 5 (cosine); Smith and Topin, Super-Convergence, 2018,
        arXiv:1708.07120 (one cycle).
    """
    one_cycle = config.schedule == "one_cycle"
    rise = ONE_CYCLE_RISE * total_steps if one_cycle else min(config.warmup_epochs * steps_per_epoch, total_steps)
    if step < rise:
        if one_cycle:
            return config.lr * _half_cosine(ONE_CYCLE_START, 1.0, step / rise)
        return config.lr * min(1.0, (step + 1) / rise)
    if config.schedule == "constant":
        return config.lr
    return config.lr * _half_cosine(1.0, config.final_lr, (step - rise) / max(1.0, total_steps - rise))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
