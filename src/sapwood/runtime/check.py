"""A conversion that gives other results than the model must not be timed."""

from __future__ import annotations

from torch import nn

from sapwood.export import FLOAT32_TOLERANCE, check_equal, run_flat
from sapwood.runtime.base import Session
from sapwood.types import ExampleInputs


def check_session(
    session: Session, model: nn.Module, example_inputs: ExampleInputs, *, tolerance: float = FLOAT32_TOLERANCE
) -> float:
    """Compares one run of a session with one of the model.

    Args:
        session: What a runtime made of ``model``.
        model: Run in evaluation mode, and as before afterwards.
        example_inputs: Those that the session was loaded with.
        tolerance: The largest difference allowed, of the largest output.

    Returns:
        The largest difference over the largest output.

    Raises:
        CheckFailedError: If it is beyond ``tolerance``.

    Examples:
        >>> from sapwood.runtime import RUNTIMES
        >>> import torch
        >>> model, inputs = nn.Linear(3, 2), torch.ones(1, 3)
        >>> check_session(RUNTIMES["torch"].load(model, inputs, threads=1), model, inputs)
        0.0
    """
    return check_equal("the loaded model", session.outputs(), run_flat(model, example_inputs), tolerance)
