"""How far a model's outputs are from another's on the same pictures: a loss that needs no labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import ConfigError
from sapwood.models import framework_of
from sapwood.nested import named_tensors
from sapwood.task_kinds import NO_TASK
from sapwood.tasks.classification import as_scores
from sapwood.tasks.decode import decode
from sapwood.tasks.detection import as_maps
from sapwood.tasks.listed import listed_head
from sapwood.tasks.running import Inputs, evaluating, num_samples
from sapwood.tasks.task import TASKS, any_task
from sapwood.types import ModelBundle, TaskSpec

EPSILON = 1e-6
"""Scores are kept this far from 0 and 1 before their logarithm is taken."""

NEAR = 0.1
"""Numbers of boxes, in units of anchors, that differ by less are nearly the same: the square of the error counts."""

WORTH_A_BOX = 0.01
"""Places whose best score in the reference is below have no box to speak of."""


def divergence(
    task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, *, temperature: float = 1.0
) -> Tensor:  # shape: ()
    r"""How far ``outputs`` are from ``reference``, a mean over pictures of at least 0.

    Of a classifier, the Kullback-Leibler divergence of its class probabilities, at temperature T of those of the logits
    divided by T, times :math:`T^2` so that gradients stay as large. Of a detector, over places p and
    classes k with scores s (objectness times class),

    .. math:: \sum_{p,k} \mathrm{KL}\big(s^{ref}_{pk} \,\|\, s_{pk}\big)
        + \sum_p \max_k s^{ref}_{pk} \, \big(1 - \mathrm{IoU}(b^{ref}_p, b_p)\big)

    so that what the reference is sure of counts, and the thousands of empty places hardly do. Of a network
    that has no task, the mean over its tensors of the squared error over the mean square of the reference
    (:func:`tensor_divergence`).

    Args:
        task: What the outputs are.
        outputs: What a model returned.
        reference: What the model it is compared with returned.
        model: For messages.
        temperature: Of a classifier's probabilities. The higher, the more the classes count that are not the first.

    Raises:
        ConfigError: If the task is none of :data:`sapwood.tasks.TASKS`, or a network without one returns nothing that
            can be compared.

    References:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531.
    """
    if task.kind == NO_TASK:
        return tensor_divergence(outputs, reference)
    if task.kind not in TASKS:
        raise ConfigError(f"task {task.kind!r}: nothing says how far two outputs are apart; expected {any_task()}")
    return TASKS[task.kind].divergence(task, outputs, reference, model, temperature=temperature)


def tensor_divergence(outputs: Any, reference: Any) -> Tensor:  # shape: ()
    """Squared error over the mean square of the reference, a mean over floating tensors that are not all zero.

    Tensors may be in lists, dicts and objects. Those that have other sizes in the two, as hidden states that became
    narrower, are left out.

    Raises:
        ConfigError: If there is no floating tensor of the same size in both.

    Examples:
        >>> float(tensor_divergence(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0])))
        0.5
        >>> float(tensor_divergence({"a": [torch.ones(2)]}, {"a": [torch.full((2,), 2.0)]}))
        0.25
    """
    found, wanted = dict(named_tensors(outputs)), dict(named_tensors(reference))
    pairs = [
        (_wide(found[name]), _wide(other))
        for name, other in wanted.items()
        if other.is_floating_point() and name in found and found[name].shape == other.shape
    ]
    if not pairs:
        named = ", ".join(f"{name or 'output'} {other.dtype} {tuple(other.shape)}" for name, other in wanted.items())
        raise ConfigError(
            f"nothing of what the two networks return can be compared: the reference gives {named or 'no tensor'}; "
            "expected a floating tensor of the same size from both"
        )
    apart = [(one - other).square().mean() / other.square().mean() for one, other in pairs if bool(other.any())]
    return torch.stack(apart).mean() if apart else torch.zeros(())


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.element_size() < torch.float32.itemsize else values


def class_divergence(
    task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, temperature: float
) -> Tensor:  # shape: ()
    """The divergence of a classifier's outputs; see :func:`divergence`."""
    found, wanted = (_log_probabilities(task, one, model, temperature) for one in (outputs, reference))
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean") * temperature**2


