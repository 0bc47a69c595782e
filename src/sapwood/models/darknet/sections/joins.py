"""Sections that read several layers."""

from __future__ import annotations

from sapwood.models.darknet.build import BUILDERS, Built, Place, shape_text
from sapwood.models.darknet.layers import PartialAdd, Route, Scale, Shortcut, WeightedShortcut

WEIGHTS_TYPES = {"none": "", "per_feature": "layer", "per_layer": "layer", "per_channel": "channel"}
"""What ``weights_type=`` of a shortcut may be: what has a weight of its own."""
NORMALIZATIONS = {"none": "none", "relu": "relu", "avg_relu": "relu", "softmax": "softmax"}
"""What ``weights_normalization=`` may be, with Darknet's older names."""


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
    channels, height, width = place.map_before()
    layers = place.layers("from")
    if section.choice("weights_type", WEIGHTS_TYPES, "none") != "none":
        return _weighted_shortcut(place, layers)
    adds = []
    for layer in layers:
        shape = place.map_of(layer)
        step = shape[1] // height
        if step < 1 or shape[1:] != (step * height, step * width):
            found = f"layer {layer} is {shape[1]}x{shape[2]}, the layer before {height}x{width}"
            raise section.error(f"{found}; expected equal height and width, or a multiple of them", "from")
        adds.append(PartialAdd(min(channels, shape[0]), step))
    module = Shortcut(adds, place.activation("linear"))
    return Built(module, (place.index - 1, *layers), (channels, height, width))


def _weighted_shortcut(place: Place, layers: tuple[int, ...]) -> Built:
    section, shape = place.section, place.map_before()
    for layer in layers:
        if place.map_of(layer) != shape:
            found = f"layer {layer} is {shape_text(place.map_of(layer))}, the layer before {shape_text(shape)}"
            raise section.error(f"{found}; expected equal shapes where they are weighted", "from")
    channels = 1 if WEIGHTS_TYPES[section.text("weights_type", "none")] == "layer" else shape[0]
    normalization = section.choice("weights_normalization", NORMALIZATIONS, "none")
    module = WeightedShortcut(len(layers), channels, NORMALIZATIONS[normalization], place.activation("linear"))
    return Built(module, (place.index - 1, *layers), shape)


@BUILDERS.register("scale_channels")
def _scale_channels(place: Place) -> Built:
    section, layer = place.section, _one_layer(place)
    factors, shape = place.map_before(), place.map_of(layer)
    wanted = (1, *shape[1:]) if section.flag("scale_wh") else (shape[0], 1, 1)
    if factors != wanted:
        found = f"the layer before gives {shape_text(factors)} for layer {layer} of {shape_text(shape)}"
        raise section.error(f"{found}; expected {shape_text(wanted)}", "from")
    return Built(Scale(place.activation("linear")), (place.index - 1, layer), shape)


@BUILDERS.register("sam")
def _sam(place: Place) -> Built:
    section, layer = place.section, _one_layer(place)
    factors, shape = place.map_before(), place.map_of(layer)
    if factors != shape:
        found = f"the layer before gives {shape_text(factors)}, layer {layer} {shape_text(shape)}"
        raise section.error(f"{found}; expected equal shapes", "from")
    return Built(Scale(place.activation("linear")), (place.index - 1, layer), shape)


def _one_layer(place: Place) -> int:
    layers = place.layers("from")
    if len(layers) != 1:
        raise place.section.error("expected one layer", "from")
    return layers[0]
