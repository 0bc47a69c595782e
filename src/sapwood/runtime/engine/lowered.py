"""A network in the engine's terms, with what it is called with and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils._pytree import TreeSpec

from sapwood.runtime.engine.inputs import InputSpec
from sapwood.runtime.engine.nodes import Network


@dataclass(frozen=True)
class Lowered:
    """What a model is before it is planned for a machine.

    Attributes:
        network: Its nodes.
        inputs: What it is called with.
        form: Of what it returns.
        constants: What it returns besides tensors, by the place among all it returns.
        alone: Whether what it makes of one picture depends on the others of its batch, so that it takes one a call.
        file: Where it was read, None for a model of this process: a file may not ask for all that a caller may.
    """

    network: Network
    inputs: tuple[InputSpec, ...]
    form: TreeSpec
    constants: Mapping[int, Any]
    alone: bool = False
    file: str | None = None
