"""From the raw outputs of a detector without anchors to boxes and class scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sapwood.errors import ShapeError
from sapwood.types import AnchorFreeHead


def head_of(heads: Sequence[object]) -> AnchorFreeHead | None:
    """The head of a detector that has no anchors."""
    return next((head for head in heads if isinstance(head, AnchorFreeHead)), None)


def decode(
    outputs: Sequence[Tensor],  # shapes: (B, 4 * bins, N), (B, classes, N)
    head: AnchorFreeHead,
    input_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:  # shapes: (B, N, 4), (B, N, classes)
    r"""Decodes every place.

    .. math::
        b_{1,2} = s\,(c + \tfrac12 \mp d), \quad d = \sum_k k\, \mathrm{softmax}(t)_k, \quad
        \mathrm{score}_k = \sigma(t_k)

    with stride s, cell c and the distances d to the left and upper, then to the right and lower side.

    Args:
        outputs: As the model returns them.
        head: How they are read.
        input_size: (height, width) of the network's input in pixels.

    Returns:
        Boxes x1, y1, x2, y2 in input pixels, not clipped, and the score of every class.

    Raises:
        ShapeError: If the outputs do not fit head and input size.

    Examples:
        >>> head = AnchorFreeHead(1, strides=(8,), bins=1)
        >>> boxes, scores = decode([torch.ones(1, 4, 4), torch.zeros(1, 1, 4)], head, (16, 16))
        >>> boxes[0, 3].tolist(), scores[0, 3].tolist()
        ([4.0, 4.0, 20.0, 20.0], [0.5])

    References:
        Li et al., Generalized Focal Loss, 2020, arXiv:2006.04388, section 3.2 (distances as distributions).
    """
    check(outputs, head, input_size)
    distances, logits = outputs
    places = torch.arange(distances.shape[2], device=distances.device)
    return boxes_at(distances.transpose(1, 2), places, head, input_size), logits.transpose(1, 2).sigmoid()


def boxes_at(
    rows: Tensor,  # shape: (*batch, M, 4 * bins)
    places: Tensor,  # shape: (M,)
    head: AnchorFreeHead,
    input_size: tuple[int, int],
) -> Tensor:  # shape: (*batch, M, 4)
    """Decodes the boxes of M places; the arguments are those of :func:`decode`."""
    distances = rows.reshape(*rows.shape[:-1], 4, head.bins)
    if head.bins > 1:
        distances = distances.softmax(-1) @ torch.arange(head.bins, dtype=rows.dtype, device=rows.device)
    else:
        distances = distances.squeeze(-1)
    centre, stride = (values.to(rows)[places] for values in _grid(head, input_size))
    near, far = centre - distances[..., :2], centre + distances[..., 2:]
    return torch.cat((near, far), -1) * stride


def check(outputs: Sequence[Tensor], head: AnchorFreeHead, input_size: tuple[int, int]) -> None:
    """Checks that outputs are what a head reads.

    Raises:
        ShapeError: If not; the message says what was wanted.
    """
    count = sum(rows * columns for rows, columns in _sizes(head, input_size))
    wanted = [(4 * head.bins, count), (head.num_classes, count)]
    found = [tuple(output.shape[1:]) for output in outputs]
    if found != wanted or any(output.ndim != 3 for output in outputs):
        raise ShapeError(
            f"the model returned tensors of shapes {[tuple(output.shape) for output in outputs]}; expected "
            f"(B, {wanted[0][0]}, {count}), distances of {count} places, and (B, {wanted[1][0]}, {count}), classes"
        )


def _sizes(head: AnchorFreeHead, input_size: tuple[int, int]) -> list[tuple[int, int]]:
    """(rows, columns) of each map: convolutions of stride 2 round up."""
    return [(-(-input_size[0] // stride), -(-input_size[1] // stride)) for stride in head.strides]


def _grid(head: AnchorFreeHead, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:  # shapes: (N, 2), (N, 1)
    """The centre of every place in cells, x before y, and its stride."""
    centres, strides = [], []
    for stride, (rows, columns) in zip(head.strides, _sizes(head, input_size), strict=True):
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres.append(torch.stack((column, row), -1).flatten(0, 1) + 0.5)
        strides.append(torch.full((rows * columns, 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)
