"""A Darknet network in which some convolutions are two layers each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.models.darknet.inserting import two_convolutions
from sapwood.models.darknet.layers import ConvolutionalLayer
from sapwood.models.darknet.network import DarknetNetwork
from sapwood.models.framework import InTwo
from sapwood.models.low_rank import Basis, in_directions


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
    wide = DarknetNetwork(
        two_convolutions(network.cfg, {index: basis.rank for index, basis in layers.items()}), initialize=False
    )
    wide.to(next(network.parameters()).dtype)
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
            _fill_two_(wide, place, layer, layers[index])
        else:
            wide.layers[place].load_state_dict(layer.state_dict())
        for name, parameter in layer.named_parameters():
            for new in names.get(f"layers.{index}.{name.rpartition('.')[0]}", ()):
                module = wide.get_submodule(new)
                for one in module.parameters():
                    one.requires_grad_(parameter.requires_grad)
    wide.train(network.training)
    return InTwo(wide, {name: new for name, new in names.items() if new != (name,)})


def _index(network: DarknetNetwork, name: str) -> int:
    convolutions = {f"layers.{index}.conv": index for index, layer in enumerate(network.layers) if _is_two_able(layer)}
    if name in convolutions:
        return convolutions[name]
    raise ConfigError(f"{name}: a .cfg has no word for two of it; expected the convolution of a [convolutional]")


def _is_two_able(layer: object) -> bool:
    return type(layer) is ConvolutionalLayer and type(layer.conv) is nn.Conv2d


def _fill_two_(wide: DarknetNetwork, place: int, layer: ConvolutionalLayer, basis: Basis) -> None:
    first, second = wide.layers[place - 1], wide.layers[place]
    assert isinstance(first, ConvolutionalLayer)
    assert isinstance(second, ConvolutionalLayer)
    down, up = in_directions(layer.conv, basis)
    first.conv.load_state_dict(down.state_dict())
    second.conv.load_state_dict(up.state_dict(), strict=second.conv.bias is not None)
    if second.conv.bias is None:  # the norm takes what is added off again
        norm, given = second.get_submodule("bn"), layer.get_submodule("bn")
        norm.load_state_dict(given.state_dict())
        with torch.no_grad():
            norm.get_buffer("running_mean").sub_(basis.centre)
