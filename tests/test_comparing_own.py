"""Comparisons of a program's own: any module, cases as plain data, a measure that Sapwood does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood.comparing import CompareSettings
from sapwood.errors import ConfigError

QUICK = CompareSettings(latency_rounds=0)
X = torch.ones(1, 3, 8, 8)
CASES = [{"kind": "prune", "sparsity": [0.25, 0.5], "round_to": 1}]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 2, 3)).eval()


def width(one: nn.Module) -> dict[str, float]:
    """Something that is known beforehand: the share of the first layer's filters that is left, and another figure."""
    assert not one.training
    assert isinstance(one, nn.Sequential)
    return {"left": one[0].weight.shape[0] / 16, "twice": one[0].weight.shape[0] / 8}


def compared(tmp_path: Path, **options: Any) -> dict[str, Any]:
    given = {"cases": CASES, "measure": width, "example_inputs": X, "out_dir": tmp_path, "settings": QUICK}
    return sapwood.compare(model(), **given | options)


def test_the_measure_is_asked_of_every_case_and_of_the_network_before(tmp_path: Path) -> None:
    record = compared(tmp_path)
    assert [case["accuracy"]["metrics"] for case in record["cases"]] == [
        {"left": 1.0, "twice": 2.0},
        {"left": 0.75, "twice": 1.5},
        {"left": 0.5, "twice": 1.0},
    ]
    assert {case["accuracy"]["primary"] for case in record["cases"]} == {"left"}
    assert json.loads((tmp_path / "compare.json").read_text()) == record
    page = (tmp_path / "report.html").read_text()
    assert "Sequential on a measure of your own</p>" in page
    assert "0 pictures" not in page


def test_a_measure_that_changed_is_asked_again(tmp_path: Path) -> None:
    compared(tmp_path)
    record = compared(tmp_path, measure=lambda one: 0.125)
    assert [case["accuracy"]["metrics"] for case in record["cases"]] == [{"measure": 0.125}] * 3


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "^measure returned None for measure; expected a number$"),
        (float("nan"), "^measure returned nan for measure; expected a finite number$"),
        ({}, "^measure returned no figure; expected one$"),
        ({"map": "good"}, "^measure returned a str for map; expected a number$"),
    ],
)
def test_a_measure_that_says_nothing_is_an_error(tmp_path: Path, returned: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compared(tmp_path, measure=lambda one: returned)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (3, "^measure is an int; expected a function of a model$"),
        (lambda: 0.5, "^measure cannot be called with a model: .*; expected a function of one argument$"),
        (lambda model, data: 0.5, "^measure cannot be called with a model: .*; expected a function of one argument$"),
    ],
)
def test_a_measure_that_takes_no_model_is_an_error(tmp_path: Path, measure: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compared(tmp_path, measure=measure)


def test_the_measure_cannot_change_what_is_compared(tmp_path: Path) -> None:
    def spoils(one: nn.Module) -> float:
        with torch.no_grad():
            for weight in one.parameters():
                weight.zero_()
        return 1.0

    record = compared(tmp_path, measure=spoils)
    assert [case["nonzeros"] for case in record["cases"]] == [case["params"] for case in record["cases"]]


def test_without_data_and_measure_nobody_knows_what_good_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^nothing says how good a model is; expected a data set, or measure=, "):
        sapwood.compare(model(), example_inputs=X, out_dir=tmp_path)


def test_cases_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cases is an int; expected a list of rows, or the name of a file of them$"):
        compared(tmp_path, cases=3)
    with pytest.raises(ConfigError, match=r"^cases line 1 \(row 1\), field sparsty: unknown; expected one of: kind"):
        compared(tmp_path, cases=[{"kind": "prune", "sparsty": 0.5}])
