"""Distillation: a short descent that brings a pruned network's outputs back to the dense one's, without labels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.arguments import check_kind, check_model, checked_batches
from sapwood.errors import ConfigError, TrainingError
from sapwood.graph import explaining_batches, trace
from sapwood.models import Plan, copy_model
from sapwood.recovery.batchnorm_settled import settle_batchnorm
from sapwood.recovery.distillation.config import DistillConfig
from sapwood.recovery.distillation.features import FeatureMatch, channel_dim
from sapwood.recovery.distillation.networks import Networks
from sapwood.recovery.distillation.samples import Drawn, Samples, channels_last, looked_at
from sapwood.recovery.kept_outputs import KeptOutputs
from sapwood.recovery.reconstruction.sites import find_sites
from sapwood.task_kinds import NO_TASK
from sapwood.tasks import TASKS, Inputs, called, divergence, inputs_for, mean_of_views, num_samples
from sapwood.training import WeightAverage, as_float32, mixed
from sapwood.types import TaskSpec

ROUNDING = torch.finfo(torch.float32).eps
"""Divergences of less are rounding, of which some come out below 0; losses are not measured in it."""


RATE_OF_NO_TASK = 3e-5
"""The highest learning rate where no task is known: the lowest of those that have one."""


@dataclass(frozen=True)
class DistillCheck:
    """One look at the held-out pictures: steps done and the divergence from the dense network there."""

    step: int
    divergence: float


@dataclass(frozen=True)
class Distilled:
    """A distilled model.

    Attributes:
        model: A copy with the best weights that were seen.
        history: The looks at the held-out pictures; the first is the model that was given.
        best_step: When it was at its best; 0 if nothing helped.
        num_pictures: Pictures without labels that were used, held out ones and the others' among them.
        seconds: How long it took.
    """

    model: nn.Module
    history: tuple[DistillCheck, ...]
    best_step: int
    num_pictures: int
    seconds: float


def distill(
    dense: nn.Module,
    pruned: nn.Module,
    plan: Plan,
    batches: Iterable[Inputs],
    task: TaskSpec | None = None,
    *,
    others: Iterable[Inputs] = (),
    masks: Mapping[str, Tensor] | None = None,
    config: DistillConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Distilled:
    """Trains a pruned network to give what the dense one gives, on pictures without labels.

    The loss is :func:`sapwood.tasks.divergence` of the outputs, as a fraction of what it was at the start, plus the
    error of the layers' outputs (:class:`sapwood.recovery.distillation.features.FeatureMatch`). BatchNorms keep their
    statistics meanwhile, and get those of what they read at the end, where no output changes
    (:func:`sapwood.recovery.settle_batchnorm`). The best weights by the held-out pictures are kept, those at the start
    among them: nothing gets worse there.

    Args:
        dense: The network before pruning.
        pruned: What ``plan`` makes of it, reconstructed or not; not touched.
        plan: Which channels stay.
        batches: What the networks read: a tensor, a tuple of positional or a dict of keyword arguments; gone through
            once, then kept. Steps draw samples from all of them where the rows of their tensors are samples of one
            size, and whole batches otherwise. Only pictures, shape (B, C, H, W), are augmented.
        task: What the outputs are; None where they are no classes or boxes, but numbers whose squared error counts.
        others: More inputs, of another kind than those that count: a share of each step's (``config.others_share``),
            and never held out.
        masks: By the name of a weight of ``pruned``: True where it may move; elements that are zero elsewhere stay so.
        config: How.
        progress: Called with (done, total) steps.

    Raises:
        ConfigError: If there are fewer than two pictures, answers to mirror images are asked for and the network is
            no classifier of pictures, or the network does not run in the precision that is asked for.
        TrainingError: If the loss is no longer finite.
    """
    for name, network in (("dense", dense), ("pruned", pruned)):
        check_model(network, name)
    check_kind("plan", plan, Plan, "the plan that made pruned of dense")
    task = TaskSpec(NO_TASK) if task is None else task
    check_kind("task", task, TaskSpec, "a sapwood.types.TaskSpec: what the outputs are")
    config = config or DistillConfig()
    check_kind("config", config, DistillConfig, "a DistillConfig")
    start = time.perf_counter()
    kept = checked_batches(batches)
    more = checked_batches(others, "others") if config.others_share else []
    networks = Networks.of(dense, pruned, plan)
    samples = Samples.of([*kept, *more], networks.takes) if kept else Samples((), None)
    number = len(kept) if samples.form is None else sum(map(num_samples, kept))
    if number < 2:
        raise ConfigError(f"{number} pictures to distill on; expected at least 2")
    pictures, beside = (samples.take(part) for part in (range(number), range(number, len(samples))))
    config.check_suits(task, pictures.take([0]).inputs())
    with torch.random.fork_rng(devices=[]), explaining_batches(dense, [*kept, *more]):
        run = _Descent(networks, plan, pictures, others=beside or None, task=task, masks=masks or {}, config=config)
        run.descend(progress)
    model = settle_batchnorm(run.best(), kept, keep=masks or ()).model
    return Distilled(model, tuple(run.history), run.best_step, samples.num_samples, time.perf_counter() - start)


class _Descent:
    """One descent."""

    def __init__(
        self,
        networks: Networks,
        plan: Plan,
        pictures: Samples,
        *,
        others: Samples | None,
        task: TaskSpec,
        masks: Mapping[str, Tensor],
        config: DistillConfig,
    ) -> None:
        self._config, self._task = config, task
        self._networks = networks
        self._dense, self._model = networks.dense, networks.pruned
        self._generator = torch.Generator().manual_seed(config.seed)
        order = torch.randperm(len(pictures), generator=self._generator)
        held = min(len(pictures) - 1, max(1, round(config.held_out * len(pictures))))
        self._held, self._pictures = (pictures.take(part.tolist()) for part in (order[:held], order[held:]))
        self._others = others
        self._parameters = [one.requires_grad_() for one in self._model.parameters() if one.is_floating_point()]
        own_parameters = dict(self._model.named_parameters(remove_duplicate=False))
        self._masked = [(own_parameters[name], mask) for name, mask in masks.items()]
        self._average = WeightAverage(self._model, decay=config.decay)
        first = inputs_for(self._model, pictures.take([0]).inputs())
        sites, _ = find_sites(trace(copy_model(self._model), first))
        self._precision = networks.precision(config.precision, first)
        dense_weights, weights = (
            dict(one.named_parameters(remove_duplicate=False)) for one in (self._dense, self._model)
        )
        modules = {
            site.layer if site.norm is None else site.norm.weight.rpartition(".")[0]: KeptOutputs(
                plan, site.weight, len(dense_weights[site.weight]), len(weights[site.weight])
            )
            for site in sites
        }
        own = dict(self._model.named_modules())
        dims = {name: channel_dim(own[name]) for name in modules if name in own}
        kept = {name: (modules[name], dim) for name, dim in dims.items() if dim is not None}
        self._match = FeatureMatch(self._dense, self._model, kept)
        self._references = [self._answer(batch) for batch in self._batches_of(self._held)]
        self.history = [DistillCheck(0, self._measure(self._model))]
        self._best_state = {name: value.clone() for name, value in self._model.state_dict().items()}
        self.best_step = 0

    def descend(self, progress: Callable[[int, int], None] | None) -> None:
        """Runs all steps, or until looks do not get better any more."""
        config = self._config
        kind = self._task.kind
        lr = config.lr or (TASKS[kind].distill_rate if kind in TASKS else RATE_OF_NO_TASK)
        optimizer = torch.optim.AdamW(self._parameters, lr=lr, weight_decay=0.0)
        every = max(1, config.steps // config.evaluations)
        scale = max(self.history[0].divergence, ROUNDING)
        for step, batch in enumerate(self._batches(config.steps), start=1):
            for group in optimizer.param_groups:
                group["lr"] = lr * _rate(step, config.steps)
            loss = self._loss(batch, scale)
            if not math.isfinite(float(loss.detach())):
                raise TrainingError(f"the loss is {float(loss.detach())} at step {step}; expected a number. Lower lr")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for parameter, mask in self._masked:
                if parameter.grad is not None:
                    parameter.grad.mul_(mask)
            norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, 1.0))
            if not math.isfinite(norm):
                raise TrainingError(f"the gradient has norm {norm} at step {step}; expected a number. Lower lr")
            optimizer.step()
            self._average.update(self._model)
            if progress is not None:
                progress(step, config.steps)
            if (step % every == 0 or step == config.steps) and self._look(step):
                break

    def best(self) -> nn.Module:
        """The model with the best weights."""
        model = copy_model(self._networks.given)
        model.load_state_dict(self._best_state)
        return model

    def _batches(self, count: int) -> Iterator[Inputs]:
        """What steps see: samples, of which a share is the others'; or a whole batch, now and then one of theirs."""
        own = Drawn(self._pictures, self._generator)
        beside = Drawn(self._others or self._pictures, self._generator)
        share = self._config.others_share if self._others else 0.0
        size = min(self._config.batch_size, len(self._pictures))
        num_others = min(round(share * self._config.batch_size), len(self._others or ()))
        if num_others:
            size = max(1, min(size, self._config.batch_size - num_others))
        for _ in range(count):
            if self._pictures.form is None:
                other = bool(share) and float(torch.rand((), generator=self._generator)) < share
                drawn = (beside if other else own).take(1)
            else:
                drawn = own.take(size)
                drawn = drawn.joined(beside.take(num_others)) if num_others else drawn
            batch = inputs_for(self._model, drawn.inputs())
            yield self._seen(batch) if self._config.augment else channels_last(batch)

    def _batches_of(self, samples: Samples) -> list[Inputs]:
        """All of them, as the networks read them."""
        return [inputs_for(self._model, batch) for batch in samples.split(self._config.batch_size)]

    def _seen(self, batch: Inputs) -> Inputs:
        """The batch as it is shown."""
        mosaics = self._config.mosaics
        return looked_at(batch, self._generator, mosaics=self._task.kind == "detection" if mosaics is None else mosaics)

    def _loss(self, batch: Inputs, scale: float) -> Tensor:
        with ExitStack() as stack:
            if self._config.feature_weight:
                stack.enter_context(self._match.watching())
            stack.enter_context(mixed(self._precision))
            reference = self._outputs(self._dense, batch)
            outputs = called(self._model, batch)
        with mixed(self._precision):
            reference = self._answer(batch, reference)
        apart = divergence(self._task, as_float32(outputs), as_float32(reference), self._model) / scale
        return apart + self._config.feature_weight * self._match.take()

    def _answer(self, batch: Inputs, outputs: Any = None) -> Any:
        """What the pruned network is to say; ``outputs``: what the dense one said, if it ran already."""
        outputs = self._outputs(self._dense, batch) if outputs is None else outputs
        if not self._config.mirrored:
            return outputs
        assert isinstance(batch, Tensor)
        mirrored = self._outputs(self._dense, channels_last(batch.flip(3)))
        return mean_of_views(self._task, [outputs, mirrored], self._dense)

    def _outputs(self, model: nn.Module, batch: Inputs) -> Any:
        with torch.no_grad():
            return called(model, batch)

    def _measure(self, model: nn.Module) -> float:
        batches = self._batches_of(self._held)
        with torch.no_grad():
            total = sum(
                num_samples(batch) * float(divergence(self._task, called(model, batch), reference, model))
                for batch, reference in zip(batches, self._references, strict=True)
            )
        return total / self._held.num_samples

    def _look(self, step: int) -> bool:
        """Measures the averaged weights; whether to stop."""
        own = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(self._average.state)
        found = self._measure(self._model)
        if found < min(check.divergence for check in self.history):
            self._best_state = {name: value.clone() for name, value in self._average.state.items()}
            self.best_step = step
        self._model.load_state_dict(own)
        self.history.append(DistillCheck(step, found))
        lowest = min(range(len(self.history)), key=lambda number: self.history[number].divergence)
        return len(self.history) - 1 - lowest >= self._config.patience


def _rate(step: int, steps: int) -> float:
    """A warm-up over a twentieth of the steps, then a half cosine to 0."""
    warm = max(1, steps // 20)
    if step <= warm:
        return step / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
