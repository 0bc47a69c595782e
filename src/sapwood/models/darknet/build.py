"""From a section of a ``.cfg`` to a module: one function a section, and the table of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from sapwood.models.darknet.activations import ACTIVATIONS
from sapwood.models.darknet.cfg import Section
from sapwood.models.darknet.keys import UNSUPPORTED
from sapwood.models.darknet.layers import (
    BATCH_NORM_EPS,
    BinaryConv2d,
    ConnectedLayer,
    ConvolutionalLayer,
    Crop,
    MaxPool,
    Reorg,
    Route,
    Scale,
    Shortcut,
    Softmax,
    Upsample,
)
from sapwood.registry import Registry
from sapwood.types import YoloHead

Shape: TypeAlias = "tuple[int, ...]"
"""The shape of one picture's map, (C, H, W), or of one picture's vector, (N,)."""


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


Builder: TypeAlias = Callable[[Place], Built]

BUILDERS: Registry[Builder] = Registry("Darknet section")
"""Builds the layer of a section, by the section's full name."""


def build_layer(place: Place) -> Built:
    """Builds the layer of one section.

    Raises:
        CfgError: If the section is one that Sapwood cannot run, or says what cannot be.
    """
    section = place.section
    if section.name in UNSUPPORTED:
        raise section.error(f"not supported; expected one of: {', '.join(BUILDERS)}")
    place.refuse("dontload", "dontloadscales")
    return BUILDERS[section.name](place)


@BUILDERS.register("convolutional")
def _convolutional(place: Place) -> Built:
    section = place.section
    place.refuse("antialiasing", "share_index", "cbn", "binary", "sway", "rotate", "stretch", "stretch_sway")
    place.refuse("flipped", "coordconv", "assisted_excitation")
    channels, height, width = place.map_before()
    filters = section.integer("filters", minimum=1)
    groups = section.integer("groups", 1, minimum=1)
    if channels % groups or filters % groups:
        raise section.error(f"expected a divisor of the {channels} channels before and of filters={filters}", "groups")
    size = section.integer("size", 1, minimum=1)
    dilation = section.integer("dilation", 1, minimum=1) if size > 1 else 1
    padding = size // 2 if section.flag("pad") else section.integer("padding", 0, minimum=0)
    stride = place.strides()
    normalized = section.flag("batch_normalize")
    conv_class = BinaryConv2d if section.flag("xnor") else nn.Conv2d
    conv = conv_class(
        channels,
        filters,
        size,
        stride=stride,
        padding=padding * dilation,
        dilation=dilation,
        groups=groups,
        bias=not normalized,
    )
    bn = nn.BatchNorm2d(filters, eps=BATCH_NORM_EPS) if normalized else None
    reach = dilation * (size - 1) + 1 - 2 * padding * dilation
    shape = (filters, *_pooled(section, (height, width), stride, reach))
    return Built(ConvolutionalLayer(conv, bn, place.activation("logistic")), (place.index - 1,), shape)


