"""What each call of a run reads, with the masks of what depends on the input."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from sapwood.compaction.dependence import RecordedStep, follow_dependence
from sapwood.models import copy_model


def observed(model: nn.Module, inputs: Any, graph: Any) -> list[tuple[RecordedStep, list[Tensor], list[Tensor]]]:
    """For each call: the call, the tensors that it reads, and their masks."""
    found = []

    def observe(step: RecordedStep) -> None:
        values, masks = (tree_flatten(part)[0] for part in (step.args, step.masks))
        pairs = [(v.clone(), m.clone()) for v, m in zip(values, masks, strict=True) if isinstance(v, Tensor)]
        found.append((step, [value for value, _ in pairs], [mask for _, mask in pairs]))

    follow_dependence(copy_model(model), inputs, graph, observe)
    return found
