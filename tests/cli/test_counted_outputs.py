"""``--outputs``: which of the model's outputs count, from the command to the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., int]

MODEL = """
import torch
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

    def forward(self, x):
        h = self.a(x).relu()
        return {"logits": self.b(h).mean((2, 3)), "maps": [h]}


def make():
    return Two(), torch.randn(1, 3, 12, 12)
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "model_of_two_outputs.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "model_of_two_outputs", raising=False)
    return "model_of_two_outputs:make"


@pytest.fixture
def pruned(run: Run, spec: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Prunes the model; the record."""

    def prune(*arguments: object) -> dict[str, Any]:
        assert run("prune", spec, "--sparsity", 0.5, "--json", *arguments) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    return prune


def test_what_is_not_named_follows_the_widths_and_is_told(
    pruned: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    record = pruned("--outputs", "logits", "-o", tmp_path / "small")
    note = "outputs that follow the widths, as nobody counts on them: maps.0"
    assert record["notes"] == [note]
    assert f"<p>{note}.</p>" in (tmp_path / "small" / "report.html").read_text()


def test_all_outputs_count_by_default_and_a_reason_names_the_one_in_the_way(
    pruned: Callable[..., dict[str, Any]],
) -> None:
    record = pruned()
    assert record["notes"] == []
    whole = {(entry["tensor"], entry["dim"]): entry["reason"] for entry in record["unpruned"]}
    assert whole["a.weight", 0] == "is an output of the model: maps.0"


def test_a_name_of_nothing_is_an_error_that_names_what_there_is(
    run: Run, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("prune", spec, "--sparsity", 0.5, "--outputs", "boxes") == 2
    assert "'boxes' is nothing that the model returns; expected one of: logits, maps.0" in capsys.readouterr().err
