"""Accuracy back after pruning, from pictures without labels: reconstruction, then distillation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.masks import Pattern, Slot, distinct_slots, find_slots, remove_masks_
from sapwood.meant import meant_name
from sapwood.models import Plan, copy_model, framework_of, refresh_masked
from sapwood.pipeline.pruning import Pruned
from sapwood.recovery import DistillConfig, Recovered, Rule, distill, reconstruct, repair_batchnorm
from sapwood.runtime import give_back, kept_memory
from sapwood.task_kinds import unit_of
from sapwood.tasks import Inputs, listed_head, num_samples
from sapwood.types import ModelBundle, RecoverMethod, TaskSpec

MANY_LOOKS = 512
"""Fewer pictures are looked at several times by reconstruction: mirrored, moved, scaled."""

MOST_VIEWS = 4
"""Views of one picture that are made, at most."""

StageProgress = Callable[[str], Callable[[int, int], None] | None]
"""Given what comes next, returns what is told (done, total) of it."""


def num_views(inputs: Sequence[Inputs]) -> int:
    """How often reconstruction looks at each picture.

    Examples:
        >>> num_views([torch.zeros(8, 3, 4, 4)] * 16), num_views([torch.zeros(8, 3, 4, 4)] * 64)
        (4, 1)
    """
    if any(not isinstance(batch, Tensor) or batch.dim() != 4 for batch in inputs):
        return 1
    return max(1, min(MOST_VIEWS, MANY_LOOKS // max(1, sum(map(num_samples, inputs)))))


def even_batches(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The same pictures in batches of one size; fewer of them than there are batches are left out.

    Examples:
        >>> [len(batch) for batch in even_batches([torch.zeros(4, 1)] * 3 + [torch.zeros(1, 1)])]
        [3, 3, 3, 3]
    """
    if len({len(batch) for batch in inputs}) < 2:
        return list(inputs)
    size = sum(map(len, inputs)) // len(inputs)
    return list(torch.split(torch.cat(list(inputs)), max(1, size))[: len(inputs)])


