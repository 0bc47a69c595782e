"""A Darknet network on its way into training: its ``.cfg`` fitted to the data, its weights fresh where wanted."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.models.copying import copy_model
from sapwood.models.darknet.adapt import adapt_anchors, adapt_classes, adapt_input_size, head_layers, num_anchors
from sapwood.models.darknet.cfg import Cfg, write_cfg
from sapwood.models.darknet.network import DarknetNetwork
from sapwood.models.darknet_loader import CFG_NAME, darknet_bundle
from sapwood.models.framework import Anchors
from sapwood.types import Dataset, ModelBundle

OBJECTNESS_PRIOR = 0.01
"""The objectness a fresh detector gives every place: few hold an object, and it should not first have to learn that."""


def fitted(
    bundle: ModelBundle,
    dataset: Dataset,
    config: TrainConfig,
    anchors: Anchors,
) -> ModelBundle:
    """Returns a copy of a Darknet bundle whose cfg fits data and config, its weights fresh where they should be.

    Args:
        bundle: Never changed.
        dataset: The training data, for its classes.
        config: ``init``, ``num_classes``, ``input_size``, ``anchors`` and ``seed`` are used.
        anchors: Those that fit the data's boxes.

    Raises:
        TrainingError: If fresh weights or another structure are asked of a model with live masks.
        CfgError: If the ``.cfg`` cannot be changed so.
    """
    network = bundle.model
    assert isinstance(network, DarknetNetwork)
    cfg = _fitted_cfg(bundle, network, dataset, config, anchors)
    class_names = dataset.class_names if config.num_classes == "data" else bundle.task.class_names
    twin = copy_model(network) if cfg == network.cfg else _rebuilt(cfg, network, config.seed)
    if _fresh(network, bundle, config):
        initialise_(twin, seed=config.seed)
    if cfg == network.cfg:
        return replace(bundle, model=twin, task=replace(bundle.task, class_names=class_names))
    source = replace(bundle.source, files={**bundle.source.files, CFG_NAME: write_cfg(cfg)})
    bundle_of_cfg = darknet_bundle(twin, class_names, source)
    return replace(bundle_of_cfg, task=replace(bundle_of_cfg.task, resize=bundle.task.resize))


def initialise_(network: DarknetNetwork, *, seed: int) -> None:
    """Draws all weights of a Darknet network anew; heads start with an objectness of :data:`OBJECTNESS_PRIOR`.

    References:
        Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002, section 3.3 (the prior).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.reset_parameters()
    prior = math.log(OBJECTNESS_PRIOR / (1 - OBJECTNESS_PRIOR))
    for index, head in zip(head_layers(network.cfg), network.heads, strict=True):
        conv = getattr(network.layers[index - 1], "conv", None)
        if isinstance(conv, nn.Conv2d) and conv.bias is not None:
            with torch.no_grad():
                conv.bias.view(len(head.anchors), -1)[:, 4] = prior


def _fresh(network: DarknetNetwork, bundle: ModelBundle, config: TrainConfig) -> bool:
    masked = any(name.endswith("_mask") for name in network.state_dict())
    if config.init == "auto":
        return bundle.source.weights is None and not masked and _untouched(network)
    if config.init == "fresh" and masked:
        raise TrainingError("init: fresh of a model with live masks; remove the masks first, or keep its weights")
    return config.init == "fresh"


def _untouched(network: DarknetNetwork) -> bool:
    """Whether every bias and every normalisation is as it was drawn, which no training and no weights file leaves."""
    state = network.state_dict()
    starts = {"running_mean": 0.0, "bias": 0.0, "running_var": 1.0}
    return all(
        bool((value == starts[name.rpartition(".")[2]]).all())
        for name, value in state.items()
        if name.rpartition(".")[2] in starts
    )


def _fitted_cfg(
    bundle: ModelBundle,
    network: DarknetNetwork,
    dataset: Dataset,
    config: TrainConfig,
    anchors: Anchors,
) -> Cfg:
    cfg = network.cfg
    task = bundle.task
    if config.input_size is not None:
        task = replace(task, input_size=(config.input_size, config.input_size))
        if task.input_size != bundle.task.input_size:
            cfg = adapt_input_size(cfg, task.input_size)
    if config.num_classes == "data" and len(dataset.class_names) != network.num_classes:
        cfg = adapt_classes(cfg, len(dataset.class_names))
    if config.anchors == "auto":
        cfg = adapt_anchors(cfg, anchors(task, num_anchors(cfg)))
    return cfg


def _rebuilt(cfg: Cfg, network: DarknetNetwork, seed: int) -> DarknetNetwork:
    """A network of ``cfg`` with the tensors of ``network`` that fit it, the others drawn anew."""
    twin = DarknetNetwork(cfg, initialize=False)
    initialise_(twin, seed=seed)
    own, state = twin.state_dict(), network.state_dict()
    if own.keys() != state.keys():
        name = sorted(own.keys() ^ state.keys())[0]
        raise TrainingError(f"{name}: a model with live masks cannot be fitted to other data; remove the masks first")
    with torch.no_grad():
        for name, value in own.items():
            if state[name].shape == value.shape:
                value.copy_(state[name])
    return twin
