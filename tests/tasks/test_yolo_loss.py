"""The YOLO loss: golden cases worked out by hand, gradients, and agreement with the decoder."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sapwood.errors import ShapeError, TrainingError
from sapwood.tasks import YoloLoss, decode
from sapwood.tasks.yolo_assign import assign
from sapwood.types import YoloHead

SIZE = (64, 96)
COARSE = YoloHead("yolo", ((40.0, 30.0), (60.0, 50.0)), 3, scale_x_y=1.05)
FINE = YoloHead("yolo", ((8.0, 10.0), (20.0, 16.0)), 3, scale_x_y=1.05)
HEADS = (COARSE, FINE)
MAP_SIZES = ((2, 3), (4, 6))

BOXES = torch.tensor([[4.0, 8.0, 14.0, 19.0], [30.0, 10.0, 80.0, 50.0]])
LABELS = torch.tensor([1, 2])
TARGETS = [(BOXES, LABELS), (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]

LARGE = 40.0
"""A logit whose probability is 0 or 1 to float64."""


def empty_maps(value: float, batch: int = 2, heads: tuple[YoloHead, ...] = HEADS) -> list[Tensor]:
    return [
        torch.full((batch, len(head.anchors) * (5 + head.num_classes), *size), value, dtype=torch.float64)
        for head, size in zip(heads, MAP_SIZES, strict=True)
    ]


def encoded_maps(heads: tuple[YoloHead, ...]) -> list[Tensor]:
    """Maps that hold exactly the boxes that are assigned, and nothing else: the inverse of the decoder."""
    none = 0.0 if heads[0].new_coords else -LARGE
    maps = empty_maps(none, heads=heads)
    for head, size, raw, found in zip(heads, MAP_SIZES, maps, assign(TARGETS, heads, MAP_SIZES, SIZE), strict=True):
        view = raw.view(2, len(head.anchors), 5 + head.num_classes, *size)
        stride = (SIZE[1] / size[1], SIZE[0] / size[0])
        for image, anchor, row, column, box, label in zip(
            found.image, found.anchor, found.row, found.column, found.boxes, found.labels, strict=True
        ):
            cell = view[image, anchor, :, row, column]
            cell[:] = none
            cell[:5] = encoded(box.tolist(), head, int(anchor), (int(row), int(column)), stride)
            cell[5 + int(label)] = 1.0 if head.new_coords else LARGE
    return maps


def encoded(
    box: list[float], head: YoloHead, anchor: int, cell: tuple[int, int], stride: tuple[float, float]
) -> Tensor:
    x, y = (box[0] + box[2]) / 2 / stride[0] - cell[1], (box[1] + box[3]) / 2 / stride[1] - cell[0]
    scale = head.scale_x_y
    place = [(value + (scale - 1) / 2) / scale for value in (x, y)]
    unit = stride if head.kind == "region" else (1.0, 1.0)
    ratios = [(box[2 + i] - box[i]) / (head.anchors[anchor][i] * unit[i]) for i in (0, 1)]
    if head.new_coords:
        return torch.tensor([*place, *(math.sqrt(ratio) / 2 for ratio in ratios), 1.0])
    return torch.tensor([*(math.log(p / (1 - p)) for p in place), *(math.log(ratio) for ratio in ratios), LARGE])


def variants() -> list[tuple[YoloHead, ...]]:
    new_coords = tuple(replace(head, new_coords=True, scale_x_y=2.0) for head in HEADS)
    region = tuple(
        YoloHead("region", tuple((w / s, h / s) for w, h in head.anchors), 3, softmax=True)
        for head, s in zip(HEADS, (32.0, 16.0), strict=True)
    )
    return [HEADS, new_coords, region]


@pytest.mark.parametrize("heads", variants(), ids=["yolo", "new_coords", "region"])
def test_maps_that_encode_the_truth_cost_nothing(heads: tuple[YoloHead, ...]) -> None:
    loss = YoloLoss(heads, SIZE)(encoded_maps(heads), TARGETS)
    assert loss["total"].item() < 1e-6
    assert set(loss) == {"box", "objectness", "class", "total"}


@pytest.mark.parametrize("heads", variants(), ids=["yolo", "new_coords", "region"])
def test_what_costs_nothing_decodes_to_the_truth(heads: tuple[YoloHead, ...]) -> None:
    boxes, scores = decode(encoded_maps(heads), heads, SIZE)
    best, label = scores[0].max(dim=1)
    found = best > 0.5
    pairs = {
        (int(k), *(round(edge, 3) for edge in box))
        for k, box in zip(label[found], boxes[0][found].tolist(), strict=True)
    }
    assert pairs == {(1, 4.0, 8.0, 14.0, 19.0), (2, 30.0, 10.0, 80.0, 50.0)}
    assert not (scores[1] > 0.5).any()


def test_golden_assignment() -> None:
    # 10 x 11: overlaps 8 x 10 by 80 / 110, 20 x 16 by 110 / 320 > 0.213, 40 x 30 by 110 / 1200; centre (9, 13.5)
    # 50 x 40: overlaps 40 x 30 by 1200 / 2000, 60 x 50 by 2000 / 3000, 20 x 16 by 320 / 2000; centre (55, 30)
    coarse, fine = assign(TARGETS, HEADS, MAP_SIZES, SIZE)
    assert (coarse.anchor.tolist(), coarse.row.tolist(), coarse.column.tolist()) == ([0, 1], [0, 0], [1, 1])
    assert coarse.labels.tolist() == [2, 2]
    assert (fine.anchor.tolist(), fine.row.tolist(), fine.column.tolist()) == ([0, 1], [0, 0], [0, 0])
    assert fine.labels.tolist() == [1, 1]
    assert fine.image.tolist() == [0, 0]


def test_the_best_anchor_answers_even_below_the_threshold() -> None:
    coarse, fine = assign(TARGETS, HEADS, MAP_SIZES, SIZE, threshold=1.0)
    assert coarse.anchor.tolist() == [1]
    assert fine.anchor.tolist() == [0]


def test_of_two_boxes_in_one_place_the_better_shape_wins() -> None:
    boxes = torch.tensor([[0.0, 0.0, 12.0, 12.0], [2.0, 1.0, 10.0, 11.0], [1.0, 1.0, 13.0, 13.0]])
    _, fine = assign([(boxes, torch.tensor([0, 1, 2]))], HEADS, MAP_SIZES, SIZE)
    winners = dict(zip(fine.anchor.tolist(), fine.labels.tolist(), strict=True))
    assert winners == {0: 1, 1: 0}  # 8 x 10 fits exactly; of the two 12 x 12 the first has the other anchor
    assert len(fine) == 2


def test_neighbours_answer_where_their_reach_includes_the_centre() -> None:
    heads = tuple(replace(head, scale_x_y=2.0) for head in HEADS)
    centre = (16 + 4, 16 + 12)  # cell (1, 1) of the fine map, nearer to the left and to the lower neighbour
    box = torch.tensor([[centre[0] - 4.0, centre[1] - 5.0, centre[0] + 4.0, centre[1] + 5.0]])
    _, fine = assign([(box, torch.tensor([0]))], heads, MAP_SIZES, SIZE, threshold=0.5)
    assert sorted(zip(fine.row.tolist(), fine.column.tolist(), strict=True)) == [(1, 0), (1, 1), (2, 1)]


def test_neighbours_outside_the_map_are_left_out() -> None:
    heads = tuple(replace(head, scale_x_y=2.0) for head in HEADS)
    _, fine = assign(
        [(torch.tensor([[0.0, 0.0, 8.0, 10.0]]), torch.tensor([0]))], heads, MAP_SIZES, SIZE, threshold=0.5
    )
    assert list(zip(fine.row.tolist(), fine.column.tolist(), strict=True)) == [(0, 0)]


def test_golden_loss() -> None:
    """All maps zero: every probability is 1/2, every box is an anchor in the middle of its cell."""
    loss = YoloLoss(HEADS, SIZE, box_gain=2.0, objectness_gain=3.0, class_gain=5.0)(empty_maps(0.0), TARGETS)
    positives = 4
    places = 2 * 2 * (2 * 3 + 4 * 6)
    assert loss["class"].item() == pytest.approx(5 * positives * 3 * math.log(2) / positives)
    assert loss["objectness"].item() == pytest.approx(3 * places * math.log(2) / positives)
    guesses = [(48, 16, 40, 30, 1), (48, 16, 60, 50, 1), (8, 8, 8, 10, 0), (8, 8, 20, 16, 0)]
    ciou = [ciou_by_hand((x - w / 2, y - h / 2, x + w / 2, y + h / 2), BOXES[k].tolist()) for x, y, w, h, k in guesses]
    tether = sum(
        max(0, abs(math.log(side / float(BOXES[k, i + 2] - BOXES[k, i]))) - 1)
        for *_, w, h, k in guesses
        for i, side in ((0, w), (1, h))
    )
    assert loss["box"].item() == pytest.approx(2 * (sum(1 - value for value in ciou) + tether) / positives)
    assert loss["total"].item() == pytest.approx(sum(loss[name].item() for name in ("box", "objectness", "class")))


def ciou_by_hand(a: tuple[float, ...], b: list[float]) -> float:
    """Zheng et al. 2020, eq. 10."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    (aw, ah), (bw, bh) = ((box[2] - box[0], box[3] - box[1]) for box in (a, b))
    iou = shared / (aw * ah + bw * bh - shared)
    apart = sum(((a[i] + a[i + 2]) - (b[i] + b[i + 2])) ** 2 / 4 for i in (0, 1))
    diagonal = sum((max(a[i + 2], b[i + 2]) - min(a[i], b[i])) ** 2 for i in (0, 1))
    v = 4 / math.pi**2 * (math.atan(bw / bh) - math.atan(aw / ah)) ** 2
    return iou - apart / diagonal - v * v / (1 - iou + v)


