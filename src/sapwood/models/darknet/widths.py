"""The ``.cfg`` of a network whose channels were removed: ``filters=``, ``groups=`` and ``output=`` as they are now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from sapwood.errors import CfgError
from sapwood.models.darknet.build import Built
from sapwood.models.darknet.cfg import Cfg, Section
from sapwood.models.darknet.layers import ConnectedLayer, ConvolutionalLayer, Route, Shortcut
from sapwood.models.darknet.network import DarknetNetwork, build_layers


def compact_cfg(network: DarknetNetwork) -> Cfg:
    """Returns the ``.cfg`` that describes ``network`` with the widths its layers have now.

    Two things that a pruned network can be have no words in a ``.cfg``: the part that a ``[route]`` with ``groups=``
    takes must be one of equal parts, and a ``[shortcut]`` between maps of different widths must add as many channels as
    the narrower has.

    Args:
        network: Read only. Live masks do not matter.

    Returns:
        ``network.cfg`` where nothing was removed.

    Raises:
        CfgError: If no ``.cfg`` describes the network; the message names line, section and layer. ``ignore=`` of
            :func:`sapwood.prune` keeps what that layer reads whole.

    Examples:
        >>> from sapwood.models.darknet import parse_cfg
        >>> text = "[net]\\nchannels=3\\nheight=8\\nwidth=8\\n[convolutional]\\nfilters=4\\nactivation=linear\\n"
        >>> network = DarknetNetwork(parse_cfg(text))
        >>> network.layers[0].conv = nn.Conv2d(3, 2, 1)
        >>> compact_cfg(network).layers[0].integer("filters")
        2
    """
    cfg = network.cfg
    for index, layer in enumerate(network.layers):
        for key, value, default in _widths(layer):
            if cfg.layers[index].integer(key, default) != value:
                cfg = cfg.with_option(index, key, value)
    with torch.device("meta"):
        built = build_layers(cfg, network.input_shape)
    shapes = (network.input_shape, *(wanted.shape for wanted in built))
    for index, wanted in enumerate(built):
        widths = [shapes[source + 1][0] for source in wanted.inputs]
        _check_layer(index, cfg.layers[index], network.layers[index], wanted, widths)
    return cfg


def refit_(network: DarknetNetwork) -> None:
    """Makes ``network.cfg`` follow the widths of the layers; where no ``.cfg`` can, it stays as it is."""
    with suppress(CfgError):
        cfg = compact_cfg(network)
        if cfg != network.cfg:
            network.take_cfg_(cfg)


def producers(network: DarknetNetwork, layer: int) -> tuple[str, ...]:
    """Returns the dimensions (``"layers.2.conv.weight[0]"``) that decide how wide the maps are that ``layer`` reads."""
    found: dict[str, None] = {}
    waiting = list(network.reads(layer))
    while waiting:
        source = waiting.pop()
        if source < 0:
            continue
        module = network.layers[source]
        if isinstance(module, ConvolutionalLayer | ConnectedLayer):
            inner = "conv" if isinstance(module, ConvolutionalLayer) else "linear"
            found[f"layers.{source}.{inner}.weight[0]"] = None
            if hasattr(getattr(module, inner), "weight_orig"):  # its name while the mask is live
                found[f"layers.{source}.{inner}.weight_orig[0]"] = None
        else:
            waiting += network.reads(source)
    return tuple(found)


def grouped_routes(network: DarknetNetwork) -> dict[str, int]:
    """Returns the layers that take one of several equal parts of what they read, each with the number of parts."""
    return {
        f"layers.{index}": section.integer("groups", 1)
        for index, section in enumerate(network.cfg.layers)
        if section.name == "route" and section.integer("groups", 1) > 1
    }


def _widths(layer: nn.Module) -> Iterator[tuple[str, int, int]]:
    """The options of a section that name widths: key, value now, value where the key is absent."""
    if isinstance(layer, ConvolutionalLayer):
        yield "filters", layer.conv.out_channels, 0
        yield "groups", layer.conv.groups, 1
    elif isinstance(layer, ConnectedLayer):
        yield "output", layer.linear.out_features, 0


def _check_layer(index: int, section: Section, layer: nn.Module, built: Built, widths: list[int]) -> None:
    """Checks that the section builds the layer that the network has."""
    reason = None
    if isinstance(layer, Route):
        found, wanted = _parts(layer, widths), _parts(built.module, widths)
        if found != wanted:
            reason = f"takes channels {_ranges(found)} of maps with {_listed(widths)}; a .cfg says {_ranges(wanted)}"
    elif isinstance(layer, Shortcut):
        found_adds, wanted_adds = _shared(layer, widths), _shared(built.module, widths)
        if found_adds != wanted_adds:
            reason = f"adds {_listed(found_adds)} channels of maps with {_listed(widths)}; a .cfg adds all there are"
    elif _sizes(layer) != _sizes(built.module):
        name = next(name for name, size in _sizes(layer).items() if _sizes(built.module).get(name) != size)
        reason = f"{name} has shape {_sizes(layer)[name]}; a .cfg says {_sizes(built.module).get(name)}"
    if reason is not None:
        error = section.error(f"layer {index} {reason}; keep what it reads whole (ignore=)")
        error.layer = index
        raise error


def _parts(route: Any, widths: list[int]) -> list[tuple[int, int]]:
    return [(cut.start, min(cut.stop, width)) for cut, width in zip(route.slices, widths, strict=False)]


def _shared(shortcut: Any, widths: list[int]) -> list[int]:
    return [min(add.shared, widths[0], width) for add, width in zip(shortcut.adds, widths[1:], strict=True)]


def _sizes(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's tensors, masks aside; a bias before a norm is part of the norm's mean in a file."""
    sizes = {name.removesuffix("_orig"): tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    extra = {name for name in sizes if name.endswith("_mask")}
    if "bn.running_mean" in sizes:
        extra |= {"conv.bias", "linear.bias"}
    return {name: size for name, size in sizes.items() if name not in extra}


def _ranges(parts: list[tuple[int, int]]) -> str:
    return ", ".join(f"{start} to {stop}" for start, stop in parts)


def _listed(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))