def _pooled(section: Section, size: tuple[int, int], stride: tuple[int, int], reach: int) -> tuple[int, int]:
    """Height and width behind a window that needs ``reach`` cells beyond its padding."""
    height, width = ((cells - reach) // step + 1 for cells, step in zip(size, stride, strict=True))
    if height < 1 or width < 1:
        raise section.error(f"the map before is {size[0]}x{size[1]}, smaller than the window; expected a larger one")
    return height, width


@BUILDERS.register("connected")
def _connected(place: Place) -> Built:
    section = place.section
    inputs = 1
    for extent in place.before:
        inputs *= extent
    outputs = section.integer("output", minimum=1)
    normalized = section.flag("batch_normalize")
    linear = nn.Linear(inputs, outputs, bias=not normalized)
    bn = nn.BatchNorm1d(outputs, eps=BATCH_NORM_EPS) if normalized else None
    return Built(ConnectedLayer(linear, bn, place.activation("logistic")), (place.index - 1,), (outputs,))


@BUILDERS.register("maxpool")
def _maxpool(place: Place) -> Built:
    section = place.section
    place.refuse("maxpool_depth", "antialiasing", "maxpool_zero_nonmax")
    channels, height, width = place.map_before()
    stride = place.strides()
    size = section.integer("size", section.integer("stride", 1, minimum=1), minimum=1)
    padding = section.integer("padding", size - 1, minimum=0)
    if padding - padding // 2 >= size:
        raise section.error(f"expected less than {2 * size - 1}, or windows of size={size} see nothing", "padding")
    shape = (channels, *_pooled(section, (height, width), stride, size - padding))
    return Built(MaxPool(size, stride, padding), (place.index - 1,), shape)


@BUILDERS.register("avgpool")
def _avgpool(place: Place) -> Built:
    channels, _, _ = place.map_before()
    return Built(nn.AdaptiveAvgPool2d(1), (place.index - 1,), (channels, 1, 1))


@BUILDERS.register("upsample")
def _upsample(place: Place) -> Built:
    channels, height, width = place.map_before()
    stride = place.section.integer("stride", 2, minimum=1)
    module = Upsample(stride, place.section.number("scale", 1.0))
    return Built(module, (place.index - 1,), (channels, height * stride, width * stride))


@BUILDERS.register("route")
def _route(place: Place) -> Built:
    section = place.section
    layers = place.layers("layers")
    shapes = [place.map_of(layer) for layer in layers]
    groups = section.integer("groups", 1, minimum=1)
    group_id = section.integer("group_id", 0, minimum=0)
    if group_id >= groups:
        raise section.error(f"expected less than groups={groups}", "group_id")
    for layer, (channels, height, width) in zip(layers, shapes, strict=True):
        if (height, width) != shapes[0][1:]:
            sizes = f"layer {layers[0]} is {shapes[0][1]}x{shapes[0][2]}, layer {layer} is {height}x{width}"
            raise section.error(f"{sizes}; expected maps of equal height and width", "layers")
        if channels % groups:
            raise section.error(f"expected a divisor of the {channels} channels of layer {layer}", "groups")
    widths = tuple(shape[0] for shape in shapes)
    shape = (sum(width // groups for width in widths), *shapes[0][1:])
    return Built(Route(widths, groups, group_id), layers, shape)


@BUILDERS.register("shortcut")
def _shortcut(place: Place) -> Built:
    section = place.section
    if section.text("weights_type", "none") != "none":
        raise section.error("weighted shortcuts are not supported; expected none", "weights_type")
    channels, height, width = place.map_before()
    layers = place.layers("from")
    shapes = [place.map_of(layer) for layer in layers]
    for layer, shape in zip(layers, shapes, strict=True):
        if shape[1:] != (height, width):
            found = f"layer {layer} is {shape[1]}x{shape[2]}, the layer before {height}x{width}"
            raise section.error(f"{found}; expected maps of equal height and width", "from")
    module = Shortcut(channels, tuple(shape[0] for shape in shapes), place.activation("linear"))
    return Built(module, (place.index - 1, *layers), (channels, height, width))


def _one_layer(place: Place) -> int:
    layers = place.layers("from")
    if len(layers) != 1:
        raise place.section.error("expected one layer", "from")
    return layers[0]


@BUILDERS.register("scale_channels")
def _scale_channels(place: Place) -> Built:
    section, layer = place.section, _one_layer(place)
    factors, shape = place.map_before(), place.map_of(layer)
    wanted = (1, *shape[1:]) if section.flag("scale_wh") else (shape[0], 1, 1)
    if factors != wanted:
        raise section.error(
            f"the layer before gives {_text(factors)} for layer {layer} of {_text(shape)}; expected {_text(wanted)}",
            "from",
        )
    return Built(Scale(place.activation("linear")), (place.index - 1, layer), shape)


@BUILDERS.register("sam")
def _sam(place: Place) -> Built:
    section, layer = place.section, _one_layer(place)
    factors, shape = place.map_before(), place.map_of(layer)
    if factors != shape:
        raise section.error(
            f"the layer before gives {_text(factors)}, layer {layer} {_text(shape)}; expected equal shapes", "from"
        )
    return Built(Scale(place.activation("linear")), (place.index - 1, layer), shape)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


@BUILDERS.register("dropout")
def _dropout(place: Place) -> Built:
    place.refuse("dropblock")
    probability = place.section.number("probability", 0.2)
    if not 0 <= probability < 1:
        raise place.section.error("expected a number from 0 up to, not including, 1", "probability")
    return Built(nn.Dropout(probability), (place.index - 1,), place.before)


@BUILDERS.register("cost")
@BUILDERS.register("empty")
def _identity(place: Place) -> Built:
    return Built(nn.Identity(), (place.index - 1,), place.before)


@BUILDERS.register("softmax")
def _softmax(place: Place) -> Built:
    section = place.section
    place.refuse("spatial")
    if "tree" in section:
        raise section.error("a hierarchy of classes is not supported; expected no tree=", "tree")
    values = 1
    for extent in place.before:
        values *= extent
    groups = section.integer("groups", 1, minimum=1)
    if values % groups:
        raise section.error(f"expected a divisor of the {values} values before", "groups")
    return Built(Softmax(groups, section.number("temperature", 1.0)), (place.index - 1,), (values,))


@BUILDERS.register("crop")
def _crop(place: Place) -> Built:
    section = place.section
    channels, height, width = place.map_before()
    size = (section.integer("crop_height", minimum=1), section.integer("crop_width", minimum=1))
    if size[0] > height or size[1] > width:
        raise section.error(f"a crop of {size[0]}x{size[1]} from {height}x{width}; expected a smaller one")
    return Built(Crop(size, adjust=not section.flag("noadjust")), (place.index - 1,), (channels, *size))


@BUILDERS.register("reorg")
@BUILDERS.register("reorg3d")
def _reorg(place: Place) -> Built:
    section = place.section
    place.refuse("reverse")
    channels, height, width = place.map_before()
    stride = section.integer("stride", 1, minimum=1)
    if height % stride or width % stride:
        raise section.error(f"expected a divisor of the height and width before, {height}x{width}", "stride")
    reread = section.name == "reorg"
    if reread and channels % (stride * stride):
        raise section.error(f"expected a stride whose square divides the {channels} channels before", "stride")
    shape = (channels * stride * stride, height // stride, width // stride)
    return Built(Reorg(stride, reread=reread), (place.index - 1,), shape)


@BUILDERS.register("yolo")
def _yolo(place: Place) -> Built:
    section = place.section
    total = section.integer("num", 1, minimum=1)
    mask = section.integers("mask") if "mask" in section else tuple(range(total))
    if not all(0 <= index < total for index in mask):
        raise section.error(f"expected numbers from 0 to num - 1 = {total - 1}", "mask")
    anchors = _anchors(section, total)
    head = YoloHead(
        kind="yolo",
        anchors=tuple(anchors[index] for index in mask),
        num_classes=section.integer("classes", 20, minimum=1),
        scale_x_y=section.number("scale_x_y", 1.0),
        new_coords=section.flag("new_coords"),
    )
    return _head(place, head)


@BUILDERS.register("region")
def _region(place: Place) -> Built:
    section = place.section
    if section.integer("coords", 4) != 4:
        raise section.error("expected 4", "coords")
    if "tree" in section:
        raise section.error("a hierarchy of classes is not supported; expected no tree=", "tree")
    head = YoloHead(
        kind="region",
        anchors=_anchors(section, section.integer("num", 1, minimum=1)),
        num_classes=section.integer("classes", 20, minimum=1),
        softmax=section.flag("softmax"),
    )
    return _head(place, head)


def _head(place: Place, head: YoloHead) -> Built:
    channels, height, width = place.map_before()
    wanted = len(head.anchors) * (5 + head.num_classes)
    if channels != wanted:
        count = f"{len(head.anchors)} anchors x (5 + {head.num_classes} classes) = {wanted}"
        raise place.section.error(f"the layer before gives {channels} channels; expected {count}")
    return Built(nn.Identity(), (place.index - 1,), (channels, height, width), head)


def _anchors(section: Section, total: int) -> tuple[tuple[float, float], ...]:
    """The pairs of ``anchors=``.

    Darknet drops white space before it reads numbers, so "45   61" with a forgotten comma is 4561 there, and the last
    numbers, which are then missing, are 0.5. Weights were trained that way, so that is how it is read here, with a
    warning.
    """
    if "anchors" not in section:
        return ((0.5, 0.5),) * total
    values = section.numbers("anchors")
    missing = 2 * total - len(values)
    if missing != 0:
        as_written = next(line.option[1] for line in section.body if line.option and line.option[0] == "anchors")
        forgotten = sum(len(piece.split()) - 1 for piece in as_written.split(","))
        if missing < 0 or missing != forgotten:
            raise section.error(
                f"{len(values)} numbers; expected {2 * total}, a pair for each of num={total}", "anchors"
            )
        message = f"{missing} comma missing; read as Darknet does, which joins the numbers and ends with 0.5"
        warnings.warn(str(section.error(message, "anchors")), stacklevel=2)
        values += (0.5,) * missing
    return tuple(zip(values[::2], values[1::2], strict=True))
