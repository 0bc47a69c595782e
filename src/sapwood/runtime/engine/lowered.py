"""A network in the engine's terms, with what it is called with and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils._pytree import TreeSpec

from sapwood.runtime.engine.nodes import Network


@dataclass(frozen=True)
class Lowered:
    """What a model is before it is planned for a machine.

    Attributes:
        network: Its nodes.
        shapes: Of its inputs, without the batch.
        form: Of what it returns.
        constants: What it returns besides tensors, by the place among all it returns.
    """

    network: Network
    shapes: tuple[tuple[int, ...], ...]
    form: TreeSpec
    constants: Mapping[int, Any]
