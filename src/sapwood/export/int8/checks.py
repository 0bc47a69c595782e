"""What a quantised file has to hold: scales that are numbers, and zeros where the weights had them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sapwood.errors import CheckFailedError

Values = np.ndarray[tuple[int, ...], np.dtype[np.floating]]


def check_scales(scales: Iterable[tuple[str, Values]]) -> None:
    """Checks that every scale can be multiplied by.

    Args:
        scales: The name of each and its values.

    Raises:
        CheckFailedError: If one is infinite, NaN or not above zero: the file would compute, and nothing of it would be
            true.

    Examples:
        >>> check_scales([("conv", np.array([0.5, 0.1]))])
        >>> check_scales([("pool", np.array([np.inf]))])
        Traceback (most recent call last):
        ...
        sapwood.errors.CheckFailedError: the int8 file is refused: the scale pool is inf; expected a finite number \
above 0. Leave the layer in float32 with --int8-ignore
    """
    for name, values in scales:
        bad = values[~(np.isfinite(values) & (values > 0))]
        if bad.size:
            raise CheckFailedError(
                f"the int8 file is refused: the scale {name} is {bad.reshape(-1)[0]}; expected a finite number above "
                "0. Leave the layer in float32 with --int8-ignore"
            )


COARSEST = 1 / 32
"""How far a weight of 7 bits may be from its value, as a share of its layer's largest one: half a step is 1/126."""


def check_weights(weights: Iterable[tuple[str, Values, Values]]) -> int:
    """Checks that weights are near what they were, and that zeros stayed zeros.

    Args:
        weights: The name of each, its values in float32 and in the quantised file.

    Returns:
        How many zeros there are.

    Raises:
        CheckFailedError: If a weight that was zero no longer is, or one is farther off than integers explain, as where
            all are too small for a quantiser.

    Examples:
        >>> check_weights([("conv", np.array([0.0, 1.0]), np.array([0.0, 0.995]))])
        1
        >>> check_weights([("conv", np.array([0.0, 1e-20]), np.array([0.0, 0.0]))])
        Traceback (most recent call last):
        ...
        sapwood.errors.CheckFailedError: the int8 file is refused: a weight of conv is off by 1e-20, where the largest \
is 1e-20; leave the layer in float32 with --int8-ignore
    """
    count = 0
    for name, before, after in weights:
        count += check_zeros([(name, before, after)])
        largest, off = (float(np.abs(values).max(initial=0.0)) for values in (before, after - before))
        if not off <= COARSEST * largest:
            raise CheckFailedError(
                f"the int8 file is refused: a weight of {name} is off by {off:.3g}, where the largest is "
                f"{largest:.3g}; leave the layer in float32 with --int8-ignore"
            )
    return count


def check_zeros(weights: Iterable[tuple[str, Values, Values]]) -> int:
    """Checks that zeros stayed zeros.

    Args:
        weights: The name of each, its values in float32 and in the quantised file.

    Returns:
        How many there are.

    Raises:
        CheckFailedError: If a weight that was zero no longer is.

    Examples:
        >>> check_zeros([("conv", np.array([0.0, 1.0]), np.array([0.0, 0.9]))])
        1
        >>> check_zeros([("conv", np.array([0.0, 1.0]), np.array([0.1, 0.9]))])
        Traceback (most recent call last):
        ...
        sapwood.errors.CheckFailedError: the int8 file is refused: 1 of 1 zeros of conv are not zero any more
    """
    count = 0
    for name, before, after in weights:
        zeros = before == 0
        lost = int((after[zeros] != 0).sum())
        if lost:
            raise CheckFailedError(
                f"the int8 file is refused: {lost} of {int(zeros.sum())} zeros of {name} are not zero any more"
            )
        count += int(zeros.sum())
    return count


def output_error(
    found: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
    wanted: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> float:
    """The squared error of each output over its squares, summed: how far a network's results are from float32.

    Examples:
        >>> output_error([np.array([1.0, 3.0])], [np.array([1.0, 2.0])])
        0.2
    """
    return sum(
        float(((one - two) ** 2).sum() / max(float((two**2).sum()), 1e-30))
        for one, two in zip(found, wanted, strict=True)
    )
