"""Changes a ``.cfg`` so that it fits other data: its classes, its input size, its anchors."""

from __future__ import annotations

from collections.abc import Sequence

from sapwood.errors import CfgError
from sapwood.models.darknet.cfg import Cfg, Section

_HEADS = ("yolo", "region")


def head_layers(cfg: Cfg) -> tuple[int, ...]:
    """Returns the layer numbers of the ``[yolo]`` and ``[region]`` sections."""
    return tuple(index for index, section in enumerate(cfg.layers) if section.name in _HEADS)


def adapt_classes(cfg: Cfg, num_classes: int) -> Cfg:
    """Returns ``cfg`` with other classes: ``classes=`` of every head, ``filters=`` of the convolution before each.

    Args:
        cfg: A detector.
        num_classes: At least 1.

    Raises:
        CfgError: If there is no head, no convolution before one, or ``num_classes`` is below 1.

    Examples:
        >>> from sapwood.models.darknet import parse_cfg, write_cfg
        >>> text = "[net]\\n[convolutional]\\nfilters=255\\n[yolo]\\nclasses=80\\nnum=6\\nmask=3,4,5\\n"
        >>> print(write_cfg(adapt_classes(parse_cfg(text), 3)))
        [net]
        [convolutional]
        filters=24
        [yolo]
        classes=3
        num=6
        mask=3,4,5
        <BLANKLINE>
    """
    if num_classes < 1:
        raise CfgError(f"{cfg.path}: {num_classes} classes wanted; expected at least 1")
    heads = head_layers(cfg)
    if not heads:
        raise CfgError(f"{cfg.path}: no [yolo] or [region] section; expected a detector")
    for index in heads:
        head = cfg.layers[index]
        if index == 0 or cfg.layers[index - 1].name != "convolutional":
            raise head.error("expected a [convolutional] section before it, whose filters= follow the classes")
        filters = len(_mask(head)) * (5 + num_classes)
        cfg = cfg.with_option(index, "classes", num_classes).with_option(index - 1, "filters", filters)
    return cfg


def adapt_input_size(cfg: Cfg, size: tuple[int, int]) -> Cfg:
    """Returns ``cfg`` for pictures of ``size`` (height, width) in pixels."""
    return cfg.with_option(-1, "height", size[0]).with_option(-1, "width", size[1])


def adapt_anchors(cfg: Cfg, anchors: Sequence[tuple[float, float]]) -> Cfg:
    """Returns ``cfg`` with other anchors, the smallest for the heads that had the smallest.

    Every head keeps its number of anchors. Where heads shared some, or left some unused, they do so no more.

    Args:
        cfg: A detector with ``[yolo]`` heads.
        anchors: (width, height) in input pixels, ascending by area; as many as all heads use together.

    Raises:
        CfgError: If a head is no ``[yolo]`` section, or the number of anchors differs.
    """
    heads = head_layers(cfg)
    for index in heads:
        if cfg.layers[index].name != "yolo":
            raise cfg.layers[index].error("expected [yolo] heads, whose anchors are in input pixels")
    if len(anchors) != num_anchors(cfg):
        raise CfgError(f"{cfg.path}: {len(anchors)} anchors came for heads that use {num_anchors(cfg)}")
    text = ",  ".join(f"{width:g},{height:g}" for width, height in anchors)
    start = 0
    for index in sorted(heads, key=lambda index: _mean_area(cfg.layers[index])):
        count = len(_mask(cfg.layers[index]))
        mask = ",".join(str(number) for number in range(start, start + count))
        start += count
        cfg = cfg.with_option(index, "mask", mask).with_option(index, "anchors", text)
        cfg = cfg.with_option(index, "num", len(anchors))
    return cfg


def num_anchors(cfg: Cfg) -> int:
    """Returns how many anchors all heads use together."""
    return sum(len(_mask(cfg.layers[index])) for index in head_layers(cfg))


def _mask(head: Section) -> Sequence[int]:
    """The anchors that a head uses, all of them where it has no mask."""
    return head.integers("mask") if "mask" in head else range(head.integer("num", 1, minimum=1))


def _mean_area(head: Section) -> float:
    values, mask = head.numbers("anchors"), _mask(head)
    if not all(0 <= index < len(values) // 2 for index in mask):
        raise head.error(f"{len(values)} numbers; expected a pair for each anchor that the head uses", "anchors")
    return sum(values[2 * index] * values[2 * index + 1] for index in mask) / len(mask)
