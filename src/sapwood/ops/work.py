"""The work of products, for PyTorch's counter, which knows few of them: from their facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from sapwood.ops.facts import FACTS, Sum


def flop_formulas() -> dict[Any, Callable[..., int]]:
    """The floating-point operations of a call from the shapes of its arguments, two a multiply-accumulate.

    Returns:
        By operator, as :class:`torch.utils.flop_counter.FlopCounterMode` takes them: of every matrix product and
        attention, whether the counter has a formula or not (for attention on the CPU it depends on the release).
        Convolutions are left to the counter.

    Examples:
        >>> flop_formulas()[torch.ops.aten.mm]((2, 3), (3, 5))
        60
    """
    sums = {name: facts.sum for name, facts in FACTS.items() if facts.sum and not facts.is_convolution}
    packets = {name: _packet(name) for name in sums}
    return {packets[name]: _formula(found) for name, found in sums.items() if packets[name] is not None}


def _packet(name: str) -> Any:
    """The operator, or None where this PyTorch has none of the name."""
    library, _, plain = name.partition(".")
    return getattr(getattr(torch.ops, library), plain, None)


def _formula(found: Sum) -> Callable[..., int]:
    def flops(*shapes: Sequence[int], **_: Any) -> int:
        return 2 * sum(map(prod, found.products(shapes)))

    def deformed(*shapes: Sequence[int], out_shape: Sequence[int], **_: Any) -> int:
        return 2 * prod(out_shape) * prod(shapes[found.weight][1:])

    return deformed if found.kind == "deformed" else flops
