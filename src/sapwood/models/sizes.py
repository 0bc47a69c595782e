"""How large a network would be, counted before any of its memory is asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sapwood.errors import SpecError
from sapwood.limits import check_limit


def check_size(make: Callable[[], nn.Module], where: str) -> nn.Module | None:
    """Refuses a network whose parameters and buffers are more than the limit ``network_bytes``.

    Args:
        make: Builds it; called on the ``meta`` device, where nothing is allocated. What fails there (code that looks at
            values) is not counted.
        where: Who asks for it, for the message.

    Returns:
        The network on the ``meta`` device, for its names and shapes; None where its code fails there.

    Raises:
        SpecError: If it is larger.

    Examples:
        >>> check_size(lambda: nn.Linear(10**6, 10**6), "plan.json")
        Traceback (most recent call last):
        ...
        sapwood.errors.SpecError: plan.json: asks for 4,000,004,000,000 bytes of the parameters, or of the maps for \
one picture, of a network; expected at most 8,589,934,592 (SAPWOOD_MAX_NETWORK_BYTES raises the limit)
    """
    try:
        with torch.device("meta"):
            bones = make()
    except Exception:  # whatever a network's own code does without values
        return None
    tensors = [*bones.parameters(), *bones.buffers()]
    check_limit("network_bytes", sum(tensor.numel() * tensor.element_size() for tensor in tensors), where, SpecError)
    return bones