def test_a_good_box_that_is_not_assigned_is_ignored() -> None:
    head = YoloHead("yolo", ((16.0, 16.0), (15.0, 16.0)), 1)
    truth = [(torch.tensor([[8.0, 8.0, 24.0, 24.0]]), torch.tensor([0]))]
    maps = [torch.zeros(1, 12, 1, 1, dtype=torch.float64)]
    places = {
        threshold: YoloLoss((head,), (32, 32), assign_threshold=1.0, ignore_threshold=threshold)(maps, truth)[
            "objectness"
        ]
        for threshold in (0.9, 0.95)  # the 15 x 16 anchor overlaps the truth by 0.9375
    }
    assert places[0.9].item() == pytest.approx(math.log(2))
    assert places[0.95].item() == pytest.approx(2 * math.log(2))


def test_no_boxes_at_all_cost_only_objectness() -> None:
    none = [(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))] * 2
    maps = [raw.requires_grad_() for raw in empty_maps(0.0)]
    loss = YoloLoss(HEADS, SIZE)(maps, none)
    assert (loss["box"].item(), loss["class"].item()) == (0.0, 0.0)
    assert loss["objectness"].item() == pytest.approx(120 * math.log(2))
    loss["total"].backward()
    assert all(raw.grad is not None and raw.grad.isfinite().all() for raw in maps)


