"""Widths at which a network is timed, spread so that every layer is met wide and narrow in many combinations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def width_samples(
    num_channels: Sequence[int],
    count: int,
    *,
    steps: Sequence[int] | None = None,
    equal: Sequence[Sequence[int]] = (),
    lowest: float = 0.12,
    seed: int = 0,
) -> list[tuple[int, ...]]:
    """Draws widths for each group as a Latin hypercube over the fraction kept; the first sample is the full width.

    Args:
        num_channels: Channels of each group.
        count: Samples, the full width included.
        steps: Multiple that the widths of each group are of, where it is wide enough; 1 if not given.
        equal: Sets of groups that keep equal numbers.
        lowest: The smallest fraction kept.
        seed: Of the draw.

    Returns:
        For each sample the number that each group keeps, at least 1.

    Examples:
        >>> width_samples([8, 64], 3, steps=[4, 8])
        [(8, 64), (4, 8), (4, 56)]
    """
    random = np.random.default_rng(seed)
    sizes = np.asarray(num_channels, dtype=np.int64)
    multiples = np.ones(len(sizes), dtype=np.int64) if steps is None else np.asarray(steps, dtype=np.int64)
    leader = np.arange(len(sizes))
    for numbers in equal:
        leader[list(numbers)] = min(numbers)
    slots = np.array([random.permutation(count - 1) for _ in sizes]).reshape(len(sizes), count - 1).T
    fractions = lowest + (1.0 - lowest) * (slots + random.random(slots.shape)) / max(count - 1, 1)
    samples = [tuple(sizes.tolist())]
    for row in fractions:
        wanted = np.round(row[leader] * sizes / multiples) * multiples
        least = np.minimum(multiples, sizes)
        samples.append(tuple(np.clip(wanted, least, sizes).astype(np.int64).tolist()))
    return samples
