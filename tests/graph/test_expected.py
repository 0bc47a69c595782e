"""Which dimensions of parameters are said to stay whole, and which nobody asks about."""

from __future__ import annotations

import pytest

from sapwood.ops import NEVER_CHANNELS, is_expected


@pytest.mark.parametrize("reason", [NEVER_CHANNELS, "is a position of aten.convolution in module ''"])
def test_kernels_and_maps_behind_channels_are_expected_and_what_stands_in_front_is_told(reason: str) -> None:
    """Queries that are places on a map stand in the first dimension of a parameter (Deformable DETR)."""
    assert [is_expected(reason, dim) for dim in range(4)] == [False, False, True, True]
