"""What reconstruction leaves: the model, and what became of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class LayerReconstruction:
    """What became of one layer.

    Attributes:
        layer: The module.
        error_before: Squared error of its outputs (behind its BatchNorm) on held-out pictures, as a fraction of the
            variance of what they should be, in the network reconstructed so far.
        error_after: The same with the new weights.
        damping: The ridge, as a fraction of the mean square of an input; None where the weights stay.
        num_rows: Rows (patches or tokens) that were looked at.
        num_unknowns: Weights of one output.
        others_weight: What a row of the others counted, one's own counting 1; None where there were no others.
    """

    layer: str
    error_before: float
    error_after: float
    damping: float | None
    num_rows: int
    num_unknowns: int
    others_weight: float | None = None


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed model.

    Attributes:
        model: A copy of the pruned model with other weights.
        layers: One entry a layer that reads changed inputs, in order.
        left_alone: Weights that could not be solved, each with its reason.
        num_pictures: Pictures that were looked at, the others' among them.
        seconds: How long it took.
        masks: By the name of a weight that a rule was given for, what may differ from zero.
    """

    model: nn.Module
    layers: tuple[LayerReconstruction, ...]
    left_alone: Mapping[str, str]
    num_pictures: int
    seconds: float
    masks: Mapping[str, Tensor] = field(default_factory=dict)
