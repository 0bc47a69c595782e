"""A Darknet network as a torch module."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import CfgError, ShapeError
from sapwood.models.copying import remember_computed_tensors
from sapwood.models.darknet import sections  # noqa: F401 - registers the builders
from sapwood.models.darknet.build import Built, Place, Shape, build_layer, check_network_bytes, check_supported
from sapwood.models.darknet.cfg import Cfg, Section
from sapwood.models.darknet.header import Header
from sapwood.models.darknet.layers import WeightedShortcut
from sapwood.types import YoloHead


@dataclass(frozen=True)
class LayerRow:
    """One layer as a table shows it.

    Attributes:
        index: The layer's number in Darknet.
        section: The section's name.
        filters: Channels or values it gives.
        window: Size and stride (``"3x3/2"``), or empty.
        inputs: The layers it reads; -1 is the picture.
        input_shape: The shape of its first input for one picture, (C, H, W) or (N,).
        output_shape: The shape of its result for one picture.
        num_params: Trainable values.
    """

    index: int
    section: str
    filters: int
    window: str
    inputs: tuple[int, ...]
    input_shape: Shape
    output_shape: Shape
    num_params: int


class DarknetNetwork(nn.Module):
    """The network that a ``.cfg`` describes.

    ``layers[i]`` is Darknet's layer ``i``. A detector returns the raw maps of its heads, each of shape
    (B, anchors * (5 + classes), H_i, W_i), nothing decoded; any other network returns what its last layer gives, for a
    classifier (B, classes).

    Args:
        cfg: The parsed file.
        initialize: Draw weights for training (He et al. 2015). False leaves them as memory happens to be, for a caller
            that fills all of them.

    Attributes:
        cfg: The file that describes the network: the one it was built from, or after pruning that with the new widths.
        layers: One module a layer.
        heads: How the maps are read, in the order they are returned.
        header: The header of the weights file that was read, so that writing gives the same bytes.
        input_shape: (C, H, W) of a picture, as ``[net]`` says; other heights and widths run as well where the layers
            allow it.

    Raises:
        CfgError: If a section cannot be built; the message gives file, line and section.
    """

    def __init__(self, cfg: Cfg, *, initialize: bool = True) -> None:
        super().__init__()
        check_supported(cfg)
        self.cfg = cfg
        self.header = Header()
        net = cfg.net
        self.input_shape = (
            net.integer("channels", minimum=1),
            net.integer("height", minimum=1),
            net.integer("width", minimum=1),
        )
        with torch.device("meta"):
            built = build_layers(cfg, self.input_shape)
        self.layers = nn.ModuleList(layer.module for layer in built)
        self.heads: tuple[YoloHead, ...] = tuple(layer.head for layer in built if layer.head is not None)
        self._inputs = tuple(layer.inputs for layer in built)
        self._shapes = (self.input_shape, *(layer.shape for layer in built))
        self._output_layers = _outputs(built)
        self._layers_read_last = _last_reads(self._inputs, self._output_layers)
        _allocate_(self)
        if initialize:
            self.reset_parameters()

    @property
    def num_classes(self) -> int | None:
        """Classes that the heads, or the values of the last layer, tell apart; None for a network that gives a map."""
        if self.heads:
            return self.heads[0].num_classes
        channels, *size = self.output_shapes[0]
        return channels if size in ([], [1, 1]) else None

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """The shape of each result for one picture of ``input_shape``."""
        return tuple(self._shapes[layer + 1] for layer in self._output_layers)

    def take_cfg_(self, cfg: Cfg) -> None:
        """Replaces ``cfg`` by one that describes the layers as they are now; nothing is checked."""
        with torch.device("meta"):
            built = build_layers(cfg, self.input_shape)
        self.cfg = cfg
        self._shapes = (self.input_shape, *(layer.shape for layer in built))

    def reads(self, layer: int) -> tuple[int, ...]:
        """Returns the layers that ``layer`` reads; -1 is the picture."""
        return self._inputs[layer]

    def reset_parameters(self) -> None:
        """Draws all weights anew: normal with variance 2 / fan-in, biases 0, BatchNorm at identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0.1, nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | WeightedShortcut):
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Runs the network.

        Args:
            x: Pictures, shape (B, C, H, W), RGB in [0, 1].

        Returns:
            The raw maps of the heads as a tuple, or the result of the last layer.

        Raises:
            ShapeError: If ``x`` is no batch of pictures with the channels of ``[net]``.
        """
        if x.dim() != 4 or x.shape[1] != self.input_shape[0]:
            raise ShapeError(f"got a tensor of shape {tuple(x.shape)}; expected (batch, {self.input_shape[0]}, H, W)")
        maps: dict[int, Tensor] = {-1: x}
        for index, layer in enumerate(self.layers):
            maps[index] = layer(*(maps[source] for source in self._inputs[index]))
            for finished in self._layers_read_last[index]:
                del maps[finished]
        if self.heads:
            return tuple(maps[index] for index in self._output_layers)
        result = maps[self._output_layers[0]]
        return result if self.num_classes is None else result.flatten(1)

    def summary(self) -> tuple[LayerRow, ...]:
        """Returns one row a layer, for a picture of ``input_shape``."""
        return tuple(self._row(index) for index in range(len(self.layers)))

    def _row(self, index: int) -> LayerRow:
        section, shape = self.cfg.layers[index], self._shapes[index + 1]
        size, stride = section.text("size", ""), section.text("stride", "")
        return LayerRow(
            index=index,
            section=section.name,
            filters=shape[0],
            window="/".join(part for part in (size and f"{size}x{size}", stride) if part),
            inputs=self._inputs[index],
            input_shape=self._shapes[self._inputs[index][0] + 1],
            output_shape=shape,
            num_params=sum(parameter.numel() for parameter in self.layers[index].parameters()),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> DarknetNetwork:
        # torch cannot deep-copy a module whose weight is computed from a live mask; see `copy_model`
        remember_computed_tensors(self, memo)
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


def _allocate_(network: nn.Module) -> None:
    """Gives the parameters and buffers of a network on the meta device memory, not values; statistics start at rest.

    ``Module.to_empty`` does the same, but takes most of a second the first time: it imports sympy.
    """
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype)))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()


def build_layers(cfg: Cfg, picture: Shape) -> list[Built]:
    """Builds the layers of ``cfg`` for pictures of a shape (C, H, W).

    Raises:
        CfgError: If a section cannot be built; the message gives file, line and section.
    """
    shapes: list[Shape] = [picture]
    built: list[Built] = []
    sizes = _Sizes(cfg.net, picture)
    classes: set[int] = set()
    for index, section in enumerate(cfg.layers):
        try:
            layer = build_layer(Place(section, index, shapes))
            sizes.add(section, index, layer)
        except CfgError as error:
            error.layer = index
            raise
        for source in layer.inputs:
            if source >= 0 and built[source].head is not None:
                name = cfg.layers[source].written_name
                raise section.error(f"reads layer {source}, a [{name}]; expected a layer that is not an output")
        classes |= set() if layer.head is None else {layer.head.num_classes}
        if len(classes) > 1:
            raise section.error(f"heads of {' and '.join(map(str, sorted(classes)))} classes; expected equal ones")
        shapes.append(layer.shape)
        built.append(layer)
    return built


class _Sizes:
    """Adds up what a network asks for, the parameters and the maps for one picture, and stops where it is too much."""

    def __init__(self, net: Section, picture: Shape) -> None:
        self._parameters = 0
        self._maps = math.prod(picture)
        check_network_bytes(self._maps, net, -1, "its values")

    def add(self, section: Section, index: int, layer: Built) -> None:
        tensors = [*layer.module.parameters(), *layer.module.buffers()]
        self._parameters += sum(tensor.numel() for tensor in tensors)
        self._maps += math.prod(layer.shape)
        check_network_bytes(self._parameters, section, index, "parameters up to here")
        check_network_bytes(self._maps, section, index, "maps of one picture up to here")


def _outputs(built: list[Built]) -> tuple[int, ...]:
    heads = tuple(index for index, layer in enumerate(built) if layer.head is not None)
    return heads or (len(built) - 1,)


def _last_reads(inputs: tuple[tuple[int, ...], ...], outputs: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """For each layer, the maps that no later layer reads."""
    last: Mapping[int, int] = {
        source: index for index, sources in enumerate(inputs) for source in sources if source not in outputs
    }
    finished: list[list[int]] = [[] for _ in inputs]
    for source, index in last.items():
        finished[index].append(source)
    return tuple(map(tuple, finished))