def mean_of_views(task: TaskSpec, given: Sequence[Any], model: nn.Module) -> Tensor:  # shape: (B, classes)
    """What a classifier says of some pictures by several views of each: the mean of its probabilities.

    Args:
        task: What the outputs are: the mean comes in the same form.
        given: What the model returned for each of the views, at least one.
        model: For messages.

    Examples:
        >>> task = TaskSpec("classification", (8, 8), ("cat", "dog"))
        >>> sure, unsure = torch.tensor([[9.0, -9.0]]), torch.tensor([[0.0, 0.0]])
        >>> [round(value, 2) for value in mean_of_views(task, [sure, unsure], nn.Identity()).exp()[0].tolist()]
        [0.75, 0.25]
    """
    logs = torch.stack([_log_probabilities(task, outputs, model, 1.0) for outputs in given])
    mean = logs.logsumexp(dim=0) - math.log(len(given))
    return mean.exp() if task.outputs == "probabilities" else mean


def box_divergence(task: TaskSpec, outputs: Any, reference: Any, model: nn.Module) -> Tensor:  # shape: ()
    """The divergence of a detector's outputs; see :func:`divergence`."""
    if listed_head(task.heads) is not None:
        return _parts_divergence(as_maps(outputs, model), as_maps(reference, model))
    boxes, scores = decode(as_maps(outputs, model), task.heads, task.input_size)
    true_boxes, true_scores = decode(as_maps(reference, model), task.heads, task.input_size)
    apart = _bernoulli(true_scores, scores).sum()
    best = true_scores.amax(dim=-1)
    sure = best > WORTH_A_BOX
    misplaced = best[sure] * (1.0 - _paired_iou(boxes[sure], true_boxes[sure]))
    return (apart + misplaced.sum()) / len(scores)


def _parts_divergence(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:  # shape: ()
    """Of scores, and of numbers where the reference sees something; as :meth:`Framework.comparable` gives them."""
    total = wanted[0].new_zeros(())
    for scores, numbers, true_scores, true_numbers in zip(
        found[::2], found[1::2], wanted[::2], wanted[1::2], strict=True
    ):
        best = true_scores.amax(dim=-1)
        sure = best > WORTH_A_BOX
        apart = F.smooth_l1_loss(numbers[sure], true_numbers[sure], reduction="none", beta=NEAR).mean(dim=-1)
        total = total + _bernoulli(true_scores, scores).sum() + (best[sure] * apart).sum()
    return total / len(wanted[0])


def divergence_from(bundle: ModelBundle, batches: Iterable[Any]) -> Callable[[nn.Module], float]:
    """Returns what measures how far a model is from ``bundle``'s on these pictures; labels are not looked at.

    Args:
        bundle: The reference. It runs once, now; inputs and outputs are kept.
        batches: As :func:`sapwood.tasks.calibration_batches` gives them.
    """
    kept: list[tuple[int, Inputs, Any]] = []
    with evaluating(framework_of(bundle.model).comparable(bundle.model)) as run:
        kept += [(num_samples(batch.inputs), batch.inputs, run(batch.inputs)) for batch in batches]
    total = sum(count for count, _, _ in kept)

    def measure(model: nn.Module) -> float:
        with evaluating(framework_of(model).comparable(model)) as run:
            return sum(
                count * float(divergence(bundle.task, run(inputs), reference, model))
                for count, inputs, reference in kept
            ) / max(total, 1)

    return measure


def _log_probabilities(task: TaskSpec, outputs: Any, model: nn.Module, temperature: float) -> Tensor:
    batch = len(outputs) if isinstance(outputs, Tensor) else len(outputs.logits)
    scores = as_scores(outputs, model, batch)
    logits = scores.clamp(min=EPSILON).log() if task.outputs == "probabilities" else scores
    return (logits / temperature).log_softmax(dim=1)


def _bernoulli(wanted: Tensor, found: Tensor) -> Tensor:
    """The divergence of two coins, element by element."""
    wanted, found = wanted.clamp(EPSILON, 1.0 - EPSILON), found.clamp(EPSILON, 1.0 - EPSILON)
    return wanted * (wanted / found).log() + (1.0 - wanted) * ((1.0 - wanted) / (1.0 - found)).log()


def _paired_iou(first: Tensor, second: Tensor) -> Tensor:  # shapes: (N, 4), (N, 4) -> (N,)
    """The overlap of each box with its partner; of two boxes without area, which cannot be misplaced, it is 1."""
    corner, far = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    shared = (far - corner).clamp(min=0).prod(dim=1)
    areas = [(one[:, 2:] - one[:, :2]).clamp(min=0).prod(dim=1) for one in (first, second)]
    union = areas[0] + areas[1] - shared
    return torch.where(union > 0, shared / union, 1.0)
