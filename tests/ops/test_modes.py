"""Dispatch modes that are entered one inside the other: who meets a call, and in which order."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from sapwood.ops import CallMode, name_of


class Named(CallMode):
    """Writes down what it meets, and makes a call of its own on the way."""

    def __init__(self, name: str, met: list[str]) -> None:
        super().__init__()
        self._name, self._met = name, met

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._met.append(f"{self._name} {name_of(func)}")
        torch.ones(1).neg()
        return self.pass_on(func, args, kwargs)


class Foreign(TorchDispatchMode):
    """Somebody else's."""

    def __init__(self, met: list[str]) -> None:
        super().__init__()
        self._met = met

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._met.append(f"foreign {name_of(func)}")
        return func(*args, **(kwargs or {}))


def test_the_inner_mode_meets_a_call_first_and_calls_of_their_own_are_met_by_none() -> None:
    met: list[str] = []
    x = torch.ones(2)
    with Named("outer", met), Named("inner", met), Named("innermost", met):
        assert len(_get_current_dispatch_mode_stack()) == 1
        made = torch.abs(x)
    assert made.tolist() == [1.0, 1.0]
    assert met == ["innermost aten.abs", "inner aten.abs", "outer aten.abs"]
    torch.abs(x)
    assert len(met) == 3


def test_a_mode_that_is_left_meets_nothing_more_and_can_be_entered_again() -> None:
    met: list[str] = []
    inner = Named("inner", met)
    with Named("outer", met):
        with inner:
            torch.abs(torch.ones(1))
        torch.abs(torch.ones(1))
    with inner:
        torch.abs(torch.ones(1))
    assert [entry for entry in met if "abs" in entry] == [
        "inner aten.abs",
        "outer aten.abs",
        "outer aten.abs",
        "inner aten.abs",
    ]


def test_somebody_elses_mode_between_two_meets_what_is_passed_on() -> None:
    met: list[str] = []
    x = torch.ones(1)
    with Named("outer", met), Foreign(met), Named("inner", met):
        torch.abs(x)
    assert [entry for entry in met if "abs" in entry] == ["inner aten.abs", "foreign aten.abs", "outer aten.abs"]
