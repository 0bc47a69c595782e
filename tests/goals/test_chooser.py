"""What is chosen comes back with the solution; widths of one analysis are chosen again in another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sapwood.allocation import channels_table
from sapwood.errors import ConfigError
from sapwood.goals import Chooser, Chosen, Limits, Target, scorer
from sapwood.removal import Planner, unproven


def three_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)).eval()


@pytest.fixture
def model() -> nn.Module:
    return three_layers()


def chooser(model: nn.Module, limits: Limits | None = None) -> Chooser:
    return Chooser(scorer(model, "l2"), channels_table, "uniform", limits or Limits(), {})


def planner(model: nn.Module, **frozen: str) -> Planner:
    return Planner(model, torch.randn(2, 4), {f"{name}.weight[0]": reason for name, reason in frozen.items()})


def test_the_solution_carries_what_was_chosen(model: nn.Module) -> None:
    solution = planner(model).solve(chooser(model).towards(Target(sparsity=0.5)))
    assert isinstance(solution.chosen, Chosen)
    assert solution.chosen.allocation.kept == (4, 3)
    assert solution.chosen.allocation.cost == 7
    assert solution.chosen.dense_cost == 14
    assert solution.chosen.share == 0.5
    assert len(solution.chosen.removed) == 7


def test_what_was_chosen_is_of_the_round_that_worked() -> None:
    class Fixed(nn.Module):
        """A code that wants eight channels behind the first layer, whatever they are."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.a(x)
            if h.shape[-1] != 8:
                raise ValueError("8 channels, please")
            return self.c(self.b(h.relu()).relu())

    asked: list[int] = []
    model = Fixed().eval()
    choose = chooser(model).towards(Target(sparsity=0.5))

    def select(analysis):  # type: ignore[no-untyped-def]
        asked.append(len(analysis.groups))
        return choose(analysis)

    solution = planner(model).solve(select)
    assert asked == [2, 1]
    assert solution.chosen.allocation.kept == (3,)
    assert [group.num_channels for group in solution.analysis.groups] == [6]


def test_the_narrowest_keeps_what_the_limits_ask(model: nn.Module) -> None:
    own = chooser(model, Limits(minimum=2))
    solution = planner(model).solve(own.choose_narrowest, prove=unproven)
    assert solution.chosen.allocation.kept == (2, 2)
    assert solution.chosen.share == pytest.approx(4 / 14)


def test_widths_are_chosen_again_where_more_must_stay_whole(model: nn.Module) -> None:
    own = chooser(model)
    before = planner(model).solve(own.towards(Target(sparsity=0.5)), prove=unproven)
    again = planner(model, **{"0": "it must"}).solve(
        lambda analysis: own.choose_again(analysis, before.analysis, before.chosen)
    )
    assert again.chosen.allocation.kept == (3,)
    units = {unit for group in again.analysis.groups for unit in group.units}
    assert set(np.asarray(again.chosen.removed).tolist()) <= units
    assert len(again.chosen.removed) == 3


def test_a_group_that_was_not_there_loses_nothing(model: nn.Module) -> None:
    own = chooser(model)
    before = planner(model, **{"0": "it must"}).solve(own.towards(Target(sparsity=0.5)), prove=unproven)
    chosen = own.choose_again(planner(model).analysis(), before.analysis, before.chosen)
    assert chosen.allocation.kept == (8, 3)
    assert len(chosen.removed) == 3


def test_a_latency_is_not_reckoned(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"^latency is reached by measuring; expected sparsity, params or macs$"):
        chooser(model).towards(Target(latency=0.5))
