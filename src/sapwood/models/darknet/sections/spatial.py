"""Sections that change height and width, and have no weights."""

from __future__ import annotations

from torch import nn

from sapwood.models.darknet.build import BUILDERS, Built, Place
from sapwood.models.darknet.layers import Crop, DarknetUpsample, MaxPool, Reorg


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
    place.check_size(channels * (height + padding) * (width + padding), "the map with its padding")
    shape = (channels, *place.behind_window(stride, size - padding))
    return Built(MaxPool(size, stride, padding), (place.index - 1,), shape)


@BUILDERS.register("avgpool")
def _avgpool(place: Place) -> Built:
    channels, _, _ = place.map_before()
    return Built(nn.AdaptiveAvgPool2d(1), (place.index - 1,), (channels, 1, 1))


@BUILDERS.register("upsample")
def _upsample(place: Place) -> Built:
    channels, height, width = place.map_before()
    stride = place.section.integer("stride", 2, minimum=1)
    module = DarknetUpsample(stride, place.section.number("scale", 1.0))
    return Built(module, (place.index - 1,), (channels, height * stride, width * stride))


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
