"""Sections that end a network, and those that do nothing at inference."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from torch import nn

from sapwood.models.darknet.build import BUILDERS, Built, Place
from sapwood.models.darknet.cfg import Section
from sapwood.models.darknet.layers import Softmax
from sapwood.types import YoloHead


@BUILDERS.register("softmax")
def _softmax(place: Place) -> Built:
    section = place.section
    place.refuse("spatial")
    if "tree" in section:
        raise section.error("a hierarchy of classes is not supported; expected no tree=", "tree")
    values = math.prod(place.before)
    groups = section.integer("groups", 1, minimum=1)
    if values % groups:
        raise section.error(f"expected a divisor of the {values} values before", "groups")
    return Built(Softmax(groups, section.number("temperature", 1.0)), (place.index - 1,), (values,))


@BUILDERS.register("yolo")
def _yolo(place: Place) -> Built:
    section = place.section
    total = section.integer("num", 1, minimum=1)
    mask = section.integers("mask") if "mask" in section else None
    anchors = _anchors(section, total, mask)
    mask = tuple(range(total)) if mask is None else mask
    if not all(0 <= index < total for index in mask):
        raise section.error(f"expected numbers from 0 to num - 1 = {total - 1}", "mask")
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


def _anchors(section: Section, total: int, mask: Sequence[int] | None = None) -> tuple[tuple[float, float], ...]:
    """The pairs of ``anchors=``.

    Darknet drops white space before it reads numbers, so "45   61" with a forgotten comma is 4561 there, and the last
    numbers, which are then missing, are 0.5. Weights were trained that way, so that is how it is read here, with a
    warning. Where a ``mask`` uses none that is missing, ``num=`` was left over from another network.
    """
    values = section.numbers("anchors")
    missing = 2 * total - len(values)
    pairs = len(values) // 2
    if missing != 0 and not (mask and len(values) % 2 == 0 and all(0 <= index < min(pairs, total) for index in mask)):
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
