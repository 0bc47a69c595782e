"""Wanda: weights times the norm of what they are multiplied with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sapwood.criteria.activations import ReaderCriterion
from sapwood.criteria.criterion import CRITERIA, finite
from sapwood.criteria.readers import ChannelReader
from sapwood.criteria.view import ModelView
from sapwood.errors import CriterionError


@CRITERIA.register("wanda")
@dataclass(frozen=True)
class Wanda(ReaderCriterion):
    r"""Scores a weight by its magnitude times the norm of its input, a channel by the sum over the weights reading it.

    .. math:: s_{ij} = |W_{ij}| \cdot \|x_j\|_2

    References:
        Sun et al., A Simple and Effective Pruning Approach for Large Language Models, 2023, arXiv:2306.11695, eq. 1.
    """

    name: ClassVar[str] = "wanda"
    needs: ClassVar[frozenset[str]] = frozenset({"input_norm"})
    scores_weights: ClassVar[bool] = True
    statistic: ClassVar[str] = "input_norm"
    averages: ClassVar[bool] = False

    def inputs(self, module: str, view: ModelView) -> Tensor:
        """The sum of the scores of all weights that read an input channel."""
        scores = self._scores(module, view).cpu()
        reader = view.readers.modules[module]
        if reader.transposed:
            return scores.flatten(1).sum(dim=1)
        return (
            scores.reshape(reader.groups, len(scores) // reader.groups, scores.shape[1], -1).sum(dim=(1, 3)).flatten()
        )

    def weight_scores(self, name: str, view: ModelView) -> Tensor:
        """Scores each weight of a convolution or linear module."""
        module = name.removesuffix("_orig").removesuffix("weight").removesuffix(".")
        plain = f"{module}.weight".lstrip(".")
        if module not in view.readers.modules or name not in {plain, f"{plain}_orig"}:
            raise CriterionError(f"{name}: 'wanda' scores weights of convolution and linear modules that ran")
        return self._scores(module, view)

    def _scores(self, module: str, view: ModelView) -> Tensor:
        weights = view.weight(module)
        norms = view.input_statistic(self.statistic, module).to(weights.device)
        scores = weights.detach().double().abs() * _as_weights(norms, weights, view.readers.modules[module])
        return finite(scores, f"the weights of {module or 'the model'}: their scores by 'wanda'")


def _as_weights(norms: Tensor, weights: Tensor, reader: ChannelReader) -> Tensor:
    """The norm of the input that each weight is multiplied with, broadcasting over ``weights``."""
    kernel = [1] * (weights.dim() - 2)
    if reader.transposed:
        return norms.reshape(-1, 1, *kernel)
    norms = norms.reshape(reader.groups, -1).repeat_interleave(len(weights) // reader.groups, dim=0)
    return norms.reshape(*norms.shape, *kernel)
