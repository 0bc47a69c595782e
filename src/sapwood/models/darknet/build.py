"""From a section of a ``.cfg`` to a module: what a builder is given, what it returns, and the table of builders.

The builders themselves are in :mod:`sapwood.models.darknet.sections`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from sapwood.errors import CfgError
from sapwood.limits import check_limit
from sapwood.models.darknet.activations import ACTIVATIONS
from sapwood.models.darknet.cfg import Cfg, Section
from sapwood.models.darknet.keys import UNSUPPORTED
from sapwood.registry import Registry
from sapwood.types import YoloHead

_FLOAT_BYTES = 4

Shape: TypeAlias = "tuple[int, ...]"
"""The shape of one picture's map, (C, H, W), or of one picture's vector, (N,)."""


def shape_text(shape: Shape) -> str:
    """Returns ``"64x13x13"``."""
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Built:
    """A layer, ready to join a network.

    Attributes:
        module: What it computes.
        inputs: The layers it reads, in the order ``module`` takes them; -1 is the picture.
        shape: What it gives for a picture of the size that ``[net]`` names.
        head: Of a ``[yolo]`` or ``[region]``: how its map is read.
    """

    module: nn.Module
    inputs: tuple[int, ...]
    shape: Shape
    head: YoloHead | None = None


@dataclass(frozen=True)
class Place:
    """Where a section stands: all that its builder may know.

    Attributes:
        section: The section.
        index: Its layer's number, from 0.
        shapes: The shapes of the picture and of all layers before: ``shapes[i + 1]`` is layer ``i``'s.
    """

    section: Section
    index: int
    shapes: Sequence[Shape]

    @property
    def before(self) -> Shape:
        """The shape of the layer before."""
        return self.shapes[-1]

    def map_before(self) -> tuple[int, int, int]:
        """Returns the shape (C, H, W) of the layer before.

        Raises:
            CfgError: If that gives a vector.
        """
        return self.map_of(self.index - 1)

    def map_of(self, layer: int) -> tuple[int, int, int]:
        """Returns the shape (C, H, W) of a layer.

        Raises:
            CfgError: If that gives a vector.
        """
        shape = self.shapes[layer + 1]
        if len(shape) != 3:
            raise self.section.error(f"layer {layer} gives a vector of {shape[0]}; expected a map before this section")
        return shape[0], shape[1], shape[2]

    def layers(self, key: str) -> tuple[int, ...]:
        """Returns the layers that ``key`` names, negative ones counted back from here.

        Raises:
            CfgError: If one of them is not before this one.
        """
        named = self.section.integers(key)
        found = tuple(layer + self.index if layer < 0 else layer for layer in named)
        for name, layer in zip(named, found, strict=True):
            if not 0 <= layer < self.index:
                raise self.section.error(
                    f"{name} is layer {layer}; expected a layer before this one, which is layer {self.index}", key
                )
        return found

    def refuse(self, *keys: str) -> None:
        """Raises a CfgError where one of ``keys`` is set: it changes what the layer computes, and is not supported."""
        for key in keys:
            if self.section.number(key, 0.0) != 0:
                raise self.section.error("not supported; expected 0", key)

    def activation(self, default: str) -> nn.Module:
        """Returns the module of the section's ``activation``."""
        return ACTIVATIONS[self.section.choice("activation", ACTIVATIONS, default)]()

    def strides(self) -> tuple[int, int]:
        """Returns the vertical and the horizontal stride, 1 where none is given."""
        stride = self.section.integer("stride", 1, minimum=1)
        return (
            self.section.integer("stride_y", stride, minimum=1),
            self.section.integer("stride_x", stride, minimum=1),
        )

    def check_size(self, values: int, what: str) -> None:
        """Checks that so many float32 values fit into memory, before anything is made of them.

        Raises:
            CfgError: If they are more than the limit ``network_bytes``.
        """
        check_network_bytes(values, self.section, self.index, what)

    def behind_window(self, stride: tuple[int, int], reach: int) -> tuple[int, int]:
        """Returns height and width behind a window that needs ``reach`` cells beyond its padding.

        Raises:
            CfgError: If the map before is smaller than that.
        """
        _, *size = self.map_before()
        height, width = ((cells - reach) // step + 1 for cells, step in zip(size, stride, strict=True))
        if height < 1 or width < 1:
            raise self.section.error(f"the map before is {size[0]}x{size[1]}; expected one not smaller than the window")
        return height, width


def check_network_bytes(values: int, section: Section, layer: int, what: str) -> None:
    """Checks how many float32 values a network, or a layer of it, asks for.

    Raises:
        CfgError: If they are more than the limit ``network_bytes``; the message names the layer.
    """
    named = "the picture" if layer < 0 else f"layer {layer}"
    try:
        check_limit("network_bytes", values * _FLOAT_BYTES, f"{named} ({what})", CfgError)
    except CfgError as error:
        raise section.error(str(error)) from None


Builder: TypeAlias = Callable[[Place], Built]

BUILDERS: Registry[Builder] = Registry("Darknet section")
"""Builds the layer of a section, by the section's full name."""


def build_layer(place: Place) -> Built:
    """Builds the layer of one section.

    Raises:
        CfgError: If the section says what cannot be.
    """
    place.refuse("dontload", "dontloadscales")
    return BUILDERS[place.section.name](place)


def check_supported(cfg: Cfg) -> None:
    """Checks that a network can be built from each section.

    Raises:
        CfgError: If there is no layer, or a section that Sapwood cannot run, such as a recurrent one.
    """
    if not cfg.layers:
        raise cfg.net.error("no section follows; expected the layers")
    for section in cfg.layers:
        if section.name in UNSUPPORTED:
            raise section.error(f"this kind of layer is not supported; expected one of: {', '.join(BUILDERS)}")
