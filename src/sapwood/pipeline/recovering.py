"""Accuracy back after pruning, from pictures without labels: reconstruction, then distillation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, get_args

from torch import Tensor

from sapwood.errors import ConfigError
from sapwood.pipeline.pruning import Pruned
from sapwood.recovery import DistillConfig, Recovered, distill, reconstruct
from sapwood.types import ModelBundle

RecoverMethod = Literal["none", "reconstruct", "distill"]

StageProgress = Callable[[str], Callable[[int, int], None] | None]
"""Given what comes next, returns what is told (done, total) of it."""


def recover(
    bundle: ModelBundle,
    pruned: Pruned,
    batches: Iterable[Tensor],
    method: RecoverMethod,
    *,
    config: DistillConfig | None = None,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> Pruned:
    """Gives a pruned model weights that make up for what went; labels are not needed.

    Args:
        bundle: The dense model.
        pruned: What :func:`sapwood.prune` made of it.
        batches: Inputs of the network, as evaluation would give them.
        method: ``"reconstruct"``: closed form, layer by layer (:func:`sapwood.reconstruct`). ``"distill"``: that, then
            a descent on the outputs (:func:`sapwood.recovery.distill`). ``"none"``: nothing.
        config: Of distillation.
        seed: Of the places that reconstruction looks at.
        progress: Asked for a callback at the start of each stage.

    Returns:
        ``pruned`` with another model and with ``recovery``; the plan and the verification, which holds for the weights
        before, stay as they are.

    Raises:
        ConfigError: If there is no such method, or no picture.
    """
    if method not in get_args(RecoverMethod):
        raise ConfigError(f"recover {method!r}; expected one of {', '.join(get_args(RecoverMethod))}")
    if method == "none":
        return pruned
    inputs = list(batches)

    def told(stage: str) -> Any:
        return None if progress is None else progress(stage)

    solved = reconstruct(bundle.model, pruned.model, pruned.plan, inputs, seed=seed, progress=told("reconstructing"))
    found = Recovered("reconstruct", solved.num_pictures, solved.seconds, solved.layers, dict(solved.left_alone))
    model = solved.model
    if method == "distill":
        refined = distill(
            bundle.model, model, pruned.plan, inputs, bundle.task, config=config, progress=told("distilling")
        )
        model = refined.model
        found = replace(
            found,
            method="distill",
            seconds=found.seconds + refined.seconds,
            checks=refined.history,
            best_step=refined.best_step,
        )
    return replace(pruned, model=model, recovery=found)
