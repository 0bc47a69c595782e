"""The commands on the page of a comparison say all that the row of a case says."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from sapwood.cases.rows import ROW_KINDS
from sapwood.cli.app import app
from sapwood.report import read_record
from sapwood.report.case_commands import commands_for

COMMANDS: Any = typer.main.get_command(app)
ROWS: tuple[dict[str, Any], ...] = (
    {"kind": "mask", "method": "ln_structured", "sparsity": 0.5, "n": 1, "dim": 1, "layers": ["conv", "linear"]},
    {"kind": "mask", "method": "random_unstructured", "sparsity": 0.5, "seed": 3, "pattern": "layers.1*.weight"},
    {"kind": "mask", "method": "scored", "sparsity": 0.5, "criterion": "obs", "budget": "lamp", "blocks": "2x1"},
    {"kind": "mask", "method": "custom_from_mask", "mask_file": "my masks.npz"},
    {"kind": "mask", "sparsity": 0.9, "recover": "reconstruct"},
    {"kind": "mask", "method": "scored", "sparsity": 0.5, "recover": "distill", "reselect": True},
    {"kind": "mask", "method": "scored", "sparsity": 0.5, "recover": "distill", "reselect": False},
    {"kind": "compact", "method": "ln_structured", "sparsity": 0.5, "exact": False},
    {"kind": "compact", "method": "ln_structured", "sparsity": 0.5, "recover": "reconstruct"},
    {"kind": "prune", "macs": 0.5, "criterion": "taylor", "recover": "reconstruct", "round_to": 8, "minimum": 2},
    {"kind": "prune", "macs": 0.5, "low_rank": True},
    {"kind": "prune", "latency": "10ms", "runtime": "onnxruntime", "allocator": "uniform"},
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_commands_of_a_case_say_all_that_its_row_says(row: dict[str, Any], record: dict[str, Any]) -> None:
    record["cases"][1] |= {"kind": row["kind"], "settings": ROW_KINDS[row["kind"]](**row).model_dump(mode="json")}
    record["command"] = "sapwood compare net.cfg --data 'my data'"
    comparison = read_record(record)
    first, *_ = commands_for(comparison.cases[1], comparison)
    words = shlex.split(first)
    options = COMMANDS.commands[words[1]].make_context(words[1], words[2:]).params
    for field, value in row.items():
        if field in {"kind", "exact"}:
            continue
        wanted = ",".join(value) if isinstance(value, list) else value
        got = getattr(options[field], "value", options[field])
        assert str(got) == str(wanted) or float(got) == wanted
    looks = row.get("recover") or row.get("low_rank") or row.get("criterion") in {"obs", "taylor"}
    assert str(options["data"]) == ("my data" if looks else "None")
