"""Formulas of float64 that are quicker than PyTorch's kernels, against these kernels."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from sapwood.ops import doubles, made_sooner

CONVOLUTION = torch.ops.aten.convolution.default
EXACT = 1e-14


@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation", "bias"),
    [
        *itertools.product([(3, 3), (5, 2)], [(1, 1), (2, 3)], [(0, 0), (2, 1)], [(1, 1), (2, 1)], [False, True]),
        ((7, 7), (1, 1), (3, 3), (1, 1), True),
    ],
)
def test_channels_that_are_groups_are_convolved_as_pytorch_does(window, stride, padding, dilation, bias) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, 11, 12).double(), torch.randn(6, 1, *window).double()
    added = torch.randn(6).double() if bias else None
    found = made_sooner(CONVOLUTION, (x, weight, added, [*stride], [*padding], [*dilation], False, [0, 0], 6))
    wanted = F.conv2d(x, weight, added, stride, padding, dilation, 6)
    assert found is not None
    assert found.stride() == wanted.stride()
    torch.testing.assert_close(found, wanted, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "dilation"),
    [
        *itertools.product(
            [(9, 7), (5, 12)], [(3, 3), (1, 3), (5, 1)], [(1, 1), (3, 2)], [(0, 0), (2, 1)], [(1, 1), (2, 1)]
        ),
        ((16, 5), (2, 4), (2, 1), (2, 0), (1, 1)),
    ],
)
def test_large_maps_are_convolved_in_strips(size, window, stride, padding, dilation) -> None:
    """A strip is a few rows here, some of which lie outside of the map."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, *size).double(), torch.randn(4, 3, *window).double()
    added = torch.randn(4).double() if window == (3, 3) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubles, "COLUMNS", 60)
        found = made_sooner(CONVOLUTION, (x, weight, added, [*stride], [*padding], [*dilation], False, [0, 0], 1))
    if (size[0] + 2 * padding[0] - dilation[0] * (window[0] - 1)) < 1:  # no window fits
        assert found is None
        return
    assert found is not None
    torch.testing.assert_close(found, F.conv2d(x, weight, added, stride, padding, dilation), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("size", [(2, 6, 9, 8), (1, 6, 2, 2), (3, 6, 1, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_channels_that_lie_side_by_side_do_in_the_result(size: tuple[int, ...], bias: bool) -> None:
    x = torch.randn(size, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    weight, added = torch.randn(6, 1, 3, 3, dtype=torch.float64), torch.randn(6, dtype=torch.float64) if bias else None
    found = made_sooner(CONVOLUTION, (x, weight, added, [1, 1], [1, 1], [1, 1], False, [0, 0], 6))
    wanted = torch.conv2d(x, weight, added, 1, 1, 1, 6)
    assert found is not None
    torch.testing.assert_close(found, wanted, rtol=EXACT, atol=EXACT)
    assert found.stride() == wanted.stride() == wanted.contiguous(memory_format=torch.channels_last).stride()


@pytest.mark.parametrize("groups", [1, 4])
def test_one_number_stands_for_both_directions(groups: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 9, 7).double(), torch.randn(4, 4 // groups, 3, 3).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubles, "COLUMNS", 60)
        found = made_sooner(CONVOLUTION, (x, weight, None, [2], [0], [1], False, [0], groups))
    assert found is not None
    torch.testing.assert_close(found, F.conv2d(x, weight, None, 2, "valid", 1, groups), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(
    ("x", "weight", "groups", "transposed"),
    [
        (torch.ones(1, 4, 5, 5), torch.ones(4, 1, 3, 3), 4, False),
        (torch.ones(1, 4, 5, 5).double(), torch.ones(8, 1, 3, 3).double(), 4, False),
        (torch.ones(1, 4, 5, 5).double(), torch.ones(4, 2, 3, 3).double(), 2, False),
        (torch.ones(1, 4, 5, 5).double(), torch.ones(4, 1, 3, 3).double(), 4, True),
        (torch.ones(1, 4, 2, 2).double(), torch.ones(4, 1, 3, 3).double(), 4, False),
        (torch.ones(1, 4, 9, 9).double(), torch.ones(4, 1, 8, 8).double(), 4, False),
        (torch.ones(1, 4, 9, 9).double(), torch.ones(4, 4, 3, 3).double(), 1, False),
        (
            torch.ones(1, 8, 400, 400).double().contiguous(memory_format=torch.channels_last),
            torch.ones(4, 8, 3, 3).double(),
            1,
            False,
        ),
        (torch.ones(1, 4, 5, 10).double()[..., ::2], torch.ones(4, 1, 3, 3).double(), 4, False),
    ],
    ids=[
        "float32",
        "more filters",
        "wider groups",
        "transposed",
        "too small",
        "large windows",
        "few positions",
        "channels last in one group",
        "every second column",
    ],
)
def test_what_the_formula_is_not_for_is_left_to_pytorch(x, weight, groups, transposed) -> None:
    assert made_sooner(CONVOLUTION, (x, weight, None, [1, 1], [0, 0], [1, 1], transposed, [0, 0], groups)) is None