def test_objectness_can_follow_the_overlap() -> None:
    head = YoloHead("yolo", ((16.0, 32.0),), 1)
    truth = [(torch.tensor([[8.0, 0.0, 24.0, 32.0]]), torch.tensor([0]))]
    maps = [torch.zeros(1, 6, 1, 1, dtype=torch.float64)]
    maps[0][0, 2] = math.log(0.5)  # half as wide: CIoU = 0.5 - v^2 / (0.5 + v)
    fit = ciou_by_hand((12, 0, 20, 32), [8, 0, 24, 32])
    maps[0][0, 4] = 2.0
    loss = YoloLoss((head,), (32, 32), iou_objectness=1.0)(maps, truth)["objectness"]
    expected = F.binary_cross_entropy_with_logits(torch.tensor(2.0), torch.tensor(fit))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_label_smoothing_moves_the_targets() -> None:
    maps = encoded_maps(HEADS)
    loss = YoloLoss(HEADS, SIZE, label_smoothing=0.1)(maps, TARGETS)["class"]
    assert loss.item() == pytest.approx(3 * 0.05 * LARGE)


@pytest.mark.parametrize("heads", variants(), ids=["yolo", "new_coords", "region"])
def test_gradients_of_objectness_and_class(heads: tuple[YoloHead, ...]) -> None:
    """The box term is checked apart: CIoU holds its trade-off factor fixed, which a numeric gradient does not."""
    maps = [(0.2 + 0.6 * torch.rand_like(raw)).requires_grad_() for raw in empty_maps(0.0, heads=heads)]
    criterion = YoloLoss(heads, SIZE, box_gain=0.0, label_smoothing=0.1)
    assert torch.autograd.gradcheck(lambda *raw: criterion(raw, TARGETS)["total"], maps, fast_mode=True)


