"""How far two ways to run one model are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sapwood.errors import CheckFailedError

FLOAT32_TOLERANCE = 1e-4
"""The largest difference allowed, as a fraction of the largest output.

Kernels sum in other orders and fold BatchNorm into weights, so that every layer rounds anew by some 2^-24 = 6e-8; a
hundred layers, each with a few roundings that do not average out, stay below 1e-4, and a wrong weight, axis or
padding does not.
"""


def relative_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Returns the largest difference over the largest output; infinite where number, shapes or NaNs differ.

    Examples:
        >>> relative_error([torch.tensor([1.0, 4.0])], [torch.tensor([1.0, 5.0])])
        0.2
        >>> relative_error([torch.zeros(2)], [torch.zeros(3)])
        inf
    """
    if len(found) != len(wanted) or any(one.shape != two.shape for one, two in zip(found, wanted, strict=True)):
        return float("inf")
    worst = largest = 0.0
    for one, two in zip(found, wanted, strict=True):
        if two.numel():
            difference = (one.double() - two.double()).abs()
            same = (one == two) | (one.isnan() & two.isnan())
            worst = max(worst, float(torch.where(same, 0.0, difference).nan_to_num(nan=float("inf")).max()))
            largest = max(largest, float(two.double().abs().nan_to_num(posinf=0.0).max()))
    return worst / largest if largest else worst


def check_compared(what: str, wanted: Sequence[Tensor]) -> None:
    """Checks that there is something to compare with.

    Raises:
        CheckFailedError: If no value of ``wanted`` is finite: results that are NaN, infinite or empty are equal to
            anything that went as wrong.

    Examples:
        >>> check_compared("net.onnx", [torch.tensor([float("nan"), 1.0])])
        >>> check_compared("net.onnx", [torch.tensor([float("nan")]), torch.zeros(0)])
        Traceback (most recent call last):
        ...
        sapwood.errors.CheckFailedError: net.onnx: nothing was compared: none of the 1 values that the PyTorch model \
returns is finite; expected example inputs for which some are
    """
    if not any(bool(tensor.isfinite().any()) for tensor in wanted):
        count = sum(tensor.numel() for tensor in wanted)
        raise CheckFailedError(
            f"{what}: nothing was compared: none of the {count} values that the PyTorch model returns is finite; "
            "expected example inputs for which some are"
        )


def check_equal(
    what: str, found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float = FLOAT32_TOLERANCE
) -> float:
    """Returns the relative error of ``found``.

    Args:
        what: What gave ``found``, for the message.
        found: Its outputs.
        wanted: Those of the model.
        tolerance: The most that may be found, of the largest output.

    Raises:
        CheckFailedError: If it is larger, or nothing was compared.
    """
    check_compared(what, wanted)
    return check_close(what, found, wanted, tolerance)


def check_close(what: str, found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> float:
    """Does what :func:`check_equal` does, for results of which some were compared in another run.

    Raises:
        CheckFailedError: If the error is larger.
    """
    error = relative_error(found, wanted)
    if not error <= tolerance:
        raise CheckFailedError(
            f"{what} differs from the PyTorch model by {error:.1e} of the largest output; expected at most "
            f"{tolerance:.0e}"
        )
    return error
