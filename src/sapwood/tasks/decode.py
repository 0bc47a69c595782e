"""From the raw maps of a YOLO detector to boxes and class scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sapwood.errors import ShapeError
from sapwood.tasks import anchor_free
from sapwood.types import AnchorFreeHead, ListedHead, YoloHead

BOX_FIELDS = 5
"""Channels an anchor has before its classes: x, y, width, height, objectness."""

_MAX_EXPONENT = 10.0
"""Sizes stop at exp(10) = 22,026 anchors: beyond every picture, far from the overflow of float32."""


def decode(
    maps: Sequence[Tensor],  # shape of each: (B, A * (5 + classes), H_i, W_i)
    heads: Sequence[YoloHead] | Sequence[AnchorFreeHead] | Sequence[ListedHead],
    input_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:  # shapes: (B, N, 4), (B, N, classes)
    r"""Decodes every place of every map; N counts maps, then anchors, rows and columns.

    .. math::
        b_x = \Big(s\,\sigma(t_x) - \tfrac{s - 1}{2} + c_x\Big) \frac{W_{in}}{W}, \quad
        b_w = p_w e^{t_w}, \quad
        \mathrm{score}_k = \sigma(t_o)\,\sigma(t_k)

    with ``scale_x_y`` s, cell c and anchor p. With ``new_coords`` the maps are logistic already and
    :math:`b_w = p_w (2 t_w)^2`; a region head's anchors are in cells, its classes may compete by softmax. Detectors
    without anchors: see :mod:`sapwood.tasks.anchor_free`.

    Args:
        maps: Raw maps, as the model returns them.
        heads: How each map is read.
        input_size: (height, width) of the network's input in pixels.

    Returns:
        Boxes x1, y1, x2, y2 in input pixels, not clipped, and the score of every class, objectness times class.

    Raises:
        ShapeError: If maps and heads do not fit in number or channels.

    Examples:
        >>> head = YoloHead("yolo", anchors=((10.0, 20.0),), num_classes=1)
        >>> boxes, scores = decode([torch.zeros(1, 6, 1, 1)], [head], (32, 32))
        >>> boxes.tolist(), scores.tolist()
        ([[[11.0, 6.0, 21.0, 26.0]]], [[[0.25]]])

    References:
        Redmon and Farhadi, YOLO9000, 2016, arXiv:1612.08242, section 2; YOLOv3, 2018, arXiv:1804.02767, section 2.1;
        Bochkovskiy et al., YOLOv4, 2020, arXiv:2004.10934 (``scale_x_y``).
    """
    without = anchor_free.head_of(heads)
    if without is not None:
        return anchor_free.decode(maps, without, input_size)
    anchored = yolo_heads(heads)
    check_maps(maps, anchored)
    boxes, scores = [], []
    for raw, head in zip(maps, anchored, strict=True):
        height, width = raw.shape[2:]
        places = torch.arange(len(head.anchors) * height * width, device=raw.device)
        rows = split_anchors(raw, head).permute(0, 1, 3, 4, 2).flatten(1, 3)
        anchor, row, column = places // (height * width), places // width % height, places % width
        head_boxes, head_scores = decode_rows(rows, head, (anchor, row, column), (height, width), input_size)
        boxes.append(head_boxes)
        scores.append(head_scores)
    return torch.cat(boxes, 1), torch.cat(scores, 1)


def yolo_heads(heads: Sequence[object]) -> tuple[YoloHead, ...]:
    """The heads with anchors; none of a detector that has none."""
    return tuple(head for head in heads if isinstance(head, YoloHead))


def check_maps(maps: Sequence[Tensor], heads: Sequence[YoloHead]) -> None:
    """Checks that each map is what its head reads.

    Raises:
        ShapeError: If not; the message names the map and the channels wanted.
    """
    if len(maps) != len(heads):
        raise ShapeError(f"the model returned {len(maps)} maps; its task describes {len(heads)} heads")
    for number, (raw, head) in enumerate(zip(maps, heads, strict=True)):
        channels = len(head.anchors) * (BOX_FIELDS + head.num_classes)
        if raw.ndim != 4 or raw.shape[1] != channels:
            raise ShapeError(
                f"map {number} has shape {tuple(raw.shape)}; expected (B, {channels}, H, W): "
                f"{len(head.anchors)} anchors of 5 + {head.num_classes} channels"
            )


def split_anchors(raw: Tensor, head: YoloHead) -> Tensor:  # shape: (B, A, 5 + classes, H, W)
    """Gives the anchors of a map a dimension of their own."""
    batch, _, height, width = raw.shape
    return raw.reshape(batch, len(head.anchors), BOX_FIELDS + head.num_classes, height, width)


def objectness(raw: Tensor, head: YoloHead) -> Tensor:  # shape: (B, A, H, W)
    """Returns the objectness of every place of a map, in [0, 1]."""
    values = split_anchors(raw, head)[:, :, 4]
    return values if head.new_coords else values.sigmoid()


def decode_rows(
    rows: Tensor,  # shape: (*batch, M, 5 + classes)
    head: YoloHead,
    places: tuple[Tensor, Tensor, Tensor],  # anchor, row, column; shape of each: (M,)
    map_size: tuple[int, int],
    input_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:  # shapes: (*batch, M, 4), (*batch, M, classes)
    """Decodes M places of one map; the arguments are those of :func:`decode`, ``map_size`` is (H, W) of the map."""
    anchor, row, column = places
    stride = rows.new_tensor((input_size[1] / map_size[1], input_size[0] / map_size[0]))
    anchors = rows.new_tensor(head.anchors)
    if head.kind == "region":
        anchors = anchors * stride
    logistic = rows[..., :2] if head.new_coords else rows[..., :2].sigmoid()
    cell = torch.stack((column, row), -1).to(rows.dtype)
    centre = (logistic * head.scale_x_y - (head.scale_x_y - 1) / 2 + cell) * stride
    sizes = (2 * rows[..., 2:4]) ** 2 if head.new_coords else rows[..., 2:4].clamp(max=_MAX_EXPONENT).exp()
    half = sizes * anchors[anchor] / 2
    found = rows[..., 4:5] if head.new_coords else rows[..., 4:5].sigmoid()
    return torch.cat((centre - half, centre + half), -1), found * _class_probabilities(rows[..., BOX_FIELDS:], head)


def _class_probabilities(values: Tensor, head: YoloHead) -> Tensor:
    if head.new_coords:
        return values
    return values.softmax(-1) if head.softmax else values.sigmoid()