def recover(
    bundle: ModelBundle,
    pruned: Pruned,
    batches: Iterable[Inputs],
    method: RecoverMethod,
    *,
    others: Iterable[Inputs] = (),
    config: DistillConfig | None = None,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> Pruned:
    """Gives a pruned model weights that make up for what went; labels are not needed.

    Args:
        bundle: The dense model.
        pruned: What :func:`sapwood.prune` made of it.
        batches: Inputs of the network, as evaluation would give them.
        method: ``"batchnorm"``: BatchNorms brought to the dense network's mean and deviation, channel by channel
            (:func:`sapwood.recovery.repair_batchnorm`).
            ``"reconstruct"``: closed form, layer by layer (:func:`sapwood.reconstruct`). ``"distill"``: that, then
            a descent on the outputs (:func:`sapwood.recovery.distill`). ``"none"``: nothing.
        others: More inputs, of another kind than those that count, for reconstruction and distillation; what they
            count is judged by ``batches``.
        config: Of distillation.
        seed: Of the places that reconstruction looks at.
        progress: Asked for a callback at the start of each stage.

    Returns:
        ``pruned`` with another model and with ``recovery``; the plan and the verification, which holds for the weights
        before, stay as they are.

    Raises:
        ConfigError: If there is no such method, or no picture, or ``config`` asks for what is not of such networks.
    """
    work = _RecoveryRequest(method, bundle.task, tuple(others), config, seed, progress)
    if method == "none":
        return pruned
    dense, plan = (bundle.model, pruned.plan) if (of := pruned.of_two) is None else (of.network.model, of.plan)
    model, found, _ = work.run(dense, pruned.model, plan, list(batches), {})
    return replace(pruned, model=model, recovery=replace(found, unit=unit_of(bundle.task.kind)))


def recover_masked_(
    bundle: ModelBundle,
    dense: nn.Module,
    batches: Iterable[Inputs],
    method: RecoverMethod,
    *,
    pattern: Pattern | None = None,
    others: Iterable[Inputs] = (),
    config: DistillConfig | None = None,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> Recovered | None:
    """Gives the weights that a masked model keeps the work of those it does not; labels are not needed.

    Args:
        bundle: The masked model, changed in place: the weights that stay, biases and BatchNorms; with ``pattern`` also
            which ones stay.
        dense: The model before it was masked; not touched.
        batches: Inputs of the network, as evaluation would give them.
        method: See :func:`recover`.
        pattern: Choose anew which units of a layer stay, as many as its mask has; None keeps the masks.
        others: More inputs, of another kind than those that count, for reconstruction and distillation; what they
            count is judged by ``batches``.
        config: Of distillation.
        seed: Of the places that reconstruction looks at.
        progress: Asked for a callback at the start of each stage.

    Raises:
        ConfigError: If there is no such method, no picture, or no live mask.
    """
    work = _RecoveryRequest(method, bundle.task, tuple(others), config, seed, progress)
    if method == "none":
        return None
    slots = [slot for slot in distinct_slots(bundle.model) if slot.mask is not None]
    if not slots:
        raise ConfigError("the model has no live mask to recover from; expected one that was masked")
    _check_shared(slots)
    plain = copy_model(dense)
    remove_masks_(plain)
    rules = {slot.name: Rule(slot.mask != 0, _fitting(pattern, slot)) for slot in slots}  # type: ignore[arg-type]
    start = plain
    if method == "batchnorm":
        start = copy_model(bundle.model)
        remove_masks_(start)
    model, found, masks = work.run(plain, start, Plan(), list(batches), rules)
    values = model.state_dict()
    chosen = {id(slot.tensor): masks[slot.name] for slot in slots}
    with torch.no_grad():
        for slot in find_slots(bundle.model):
            slot.tensor.copy_(values[slot.name])
            if slot.mask is not None:
                slot.mask.copy_(chosen[id(slot.tensor)])
        for name, buffer in bundle.model.named_buffers():
            if name in values:
                buffer.copy_(values[name])
    refresh_masked(bundle.model)
    return found


def _giving_back(told: Callable[[int, int], None] | None) -> Callable[[int, int], None]:
    """Tells (done, total), and returns what each layer's matrices took: those of the next one are of other sizes."""

    def progress(done: int, total: int) -> None:
        give_back()
        if told is not None:
            told(done, total)

    return progress


def _of_size(batches: Sequence[Inputs], size: int) -> tuple[Inputs, ...]:
    """The same pictures in batches of a size; what is left over is left out."""
    pictures = [batch for batch in batches if isinstance(batch, Tensor)]
    return tuple(one for one in torch.split(torch.cat(pictures), size) if len(one) == size) if pictures else ()


def _check_shared(slots: Sequence[Slot]) -> None:
    """Refuses a parameter that modules share under different masks, for it can have the values of one only."""
    first: dict[int, Slot] = {}
    for slot in slots:
        other = first.setdefault(id(slot.tensor), slot)
        if other is not slot:
            raise ConfigError(
                f"{other.name} and {slot.name} share a parameter under different masks; expected one mask for both, or "
                "masks that were made permanent (sapwood.remove_masks_)"
            )


def _fitting(pattern: Pattern | None, slot: Slot) -> Pattern | None:
    """The pattern, for parameters that it fits."""
    return None if pattern is None or pattern.refusal(tuple(slot.tensor.shape)) is not None else pattern


@dataclass(frozen=True)
class _RecoveryRequest:
    """What was asked for."""

    method: RecoverMethod
    task: TaskSpec
    others: tuple[Inputs, ...]
    config: DistillConfig | None
    seed: int
    progress: StageProgress | None

    def __post_init__(self) -> None:
        if self.method not in get_args(RecoverMethod):
            known = get_args(RecoverMethod)
            raise ConfigError(
                f"recover {self.method!r}; expected one of {', '.join(known)}{meant_name(self.method, known)}"
            )

    def run(
        self, dense: nn.Module, pruned: nn.Module, plan: Plan, inputs: list[Inputs], rules: Mapping[str, Rule]
    ) -> tuple[nn.Module, Recovered, Mapping[str, Tensor]]:
        """Does what the method says: the model, what happened, and the masks of the rules."""
        framework, request = framework_of(dense), self
        if listed_head(self.task.heads) is not None:
            pictures = [batch for batch in inputs if isinstance(batch, Tensor)]
            inputs = [*even_batches(pictures)]  # such a detector makes calls for each picture of a batch
            request = replace(self, others=_of_size(self.others, num_samples(inputs[0])) if inputs else ())
        with kept_memory():
            model, found, masks = request._run(
                framework.comparable(dense), framework.comparable(pruned), plan, inputs, rules
            )
        return framework.plain(model), found, masks

    def _run(
        self, dense: nn.Module, pruned: nn.Module, plan: Plan, inputs: list[Inputs], rules: Mapping[str, Rule]
    ) -> tuple[nn.Module, Recovered, Mapping[str, Tensor]]:
        if self.method == "batchnorm":
            repaired = repair_batchnorm(dense, pruned, plan, inputs, progress=self._told("repairing BatchNorms"))
            found = Recovered(
                "batchnorm", sum(map(num_samples, inputs)), repaired.seconds, (), {}, norms=repaired.norms
            )
            return repaired.model, found, {name: rule.mask for name, rule in rules.items()}
        if self.method == "distill" and self.config is not None and inputs:
            self.config.check_suits(self.task, inputs[0])
        solved = reconstruct(
            dense,
            pruned,
            plan,
            inputs,
            others=self.others,
            rules=rules,
            views=num_views(inputs),
            seed=self.seed,
            settle=self.method != "distill",
            progress=_giving_back(self._told("reconstructing")),
        )
        found = Recovered("reconstruct", solved.num_pictures, solved.seconds, solved.layers, dict(solved.left_alone))
        if self.method != "distill":
            return solved.model, found, solved.masks
        refined = distill(
            dense,
            solved.model,
            plan,
            inputs,
            self.task,
            others=self.others,
            masks=solved.masks,
            config=self.config,
            progress=self._told("distilling"),
        )
        found = replace(
            found,
            method="distill",
            seconds=found.seconds + refined.seconds,
            checks=refined.history,
            best_step=refined.best_step,
        )
        return refined.model, found, solved.masks

    def _told(self, stage: str) -> Callable[[int, int], None] | None:
        return None if self.progress is None else self.progress(stage)
