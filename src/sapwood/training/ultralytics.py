"""A dense network beside the loss of Ultralytics' own trainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sapwood.arguments import check_kind
from sapwood.config import TrainConfig, parse_config
from sapwood.errors import TrainingError
from sapwood.models import UltralyticsNetwork, copy_model, load_model
from sapwood.models.ultralytics import keep_widths
from sapwood.models.ultralytics.network import CLASSIFY, heads_of
from sapwood.tasks import divergence
from sapwood.training.objectives.distilling import check_temperature
from sapwood.types import ModelBundle

LOSS_NAME = "teacher_loss"
"""Of the divergence, among the losses that Ultralytics prints and writes."""


def taught_by(
    teacher: str | Path | ModelBundle, *, weight: float = 0.05, temperature: float = 1.0
) -> Callable[..., Any]:
    r"""A ``trainer=`` of ``YOLO(...).train`` that keeps widths, and has a dense network as teacher.

    The loss is Ultralytics' own and, beside it, ``weight`` times the divergence from what the teacher says of the same
    pictures, augmented as they are: see :func:`sapwood.tasks.divergence`; of two heads (v10, 26) the mean of both. The
    teacher is in evaluation mode and learns nothing; no file that the trainer writes holds it.

    Args:
        teacher: What :func:`sapwood.load_model` takes, of the same classes and task: mostly the dense ``best.pt`` that
            the network was pruned from.
        weight: Of the divergence, at least 0. A tenth of what ``sapwood train`` takes: after a deep cut a detector's
            divergence is ten times Ultralytics' loss.
        temperature: By which a classifier's logits and the teacher's are divided before they are compared.

    Returns:
        What makes the trainer, as :func:`sapwood.models.ultralytics.keep_widths` does.

    Raises:
        ConfigError: If a number is none that :class:`~sapwood.config.TrainConfig` takes.
        SpecError: If the teacher cannot be loaded.
        TrainingError: If it is no network of Ultralytics; when training begins, if it has another task, other
            classes or other places than the network that is trained, or there are several devices.
    """
    values = {"distill_weight": weight, "distill_temperature": temperature}
    config = parse_config(TrainConfig, values, where="taught_by")
    check_kind("teacher", teacher, (str, Path, ModelBundle), "a model's name, a path or a ModelBundle")
    bundle = teacher if isinstance(teacher, ModelBundle) else load_model(str(teacher))
    if not isinstance(bundle.model, UltralyticsNetwork):
        raise TrainingError(f"the teacher is a {type(bundle.model).__name__}; expected a network of Ultralytics")
    check_temperature(bundle.task, temperature)

    def make(cfg: Any = None, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> Any:
        alone = None if _callbacks is None else {event: [*calls] for event, calls in _callbacks.items()}
        trainer = keep_widths(cfg, overrides, alone)  # a training after this one has no teacher
        if trainer.world_size > 1:
            raise TrainingError(f"{trainer.world_size} devices; expected one device where there is a teacher")
        teaching = _Teaching(bundle, config)
        trainer.add_callback("on_pretrain_routine_end", teaching.begin)
        trainer.add_callback("on_train_end", teaching.end)
        return trainer

    return make


class _Teaching:
    """Puts the teacher beside the loss of a network for as long as it is trained."""

    def __init__(self, bundle: ModelBundle, config: TrainConfig) -> None:
        self._bundle, self._config = bundle, config

    def begin(self, trainer: Any) -> None:
        """After the moving average of the weights was made, which the files are written of: it keeps its own loss."""
        network = _inner(trainer.model)
        classes, task = tuple(map(str, network.names.values())), trainer.args.task
        model: Any = self._bundle.model
        for what, own, other in (
            ("task", task, model.task),
            ("classes", classes, self._bundle.task.class_names),
        ):
            if own != other:
                raise TrainingError(f"the teacher's {what}: {other!r}; expected the network's, {own!r}")
        network.criterion = _Taught(network.criterion or network.init_criterion(), self._bundle, self._config)

    def end(self, trainer: Any) -> None:
        """The network has its own loss again."""
        _inner(trainer.model).criterion = None


class _Taught:
    """A loss of Ultralytics, and how far what it looks at is from the teacher's.

    No module: it would be among the network's own.
    """

    def __init__(self, own: Any, bundle: ModelBundle, config: TrainConfig) -> None:
        self._own, self._config, self._task = own, config, bundle.task
        self._teacher: Any = copy_model(bundle.model).eval()

    def __call__(self, outputs: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """The loss as Ultralytics sums it up, with one entry more, and its parts."""
        loss, parts = self._own(outputs, batch)
        apart = self._config.distill_weight * self._divergence(outputs, batch["img"])
        pictures = 1 if self._teacher.task == CLASSIFY else len(batch["img"])  # a mean, and sums over a batch
        if isinstance(parts, Mapping):  # before 8.4.190 a tensor, of which the names are fixed
            parts = {**parts, LOSS_NAME: apart.detach()}
        return torch.cat((loss.reshape(-1), apart.reshape(1) * pictures)), parts

    def _divergence(self, outputs: Any, pictures: Tensor) -> Tensor:  # shape: ()
        with torch.no_grad():
            wanted = self._teacher.to(pictures.device).heads(pictures)
        found = heads_of(outputs[1] if isinstance(outputs, tuple) else outputs)
        task = replace(self._task, input_size=(pictures.shape[2], pictures.shape[3]))
        with torch.autocast(pictures.device.type, enabled=False):
            apart = [
                divergence(task, *pairs, self._teacher.network, temperature=self._config.distill_temperature)
                for pairs in (_paired(head, wanted[name]) for name, head in found.items() if name in wanted)
            ]
        return torch.stack(apart).mean()

    def __getattr__(self, name: str) -> Any:
        """What its own loss has: the schedule of two heads' parts."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._own, name)


def _paired(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[Any, Any]:
    """The tensors that both give, as float32."""
    names = [name for name in wanted if name in found]
    shapes = [[tuple(head[name].shape[1:]) for name in names] for head in (wanted, found)]
    if shapes[0] != shapes[1]:
        raise TrainingError(f"the teacher gives {', '.join(names)} of shapes {shapes[0]}; expected {shapes[1]}")
    pairs = [tuple(head[name].float() for name in names) for head in (found, wanted)]
    return (pairs[0][0], pairs[1][0]) if names == ["logits"] else (pairs[0], pairs[1])


def _inner(model: Any) -> Any:
    """The network inside of what compiled it."""
    return getattr(model, "_orig_mod", model)
