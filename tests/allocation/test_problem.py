from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sapwood.allocation import CostTable, Extent, Knapsack, Term, allowed_widths, losses_from_scores, merged
from sapwood.errors import ConfigError
from support.problems import make_problem


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"num_channels": 5}, [1, 2, 3, 4, 5]),
        ({"num_channels": 20, "round_to": 8}, [8, 16, 20]),
        ({"num_channels": 7, "round_to": 8}, [7]),
        ({"num_channels": 8, "minimum": 6}, [6, 7, 8]),
        ({"num_channels": 4, "minimum": 6}, [4]),
        ({"num_channels": 8, "lower": 3, "upper": 5}, [3, 4, 5]),
        ({"num_channels": 64, "round_to": 16, "upper": 100}, [16, 32, 48, 64]),
    ],
)
def test_allowed_widths(fields: dict[str, int], expected: list[int]) -> None:
    assert allowed_widths(**fields).tolist() == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_channels": 0}, r"num_channels: got 0; expected at least 1"),
        ({"num_channels": 4, "round_to": 0}, r"round_to: got 0; expected at least 1"),
        ({"num_channels": 4, "minimum": 0}, r"minimum: got 0; expected at least 1"),
        (
            {"num_channels": 64, "round_to": 16, "lower": 17, "upper": 31},
            r"no width of 64 channels is a multiple of 16, at least 17 and at most 31",
        ),
    ],
)
def test_widths_that_cannot_be(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        allowed_widths(**fields)


def test_losses_of_negative_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scores: got negative or infinite ones; expected finite numbers of at"):
        losses_from_scores(np.array([1.0, -1.0]), np.array([1, 2]))


COST = CostTable("MACs", (Term("a", 1.0, (Extent(0, {0: 1}), Extent(0, {1: 1}))),))
PROBLEM = make_problem((3, 4), (np.array([1.0, 2, 3]), np.array([4.0, 1, 2, 3])), COST)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ("a",)}, r"num_channels: got 2 entries; expected one for each of 1 groups"),
        ({"widths": (np.array([1, 2]), np.arange(1, 5))}, r"g0: \(2,\) widths and \(3,\) losses; expected as many"),
        ({"widths": (np.array([2, 1, 3]), np.arange(1, 5))}, r"g0: got the widths \[2, 1, 3\]; expected ascending"),
        ({"widths": (np.array([0, 1, 3]), np.arange(1, 5))}, r"expected ascending numbers in 1..3"),
        ({"losses": (np.array([0.0, 1.0, 2.0]), np.zeros(4))}, r"g0: a loss rises with the width or is not finite"),
        ({"losses": (np.array([np.inf, 1.0, 0.0]), np.zeros(4))}, r"g0: a loss rises with the width or is not finite"),
        ({"scores": (np.ones(2), np.ones(4))}, r"g0: scores of shape \(2,\); expected 3 finite numbers"),
    ],
)
def test_bad_problems_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PROBLEM, **fields)


def test_groups_that_must_be_equal_and_cannot() -> None:
    problem = replace(
        PROBLEM, widths=(np.array([1, 3]), np.array([2, 4])), losses=(np.zeros(2), np.zeros(2)), equal=((0, 1),)
    )
    with pytest.raises(ConfigError, match=r"g0, g1 must keep equal numbers and have no allowed width in common"):
        Knapsack()(problem, 12.0)


def test_sets_that_overlap_are_one() -> None:
    cost = CostTable("MACs", tuple(Term(str(g), 1.0, (Extent(0, {g: 1}),)) for g in range(4)))
    problem = make_problem((4,) * 4, tuple(np.arange(4.0) + g for g in range(4)), cost, equal=((0, 2), (3, 2)))
    kept = Knapsack()(problem, 9.0).kept
    assert kept[0] == kept[2] == kept[3]


def test_groups_of_one_share_are_decided_on_in_units() -> None:
    cost = CostTable("parameters", (Term("a", 1.0, (Extent(0, {0: 1.0}), Extent(0, {1: 1.0, 2: 3.0}))),))
    scores = (np.arange(12.0), np.arange(3.0), np.arange(5.0))
    problem = replace(make_problem((12, 3, 5), scores, cost), together=((0, 1),))
    whole = merged(problem)
    assert whole.members == (((0, 4), (1, 1)), ((2, 1),))
    assert whole.problem.widths[0].tolist() == [1, 2, 3]
    assert whole.problem.losses[0].tolist() == [28.0 + 1.0, 6.0 + 0.0, 0.0]
    assert whole.problem.cost.total(np.array([2, 5])) == cost.total(np.array([8, 2, 5]))
    assert whole.problem.scores is not None
    assert whole.problem.scores[0].tolist() == [(9.5 + 2) / 2, (5.5 + 1) / 2, (1.5 + 0) / 2]
    assert whole.expanded([2, 4]) == (8, 2, 4)


def test_equal_numbers_and_one_share_do_not_go_together() -> None:
    cost = CostTable("parameters", (Term("a", 1.0, (Extent(0, {0: 1.0, 1: 1.0}),)),))
    problem = make_problem((8, 4), (np.ones(8), np.ones(4)), cost, equal=((0, 1),))
    with pytest.raises(ConfigError, match=r"g0, g1 must keep equal numbers and the same share, but differ in size"):
        merged(replace(problem, together=((0, 1),)))


def test_a_share_that_no_widths_have_is_an_error() -> None:
    cost = CostTable("parameters", (Term("a", 1.0, (Extent(0, {0: 1.0, 1: 1.0}),)),))
    problem = replace(make_problem((8, 4), (np.ones(8), np.ones(4)), cost), together=((0, 1),))
    narrow = replace(problem, widths=(np.array([3]), np.array([1, 4])), losses=(np.zeros(1), np.zeros(2)))
    with pytest.raises(ConfigError, match=r"g0, g1 must keep the same share and have no allowed width in common"):
        merged(narrow)
