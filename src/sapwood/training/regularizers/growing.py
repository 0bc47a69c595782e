"""Growing regularization: the channels that will go are chosen first, and pulled ever stronger."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.graph import Analysis
from sapwood.training.regularizers.base import REGULARIZERS, Regularizer


@REGULARIZERS.register("growing")
class Growing(Regularizer):
    r"""Decays the channels of least norm, a fraction of each group, with a factor that grows step by step.

    .. math:: w_c \leftarrow w_c \max(0, 1 - \eta \lambda_t), \qquad \lambda_t = \lambda \lfloor t / K \rfloor

    up to a ceiling. Which channels is decided at the first step, and stays.

    Args:
        analysis: The channel groups of the model.
        model: Any module that they are of.
        strength: What the factor grows by.
        every: Steps K between two growths.
        ceiling: The highest factor.
        sparsity: The fraction of each group's channels.

    References:
        Wang et al., Neural Pruning via Growing Regularization, 2021, arXiv:2012.09243 (GReg-1).
    """

    name = "growing"

    def __init__(
        self,
        analysis: Analysis,
        model: nn.Module,
        *,
        strength: float = 1e-2,
        every: int = 5,
        ceiling: float = 10.0,
        sparsity: float = 0.5,
    ) -> None:
        super().__init__(analysis, model, strength=strength)
        if every < 1:
            raise ConfigError(f"every: got {every}; expected at least 1")
        if not 0.0 < sparsity < 1.0:
            raise ConfigError(f"sparsity: got {sparsity}; expected a number in (0, 1)")
        if not 0.0 < ceiling < float("inf"):
            raise ConfigError(f"ceiling: got {ceiling}; expected a number above 0")
        self._every, self._ceiling, self._sparsity = every, ceiling, sparsity
        self._steps = 0
        self._weak: list[Tensor] = []

    def state(self) -> dict[str, Tensor]:
        """The channels that were chosen, and how often they were pulled."""
        return {"steps": torch.tensor(self._steps), **{f"weak/{n}": weak for n, weak in enumerate(self._weak)}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from :meth:`state`.

        Raises:
            ValueError: If it is not that of these groups.
        """
        weak = [state[f"weak/{number}"] for number in range(len(state) - 1)]
        widths = [group.num_channels for group in self.groups]
        if weak and ([len(own) for own in weak] != widths or any(own.dtype != torch.bool for own in weak)):
            raise ValueError(f"weak channels of {len(weak)} groups, or of other widths; {len(self.groups)} are there")
        self._steps, self._weak = int(state["steps"]), weak

    def _pull_(self, parameters: dict[str, nn.Parameter], lr: float) -> float:
        squares = [group.squares(parameters) for group in self.groups]
        if not self._weak:
            self._weak = [self._weakest(own) for own in squares]
        self._steps += 1
        factor = min(self._ceiling, self.strength * (self._steps // self._every))
        total = 0.0
        for group, own, weak in zip(self.groups, squares, self._weak, strict=True):
            total += 0.5 * float(own[weak].sum())
            group.scale_(parameters, torch.where(weak, max(0.0, 1.0 - lr * factor), 1.0))
        return factor * total

    def _weakest(self, squares: Tensor) -> Tensor:
        count = min(len(squares) - 1, round(self._sparsity * len(squares)))
        weak = torch.zeros(len(squares), dtype=torch.bool)
        weak[squares.argsort(stable=True)[:count]] = True
        return weak
