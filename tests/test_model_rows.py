"""Rows of kind ``model``: networks that were made before stand beside the unpruned one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapwood.cases import Candidate, parse_cases
from sapwood.comparing.density import density_map
from sapwood.errors import ConfigError
from sapwood.models import load_model, save_model
from sapwood.types import ModelBundle


@pytest.fixture(scope="module")
def digits() -> ModelBundle:
    return load_model("builtin:digits")


def test_a_saved_network_is_a_row(digits: ModelBundle, tmp_path: Path) -> None:
    save_model(digits, tmp_path / "mine")
    (row,) = parse_cases("[{kind: model, model: mine, note: from afar}]", "cases.yaml", folder=tmp_path)
    assert row.files() == {"model": str(tmp_path / "mine")}
    made = row.prepare()(digits)
    assert isinstance(made, Candidate)
    assert made.notes == ("from afar",)
    assert torch.equal(
        made.bundle.model.state_dict()["layers.0.conv.weight"], digits.model.state_dict()["layers.0.conv.weight"]
    )


def test_a_row_names_no_code(digits: ModelBundle) -> None:
    (row,) = parse_cases("[{kind: model, model: os:getcwd}]", "cases.yaml")
    with pytest.raises(ConfigError, match=r"^model: got 'os:getcwd'; expected a directory that Sapwood wrote"):
        row.prepare()


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], "90/09"),
        ([[[1.0, 0.0]], [[3.0, 2.0]]], "4/9"),
        ([1.0, 0.0], None),
    ],
)
def test_maps_say_where_the_numbers_are(weight: list[object], expected: str | None) -> None:
    assert density_map(torch.tensor(weight)) == expected


def test_maps_have_no_more_than_sixteen_parts_a_side() -> None:
    weight = torch.zeros(64, 32, 3, 3)
    weight[:4, :2, 0, 0] = 1.0
    rows = density_map(weight)
    assert rows is not None
    assert [len(row) for row in rows.split("/")] == [16] * 16
    assert rows.startswith("1000")
    assert set(rows) == {"0", "1", "/"}
