"""Decoding against numbers worked out by hand and against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sapwood.errors import ShapeError
from sapwood.tasks import decode
from sapwood.types import YoloHead

LN2, LN3 = math.log(2), math.log(3)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def place(channels: list[float]) -> Tensor:
    """A map of two rows and three columns with ``channels`` at row 1, column 2, zeros elsewhere."""
    raw = torch.zeros(1, len(channels), 2, 3)
    raw[0, :, 1, 2] = torch.tensor(channels)
    return raw


def test_yolo_by_hand() -> None:
    head = YoloHead("yolo", ((10.0, 20.0),), 2)
    boxes, scores = decode([place([LN3, 0, LN2, LN3, LN3, LN3, 0])], [head], (64, 96))
    # centre ((0.75 + 2) * 32, (0.5 + 1) * 32) = (88, 48), size (20, 60); 0.75 * 0.75, 0.75 * 0.5
    torch.testing.assert_close(boxes[0, 5], torch.tensor([78.0, 18.0, 98.0, 78.0]))
    torch.testing.assert_close(scores[0, 5], torch.tensor([0.5625, 0.375]))
    torch.testing.assert_close(boxes[0, 0], torch.tensor([11.0, 6.0, 21.0, 26.0]))
    torch.testing.assert_close(scores[0, 0], torch.tensor([0.25, 0.25]))


def test_scale_x_y_by_hand() -> None:
    head = YoloHead("yolo", ((10.0, 20.0),), 1, scale_x_y=2.0)
    boxes, _ = decode([place([LN3, -LN3, 0, 0, 0, 0])], [head], (64, 96))
    # x = 2 * 0.75 - 0.5 + 2 = 3 cells, y = 2 * 0.25 - 0.5 + 1 = 1 cell
    torch.testing.assert_close(boxes[0, 5], torch.tensor([91.0, 22.0, 101.0, 42.0]))


def test_new_coords_by_hand() -> None:
    head = YoloHead("yolo", ((10.0, 20.0),), 1, scale_x_y=2.0, new_coords=True)
    boxes, scores = decode([place([0.75, 0.25, 0.5, 1.0, 0.5, 0.4])], [head], (64, 96))
    # the same centre; width (2 * 0.5)^2 * 10, height (2 * 1)^2 * 20
    torch.testing.assert_close(boxes[0, 5], torch.tensor([91.0, -8.0, 101.0, 72.0]))
    torch.testing.assert_close(scores[0, 5], torch.tensor([0.2]))


def test_region_by_hand() -> None:
    head = YoloHead("region", ((1.5, 0.5),), 2, softmax=True)
    boxes, scores = decode([place([0, 0, LN2, 0, LN3, LN3, 0])], [head], (64, 96))
    # centre (80, 48), size (1.5 * 2, 0.5) cells of 32 pixels; 0.75 * 3/4, 0.75 * 1/4
    torch.testing.assert_close(boxes[0, 5], torch.tensor([32.0, 40.0, 128.0, 56.0]))
    torch.testing.assert_close(scores[0, 5], torch.tensor([0.5625, 0.1875]))


def test_region_without_softmax_is_logistic() -> None:
    head = YoloHead("region", ((1.0, 1.0),), 2)
    _, scores = decode([place([0, 0, 0, 0, LN3, LN3, 0])], [head], (64, 96))
    torch.testing.assert_close(scores[0, 5], torch.tensor([0.5625, 0.375]))


def decode_by_loop(raw: Tensor, head: YoloHead, input_size: tuple[int, int]) -> list[list[float]]:
    """The slow, obvious way: a row x1, y1, x2, y2, scores... for each anchor, row, column of the first picture."""
    rows = []
    fields = 5 + head.num_classes
    height, width = raw.shape[2:]
    for number, (anchor_width, anchor_height) in enumerate(head.anchors):
        for row in range(height):
            for column in range(width):
                t = raw[0, number * fields : (number + 1) * fields, row, column].tolist()
                cx = (sigmoid(t[0]) * head.scale_x_y - (head.scale_x_y - 1) / 2 + column) * input_size[1] / width
                cy = (sigmoid(t[1]) * head.scale_x_y - (head.scale_x_y - 1) / 2 + row) * input_size[0] / height
                w, h = anchor_width * math.exp(t[2]), anchor_height * math.exp(t[3])
                scores = [sigmoid(t[4]) * sigmoid(value) for value in t[5:]]
                rows.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, *scores])
    return rows


def test_several_heads_anchors_and_pictures_agree_with_the_loop() -> None:
    heads = (YoloHead("yolo", ((10, 14), (23, 27), (37, 58)), 3, 1.05), YoloHead("yolo", ((81, 82), (135, 169)), 3))
    maps = [torch.randn(2, 24, 4, 6, dtype=torch.float64), torch.randn(2, 16, 2, 3, dtype=torch.float64)]
    boxes, scores = decode(maps, heads, (64, 96))
    for picture in range(2):
        rows = [
            decode_by_loop(raw[picture : picture + 1], head, (64, 96)) for raw, head in zip(maps, heads, strict=True)
        ]
        expected = torch.tensor(rows[0] + rows[1], dtype=torch.float64)
        torch.testing.assert_close(torch.cat((boxes[picture], scores[picture]), -1), expected)


def test_wild_sizes_stay_finite() -> None:
    boxes, scores = decode([place([0, 0, 500, math.inf, 0, 0])], [YoloHead("yolo", ((10.0, 20.0),), 1)], (64, 96))
    assert boxes.isfinite().all()
    assert scores.isfinite().all()


def test_gradients_flow() -> None:
    raw = torch.randn(1, 6, 2, 2, requires_grad=True)
    boxes, scores = decode([raw], [YoloHead("yolo", ((10.0, 20.0),), 1)], (64, 64))
    (gradient,) = torch.autograd.grad(boxes.sum() + scores.sum(), raw)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


def test_maps_that_do_not_fit_the_heads() -> None:
    head = YoloHead("yolo", ((10.0, 20.0),), 2)
    with pytest.raises(ShapeError, match="the model returned 2 maps; its task describes 1 heads"):
        decode([torch.zeros(1, 7, 1, 1)] * 2, [head], (32, 32))
    with pytest.raises(
        ShapeError, match=r"map 0 has shape \(1, 8, 1, 1\); expected \(B, 7, H, W\): 1 anchors of 5 \+ 2"
    ):
        decode([torch.zeros(1, 8, 1, 1)], [head], (32, 32))
    with pytest.raises(ShapeError, match=r"map 0 has shape \(1, 7\)"):
        decode([torch.zeros(1, 7)], [head], (32, 32))
