"""A Darknet network in which some convolutions are two layers each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.models.copying import copy_model
from sapwood.models.darknet.inserting import two_convolutions
from sapwood.models.darknet.layers import ConvolutionalLayer
from sapwood.models.darknet.network import DarknetNetwork
from sapwood.models.framework import InTwo
from sapwood.models.low_rank import LAYERS, Basis, in_directions


def in_two_layers(network: DarknetNetwork, bases: Mapping[str, Basis]) -> InTwo:
    """Makes layers two each: the directions of a basis, then all channels, with norm and activation of before.

    Args:
        network: Read only.
        bases: Name of a layer's convolution (``"layers.2.conv"``) -> the directions of what it gives.

    Returns:
        The network, which computes the same, and what the modules are called there.

    Raises:
        ConfigError: If a name is not that of the convolution of a ``[convolutional]``.
    """
    layers = {_index(network, name): basis for name, basis in bases.items()}
    network = copy_model(network)
    wide = DarknetNetwork(
        two_convolutions(network.cfg, {index: basis.rank for index, basis in layers.items()}), initialize=False
    )
    wide.header = network.header
    names: dict[str, tuple[str, ...]] = {}
    for index, layer in enumerate(network.layers):
        place = index + sum(other <= index for other in layers)
        for name, _ in layer.named_modules():
            own = f".{name}" if name else ""
            names[f"layers.{index}{own}"] = (f"layers.{place}{own}",)
        if index in layers:
            assert isinstance(layer, ConvolutionalLayer)
            names[f"layers.{index}.conv"] = (f"layers.{place - 1}.conv", f"layers.{place}.conv")
            _make_two_(wide, place, layer, layers[index])
        wide.layers[place] = layer
    wide.training = network.training
    return InTwo(wide, {name: new for name, new in names.items() if new != (name,)})


def stays_one(network: DarknetNetwork) -> dict[str, str]:
    """Convolutions and linear layers that no ``.cfg`` has words for as two, with the reason."""
    return {
        f"layers.{index}.{name}": f"a .cfg has no word for two in a {type(layer).__name__}"
        for index, layer in enumerate(network.layers)
        for name, module in layer.named_modules()
        if isinstance(module, LAYERS) and not (_is_two_able(layer) and name == "conv")
    }


def _index(network: DarknetNetwork, name: str) -> int:
    convolutions = {f"layers.{index}.conv": index for index, layer in enumerate(network.layers) if _is_two_able(layer)}
    if name in convolutions:
        return convolutions[name]
    raise ConfigError(f"{name}: a .cfg has no word for two of it; expected the convolution of a [convolutional]")


def _is_two_able(layer: object) -> bool:
    return type(layer) is ConvolutionalLayer and type(layer.conv) is nn.Conv2d


def _make_two_(wide: DarknetNetwork, place: int, layer: ConvolutionalLayer, basis: Basis) -> None:
    """Puts the first of two before ``place``, and the second into ``layer``."""
    before = wide.layers[place - 1].train(layer.training)
    assert isinstance(before, ConvolutionalLayer)
    before.conv, layer.conv = in_directions(layer.conv, basis)  # type: ignore[assignment]
    if "bn" in layer._modules:  # the norm takes what is added off again
        layer.conv.bias = None
        with torch.no_grad():
            layer.get_submodule("bn").get_buffer("running_mean").sub_(basis.centre)
