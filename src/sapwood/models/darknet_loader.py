"""Loads Darknet networks: ``net.cfg`` with ``net.weights``."""

from __future__ import annotations

from pathlib import Path

import torch

from sapwood.errors import CfgError, SpecError
from sapwood.limits import check_limit
from sapwood.models.darknet import DarknetNetwork, parse_cfg, read_weights, write_cfg
from sapwood.models.darknet.layers import Softmax
from sapwood.models.spec import LOADERS, Loader, State, read_names
from sapwood.types import ModelBundle, ModelSource, Resize, TaskSpec

CFG_NAME = "model.cfg"
"""The key of the ``.cfg`` among a source's files."""


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    cfg = parse_cfg(Path(spec))
    network = DarknetNetwork(cfg, initialize=weights is None)
    if weights is not None:
        read_weights(weights, network)
    class_names = _class_names(network, Path(spec), names)
    source = ModelSource(spec, "darknet", None if weights is None else str(weights), {CFG_NAME: write_cfg(cfg)})
    return darknet_bundle(network, class_names, source)


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    if CFG_NAME not in source.files:
        raise SpecError(f"{source.spec}: the source holds no {CFG_NAME}; expected the text of the .cfg")
    network = DarknetNetwork(parse_cfg(source.files[CFG_NAME], warn=False), initialize=False)
    return darknet_bundle(network, _numbered(network), source)


def darknet_bundle(network: DarknetNetwork, class_names: tuple[str, ...], source: ModelSource) -> ModelBundle:
    """Returns the bundle of a Darknet network: task and example inputs follow from its ``.cfg``."""
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, *network.input_shape, generator=generator)
    return ModelBundle(network.eval(), example, _task(network, class_names), source)


def darknet_source(network: DarknetNetwork) -> ModelSource:
    """Returns the source of a network of which only the module is known; its ``.cfg`` is enough to build it."""
    return ModelSource(CFG_NAME, "darknet", None, {CFG_NAME: write_cfg(network.cfg)})


def darknet_task(network: DarknetNetwork) -> TaskSpec:
    """Returns what a network is for, with its classes numbered."""
    return _task(network, _numbered(network))


def _task(network: DarknetNetwork, class_names: tuple[str, ...]) -> TaskSpec:
    size = (network.input_shape[1], network.input_shape[2])
    if network.heads:
        resize: Resize = "letterbox" if network.cfg.net.flag("letter_box") else "stretch"
        return TaskSpec("detection", size, class_names, resize, heads=network.heads)
    if not class_names:
        return TaskSpec("none", size)
    softmax = any(isinstance(layer, Softmax) for layer in network.layers)
    return TaskSpec(
        "classification", size, class_names, "center_crop", outputs="probabilities" if softmax else "logits"
    )


def _class_names(network: DarknetNetwork, cfg: Path, names: Path | None) -> tuple[str, ...]:
    """The names of the classes: from ``names``, else from a fitting file beside ``cfg``, else numbered."""
    if names is not None:
        return read_names(names, network.num_classes or 0)
    beside = sorted(cfg.parent.glob("*.names"), key=lambda path: (path.stem != cfg.stem, path.name))
    for path in beside:
        found = read_names(path)
        if found and len(found) == network.num_classes:
            return found
    return _numbered(network)


def _numbered(network: DarknetNetwork) -> tuple[str, ...]:
    """``class0`` and on; none for a network that gives maps, and so no classes."""
    classes = network.num_classes
    check_limit("classes", classes or 0, network.cfg.path, CfgError)
    return () if classes is None else tuple(f"class{index}" for index in range(classes))


LOADERS.register("darknet")(Loader("net.cfg", lambda spec: spec.endswith(".cfg"), _load, _rebuild))
