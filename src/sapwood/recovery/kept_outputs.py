"""What a pruned layer's outputs should be, of the dense layer's."""

from __future__ import annotations

import torch
from torch import Tensor

from sapwood.errors import CheckFailedError
from sapwood.models import Plan


class KeptOutputs:
    """The outputs of a layer that stay, multiplied as the plan multiplies its rows.

    Args:
        plan: Which channels stay.
        weight: The layer's weight; its dimension 0 counts outputs.
        dense_width: Outputs of the dense layer.
        width: Outputs of the pruned one.

    Raises:
        CheckFailedError: If the plan keeps another number of them.
    """

    def __init__(self, plan: Plan, weight: str, dense_width: int, width: int) -> None:
        kept = next((cut.kept for cut in plan.cuts if cut.tensor == weight and cut.dim == 0), None)
        self._rows = torch.arange(dense_width) if kept is None else torch.tensor(kept, dtype=torch.int64)
        if len(self._rows) != width:
            raise CheckFailedError(
                f"{weight} has {width} rows and the plan keeps {len(self._rows)}; expected the model that the plan "
                "makes"
            )
        scale = torch.ones(dense_width, dtype=torch.float64)
        for rescale in plan.rescales:
            if rescale.tensor == weight:
                scale[list(rescale.rows)] *= rescale.factor
        self._scale = scale[self._rows]
        self._plain = bool((self._scale == 1.0).all())

    def __call__(self, values: Tensor, dim: int) -> Tensor:
        """The targets, of the dense layer's outputs with channels in dimension ``dim``."""
        kept = values.index_select(dim, self._rows)
        if self._plain:
            return kept
        shape = [1] * values.dim()
        shape[dim] = -1
        return kept * self._scale.to(values.dtype).reshape(shape)

    def of_sum(self, values: Tensor) -> Tensor:
        """The channels of what is added to the outputs, shape (rows, channels)."""
        return values[:, self._rows]
