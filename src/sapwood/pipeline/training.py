"""What joins in while a network trains, made of its channel groups."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sapwood.config import TrainConfig
from sapwood.graph import Analysis
from sapwood.models import copy_model
from sapwood.removal import Planner
from sapwood.training import CHANNELS, Gradual, Plugin, Regularizer, SparseTraining, make_regularizer
from sapwood.types import ExampleInputs, ModelBundle


def regularizer(name: str, model: nn.Module, example_inputs: ExampleInputs, **options: float) -> Regularizer:
    """Makes a regularizer for a training loop of your own.

    Args:
        name: ``"slimming"``, ``"group_lasso"``, ``"group_norm"`` or ``"growing"``.
        model: What is trained; read only here.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        options: ``strength``, and what the regularizer takes besides.

    Raises:
        ConfigError: If there is no such regularizer or option.
        TrainingError: If the model has no channels that can go.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> pull = regularizer("slimming", model, torch.rand(1, 3, 8, 8), strength=0.5)
        >>> for _ in range(4):
        ...     optimizer.zero_grad()
        ...     (0.0 * model(torch.rand(2, 3, 8, 8)).sum()).backward()
        ...     optimizer.step()
        ...     penalty = pull.step_(model, lr=0.1)
        >>> [round(value, 2) for value in model[1].weight.tolist()[:2]]  # 1 - 4 steps of 0.1 * 0.5
        [0.8, 0.8]
    """
    return make_regularizer(name, _analysis_of(model, example_inputs), model, **options)


def training_plugins(config: TrainConfig) -> Callable[[ModelBundle], list[Plugin]]:
    """Returns what makes the plug-ins that a configuration asks for, given what is trained.

    Args:
        config: ``sparse`` and ``gradual`` are used.
    """

    def make(bundle: ModelBundle) -> list[Plugin]:
        model = bundle.model
        found: list[Plugin] = []
        if config.sparse is not None:
            strength = {} if config.sparse.strength is None else {"strength": config.sparse.strength}
            options = {**strength, **config.sparse.options}
            pull = regularizer(config.sparse.method, model, bundle.example_inputs, **options)
            found.append(SparseTraining(pull, config.sparse))
        if config.gradual is not None:
            whole = config.gradual.blocks == CHANNELS
            analysis = _analysis_of(model, bundle.example_inputs) if whole else None
            found.append(Gradual(model, config.gradual, analysis))
        return found

    return make


def _analysis_of(model: nn.Module, example_inputs: ExampleInputs) -> Analysis:
    return Planner(copy_model(model).eval(), example_inputs, loose=False).analysis()