def test_gradients_of_the_box() -> None:
    """Where the guess has the truth's shape the trade-off factor is 0 to second order, so gradients must agree."""
    head = YoloHead("yolo", ((16.0, 24.0),), 1)
    truth = [(torch.tensor([[9.0, 5.0, 25.0, 29.0]]), torch.tensor([0]))]
    raw = torch.tensor([0.3, -0.4, 0.1, 0.1, 0.0, 0.0], dtype=torch.float64).view(1, 6, 1, 1).requires_grad_()
    criterion = YoloLoss((head,), (32, 32), objectness_gain=0.0, class_gain=0.0)
    assert criterion([raw], truth)["total"].item() > 0.1
    assert torch.autograd.gradcheck(lambda value: criterion([value], truth)["total"], (raw,))


def test_boxes_of_no_size_give_finite_gradients() -> None:
    maps = [raw.requires_grad_() for raw in empty_maps(-500.0)]
    loss = YoloLoss(HEADS, SIZE)(maps, TARGETS)["total"]
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(raw.grad is not None and raw.grad.isfinite().all() for raw in maps)


def test_a_box_that_is_far_too_large_is_pulled_back() -> None:
    """Without the tether CIoU would let it grow: its distance term falls as the box does."""
    head = YoloHead("yolo", ((8.0, 8.0),), 1)
    truth = [(torch.tensor([[2.0, 2.0, 10.0, 10.0]]), torch.tensor([0]))]
    raw = torch.tensor([3.0, 3.0, 4.0, 4.0, 0.0, 0.0], dtype=torch.float64).view(1, 6, 1, 1).requires_grad_()
    loss = YoloLoss((head,), (64, 64), box_gain=1.0)([raw], truth)["box"]
    loss.backward()
    assert loss.item() == pytest.approx(2 * 3 + 1.0, abs=0.1)  # e^4 times as wide and as high: 3 over the limit each
    assert raw.grad is not None
    assert (raw.grad[0, 2:4] > 0.9).all()


def test_descent_finds_the_truth() -> None:
    maps = [raw.float().requires_grad_() for raw in empty_maps(0.0)]
    optimizer = torch.optim.Adam(maps, lr=0.1)
    criterion = YoloLoss(HEADS, SIZE)
    for _ in range(300):
        optimizer.zero_grad()
        criterion(maps, TARGETS)["total"].backward()
        optimizer.step()
    boxes, scores = decode([raw.detach() for raw in maps], HEADS, SIZE)
    best = scores[0].argmax(dim=0)[LABELS]
    assert (boxes[0][best] - BOXES).abs().max() < 0.5
    assert (scores[0][best, LABELS] > 0.9).all()


def test_bad_targets_and_maps_are_named() -> None:
    criterion = YoloLoss(HEADS, SIZE)
    maps = empty_maps(0.0, batch=1)
    with pytest.raises(TrainingError, match=r"label 3 in the data; the model has classes 0 to 2"):
        criterion(maps, [(BOXES, torch.tensor([1, 3]))])
    with pytest.raises(TrainingError, match=r"no area: \[4.0, 8.0, 4.0, 19.0\]; expected x1 < x2 and y1 < y2"):
        criterion(maps, [(torch.tensor([[4.0, 8.0, 4.0, 19.0]]), torch.tensor([1]))])
    with pytest.raises(ShapeError, match=r"map 0 is of 1 pictures; the targets are of 2"):
        criterion(maps, TARGETS)
    with pytest.raises(ShapeError, match=r"1 maps; its task describes 2 heads"):
        criterion(maps[:1], [TARGETS[0]])
    with pytest.raises(ShapeError, match=r"map 1 has shape \(1, 15, 4, 6\)"):
        criterion([maps[0], maps[1][:, :15]], [TARGETS[0]])
