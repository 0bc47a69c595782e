"""How the scores of different groups are made to compare: a criterion says it, no field's name does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from sapwood.criteria import make_criterion
from sapwood.goals.scoring import comparable
from sapwood.graph import ChannelGroup

SCORES = torch.tensor([1.0, 3.0])


@dataclass(frozen=True)
class ByName:
    """A criterion of somebody else's, with a field called ``n`` that is no order of a norm."""

    name: ClassVar[str] = "by_name"
    needs: ClassVar[frozenset[str]] = frozenset()
    scores_weights: ClassVar[bool] = False
    loss_units: ClassVar[bool] = False
    n: int = 3

    def group_scores(self, group: ChannelGroup, view: object) -> Tensor:
        raise NotImplementedError

    def weight_scores(self, name: str, view: object) -> Tensor:
        raise NotImplementedError


def test_a_field_called_n_is_no_power() -> None:
    assert comparable(ByName(), SCORES).tolist() == [0.25, 0.75]  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "shares"), [(1, [0.25, 0.75]), (2, [0.1, 0.9])])
def test_of_norms_the_powers_add_up(n: int, shares: list[float]) -> None:
    assert comparable(make_criterion("norm", n=n), SCORES).tolist() == pytest.approx(shares)


def test_scores_that_compare_are_taken_as_they_are() -> None:
    assert comparable(make_criterion("norm", normalize="mean"), SCORES).tolist() == [1.0, 3.0]
    assert comparable(make_criterion("taylor"), SCORES).tolist() == [1.0, 3.0]
