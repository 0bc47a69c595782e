"""Any task: examples of any kind, and a loss that calls the model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.training.precision import mixed

AnyTaskLoss: TypeAlias = "Callable[[nn.Module, Any], Tensor | Mapping[str, Tensor]]"


class AnyLoss:
    """Trains anything: examples of any kind, and a loss that calls the model itself.

    Args:
        dataset: Examples by number; the same example whenever it is asked for, from any thread.
        loss: Of (model, batch): a scalar, or scalars by name of which ``"total"`` is minimised.
        collate: Makes a batch of a list of examples.
        config: The precision.
    """

    def __init__(
        self, dataset: Sequence[Any], loss: AnyTaskLoss, config: TrainConfig, collate: Callable[[list[Any]], Any]
    ) -> None:
        if not len(dataset):
            raise TrainingError("the data set is empty; expected examples to train on")
        self._dataset, self._loss, self._collate, self._precision = dataset, loss, collate, config.precision

    @property
    def num_pictures(self) -> int:
        """Examples in the data set."""
        return len(self._dataset)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Nothing: an example that cannot be read stops the run."""
        return ()

    def batch(self, epoch: int, indices: Sequence[int]) -> Any:
        """Makes a batch of examples."""
        del epoch
        return self._collate([self._dataset[index] for index in indices])

    def losses(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Returns what the loss returns."""
        with mixed(self._precision, next(model.parameters()).device):
            found = self._loss(model, batch)
        losses = found if isinstance(found, Mapping) else {"total": found}
        total = losses.get("total")
        if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad:
            got = f"a tensor of shape {tuple(total.shape)}" if isinstance(total, Tensor) else repr(total)
            raise TrainingError(
                f"loss(model, batch) gave {got}; expected a scalar tensor that depends on the model's parameters, or "
                'a mapping with one as "total"'
            )
        return losses
