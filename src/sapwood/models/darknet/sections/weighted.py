"""Sections with weights."""

from __future__ import annotations

import math

from torch import nn

from sapwood.models.darknet.build import BUILDERS, Built, Place
from sapwood.models.darknet.layers import BATCH_NORM_EPS, BinaryConv2d, ConnectedLayer, ConvolutionalLayer


@BUILDERS.register("convolutional")
def _convolutional(place: Place) -> Built:
    section = place.section
    place.refuse("antialiasing", "assisted_excitation", "binary", "cbn", "coordconv", "flipped")
    place.refuse("rotate", "stretch", "stretch_sway", "sway")
    if "share_index" in section:
        raise section.error("weights shared between layers are not supported; expected no share_index=", "share_index")
    channels, *_ = place.map_before()
    filters = section.integer("filters", minimum=1)
    groups = section.integer("groups", 1, minimum=1)
    if channels % groups or filters % groups:
        raise section.error(f"expected a divisor of the {channels} channels before and of filters={filters}", "groups")
    size = section.integer("size", 1, minimum=1)
    dilation = section.integer("dilation", 1, minimum=1) if size > 1 else 1
    padding = size // 2 if section.flag("pad") else section.integer("padding", 0, minimum=0)
    stride = place.strides()
    normalized = section.flag("batch_normalize")
    place.check_size(filters * (channels // groups) * size * size, "weights")
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
    shape = (filters, *place.behind_window(stride, reach))
    return Built(ConvolutionalLayer(conv, bn, place.activation("logistic")), (place.index - 1,), shape)


@BUILDERS.register("connected")
def _connected(place: Place) -> Built:
    section = place.section
    inputs = math.prod(place.before)
    outputs = section.integer("output", minimum=1)
    normalized = section.flag("batch_normalize")
    place.check_size(inputs * outputs, "weights")
    linear = nn.Linear(inputs, outputs, bias=not normalized)
    bn = nn.BatchNorm1d(outputs, eps=BATCH_NORM_EPS) if normalized else None
    return Built(ConnectedLayer(linear, bn, place.activation("logistic")), (place.index - 1,), (outputs,))
