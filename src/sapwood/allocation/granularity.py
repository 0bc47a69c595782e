"""Numbers of channels that vector kernels like."""

from __future__ import annotations

VECTOR = 8
"""Runtimes keep maps in blocks of 8 or 16 channels; other widths cost padding, or another layout."""


def vector_step(num_channels: int, most: int = VECTOR) -> int:
    """The multiple that widths of a group should be of: finer for narrow groups, which would have no choice otherwise.

    Args:
        num_channels: In the group.
        most: The multiple that those of a wide one should be of, a power of two.

    Examples:
        >>> [vector_step(count) for count in (512, 16, 12, 8, 5)]
        [8, 8, 4, 4, 2]
    """
    step = most
    while step > 1 and num_channels < 2 * step:
        step //= 2
    return max(step, 1)
