"""What it costs that a width is no multiple of enough: from times at many widths to a figure a multiple."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MULTIPLES = (1, 2, 4, 8, 16)
"""The multiples that are told apart: vector kernels take at most 16 numbers at a time."""

WORTH = 0.02
"""A coarser multiple must gain more than this, and than the clock's own error, for it leaves less choice."""


def multiple_of(width: int) -> int:
    """The largest of :data:`MULTIPLES` that a width is a multiple of.

    Examples:
        >>> [multiple_of(width) for width in (64, 56, 63, 36)]
        [16, 8, 1, 4]
    """
    return max(multiple for multiple in MULTIPLES if width % multiple == 0)


def uneven_width(size: int, multiple: int, fraction: float) -> int:
    """The width nearest to a fraction of ``size`` that is a multiple of ``multiple``, and not of twice as much.

    Of a narrow group, to which a multiple would leave fewer than four widths, that of a finer one.

    Examples:
        >>> [uneven_width(64, multiple, 0.75) for multiple in MULTIPLES]
        [49, 50, 52, 40, 48]
        >>> uneven_width(16, 16, 0.5), uneven_width(3, 8, 0.5)
        (4, 1)
    """
    while multiple > 1 and size < 4 * multiple:
        multiple //= 2
    odd = max(0, round((fraction * size / multiple - 1) / 2)) * 2 + 1
    return min(odd * multiple, size)


def relative_times(rows: Sequence[Mapping[int, float]]) -> dict[int, tuple[float, float]]:
    """Times at equal work by multiple, relative to the best one's, each with the standard error of that ratio.

    Args:
        rows: One a set of networks that were timed side by side: multiple -> time over work.

    Examples:
        >>> relative_times([{1: 1.2, 8: 1.0}, {1: 2.4, 8: 2.0}])
        {1: (1.2, 0.0), 8: (1.0, 0.0)}
    """
    logs = np.log([[row[multiple] for multiple in sorted(row)] for row in rows])
    means = logs.mean(axis=0)
    apart = logs - logs[:, [int(means.argmin())]]
    errors = apart.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(len(means))
    ratios = np.exp(apart.mean(axis=0))
    found: dict[int, tuple[float, float]] = {}
    for multiple, ratio, error in zip(sorted(rows[0]), ratios, errors, strict=True):
        found[multiple] = round(float(ratio), 6), round(float(ratio * error), 6)
    return found


def best_multiple(times: Mapping[int, tuple[float, float]]) -> int:
    """The finest multiple that costs no more than :data:`WORTH`, and than the clock's own error, over the best one.

    Examples:
        >>> best_multiple({1: (1.2, 0.01), 4: (1.01, 0.01), 8: (1.0, 0.0), 16: (1.0, 0.01)})
        4
        >>> best_multiple({1: (1.05, 0.06), 8: (1.0, 0.0)})
        1
    """
    return min(multiple for multiple, (ratio, error) in times.items() if ratio <= 1.0 + WORTH + error)


@dataclass(frozen=True)
class WidthEffects:
    """What multiples cost a layer, told apart by what it reads and what it writes.

    Attributes:
        reads: By multiple of the channels read: time at equal work, relative to the best.
        writes: The same of the channels written.
        error: The standard error of such a ratio, as a fraction.
    """

    reads: dict[int, float]
    writes: dict[int, float]
    error: float


def width_effects(times: Sequence[float], reads: Sequence[int], writes: Sequence[int]) -> WidthEffects:
    r"""Splits a layer's times at equal work between what it reads and what it writes.

    .. math:: \log t_i = a + r_{\mathrm{read}_i} + w_{\mathrm{written}_i}

    by least squares; where the runs cannot tell the two apart, each gets the same share. What is left over is
    noise, of which the error of a ratio follows: that of a difference of two means, each of the runs of one multiple.

    Args:
        times: One a run: time over work.
        reads: The multiple of the channels read, in each.
        writes: The multiple of the channels written.

    Examples:
        >>> width_effects([2.0, 1.0, 2.0, 1.0], [1, 8, 1, 8], [1, 1, 8, 8])
        WidthEffects(reads={1: 2.0, 8: 1.0}, writes={1: 1.0, 8: 1.0}, error=0.0)
    """
    kinds = [sorted(set(reads)), sorted(set(writes))]
    columns = [np.ones(len(times))]
    for values, own in zip((reads, writes), kinds, strict=True):
        columns += [np.asarray(values) == multiple for multiple in own]
    matrix = np.stack(columns, axis=1).astype(np.float64)
    logs = np.log(times)
    found, _, rank, _ = np.linalg.lstsq(matrix, logs, rcond=None)
    left = logs - matrix @ found
    spread = float(np.sqrt((left**2).sum() / max(len(times) - int(rank), 1)))
    levels = max(len(own) for own in kinds)
    read, written = found[1 : 1 + len(kinds[0])], found[1 + len(kinds[0]) :]
    error = round(spread * float(np.sqrt(2 * levels / len(times))), 6)
    return WidthEffects(_relative(kinds[0], read), _relative(kinds[1], written), error)


def ratio_and_error(ratios: Sequence[float]) -> tuple[float, float]:
    """The geometric mean of ratios, and its standard error; of a single one the error is not known, and infinite.

    Examples:
        >>> ratio_and_error([1.0, 1.0]), ratio_and_error([2.0])
        ((1.0, 0.0), (2.0, inf))
    """
    logs = np.log(ratios)
    mean = float(np.exp(logs.mean()))
    return mean, mean * float(logs.std(ddof=1) / np.sqrt(len(logs))) if len(logs) > 1 else float("inf")


def told(times: Mapping[int, tuple[float, float]]) -> bool:
    """Whether it is clear which multiples cost more than :data:`WORTH`: each is further from that than its error.

    Examples:
        >>> told({1: (1.2, 0.01), 8: (1.0, 0.0)}), told({1: (1.03, 0.02), 8: (1.0, 0.0)})
        (True, False)
    """
    return all(abs(ratio - 1.0 - WORTH) > error for ratio, error in times.values())


def _relative(multiples: Sequence[int], logs: np.ndarray) -> dict[int, float]:
    ratios = np.exp(logs - logs.min())
    return {multiple: round(float(ratio), 6) for multiple, ratio in zip(multiples, ratios, strict=True)}
