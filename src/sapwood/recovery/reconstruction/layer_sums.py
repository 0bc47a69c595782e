"""What is summed of one layer: rows to fit, rows held out, and rows of other people's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sapwood.recovery.reconstruction.least_squares import NormalSums, Solved, Sums, solve
from sapwood.recovery.reconstruction.masked import Rule, masked_error, solve_by_rule

WEIGHTS = (0.0, 0.1, 1.0)
"""Weights of a row of the others that are tried, where a row of one's own counts 1."""


@dataclass(frozen=True)
class LayerSums:
    """Sums of one layer.

    Attributes:
        fit: One's own rows to fit.
        held: One's own rows that weights are judged by.
        others: Rows of other pictures; None where there are none.
    """

    fit: NormalSums
    held: NormalSums
    others: NormalSums | None

    @staticmethod
    def zeros(shape: tuple[int, int, int], *, others: bool) -> LayerSums:
        """Sums of nothing, for groups, unknowns and outputs."""
        return LayerSums(
            NormalSums.zeros(*shape), NormalSums.zeros(*shape), NormalSums.zeros(*shape) if others else None
        )

    @property
    def num_rows(self) -> int:
        """Rows that were looked at."""
        sums = (self.fit, self.held, self.others)
        return round(sum(one.count for one in sums if one is not None))

    def solve(
        self, weight: Tensor, bias: Tensor, *, intercept: bool, weights: Sequence[float] = WEIGHTS
    ) -> tuple[Solved, float | None]:
        """The weights that are best on the rows held out, over all weights of the others; and that weight.

        Args:
            weight: The weights that are there, (g, n, o).
            bias: Their bias, (g, o).
            intercept: Whether the bias may change.
            weights: Of a row of the others, to try.
        """
        if self.others is None or not self.others.count:
            return solve(self.fit, self.held, weight, bias, intercept=intercept), None
        tried = [
            (solve(self._fitted(one), self.held, weight, bias, intercept=intercept), one) for one in sorted(weights)
        ]
        return min(tried, key=lambda found: found[0].judged)

    def solve_by_rule(
        self, weight: Tensor, bias: Tensor, rule: Rule, *, intercept: bool, weights: Sequence[float] = WEIGHTS
    ) -> tuple[Solved, Tensor, float | None]:
        """The same where single weights have to be zero, with the mask of those that may not be.

        The weight of the others is chosen with the rule's own mask: which weights stay is then chosen once, on the
        rows so weighted, for that takes most of the time.

        Args:
            weight: The weights that are there, (g, n, o).
            bias: Their bias, (g, o).
            rule: Which may differ from zero.
            intercept: Whether the bias may change.
            weights: Of a row of the others, to try.
        """
        if self.others is None or not self.others.count:
            return *solve_by_rule(self.fit, self.held, weight, bias, rule, intercept=intercept), None
        chosen = min(
            sorted(weights),
            key=lambda one: masked_error(self._fitted(one), self.held, weight, bias, rule, intercept=intercept),
        )
        return *solve_by_rule(self._fitted(chosen), self.held, weight, bias, rule, intercept=intercept), chosen

    def _fitted(self, weight: float) -> Sums:
        assert self.others is not None
        return self.fit.joined(self.others, weight) if weight else self.fit
