"""Whether a model's answer to one picture depends on the other pictures of its batch, which the engine runs one by one.

So it is where BatchNorms keep no statistics, rows are compared with each other, or means are taken over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sapwood.runtime.engine.confirmed import confirm, confirmation_key, is_confirmed

ROW_TOLERANCE = 1e-3
"""How far results may be from those in a batch, as a fraction of the largest: kernels differ by rounding."""


def all_in_rows(outputs: Sequence[tuple[int, Sequence[int]]]) -> bool:
    """Whether every output of a run on one picture has a row for it.

    Examples:
        >>> all_in_rows([(0, (1, 5))]), all_in_rows([(0, (1, 5)), (1, ())])
        (True, False)
    """
    return all(tuple(shape[:1]) == (1,) for _, shape in outputs)


def mixes_batches(model: nn.Module, examples: Sequence[Tensor], run: str | None) -> bool:
    """Runs a picture alone and beside another one; what came out before for the same calls and numbers is remembered.

    A model that does not take two has nothing to compare with.

    Args:
        model: In evaluation mode.
        examples: What it is called with. The second picture is theirs, or is drawn.
        run: The hash of its recorded run, if it has one.
    """
    one = [example[:1] for example in examples]
    key = confirmation_key(run, examples, ["batches"])
    answers = {True: f"{key}, in batches", False: f"{key}, in rows"}
    found = next((found for found, answer in answers.items() if key is not None and is_confirmed(answer)), None)
    if found is None:
        found = _mixes(model, one, [torch.cat(pair) for pair in zip(one, _others(examples), strict=True)])
        confirm(None if key is None else answers[found])
    return found


def _others(examples: Sequence[Tensor]) -> list[Tensor]:
    from sapwood.export import random_like

    if all(len(example) > 1 for example in examples):
        return [example[1:2] for example in examples]
    generator = torch.Generator().manual_seed(0)
    return [random_like(example[:1], generator) for example in examples]


def _mixes(model: nn.Module, one: Sequence[Tensor], both: Sequence[Tensor]) -> bool:
    with torch.no_grad():
        alone = tree_leaves(model(*one))
        try:
            together = tree_leaves(model(*both))
        except Exception:  # whatever a model says of two
            return False
    pairs = [pair for pair in zip(alone, together, strict=True) if isinstance(pair[0], Tensor)]
    return not all(other.shape == (2, *own.shape[1:]) and _near(own, other[:1]) for own, other in pairs)


def _near(own: Tensor, other: Tensor) -> bool:
    """Whether results are the same; whole numbers are choices between values that may be almost equal."""
    if not own.is_floating_point() or not own.numel():
        return True
    finite = own[own.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 1.0
    apart = ROW_TOLERANCE * largest
    return torch.allclose(own.double(), other.double(), rtol=ROW_TOLERANCE, atol=apart, equal_nan=True)
