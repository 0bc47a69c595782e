"""What Sapwood keeps for itself: checkpoints, records of runs and of pages, measured times."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from mutations import of_json, of_safetensors
from torch import nn

from sapwood.errors import TrainingError
from sapwood.reading import reading
from support.pruned import prune_record
from targets.target import Prepared, target


@target(of_safetensors)
def checkpoint(folder: Path) -> Prepared:
    from sapwood.training.checkpoint import (
        Checkpoint,
        optimizer_tensors,
        prefixed,
        read_checkpoint,
        restore_model,
        restore_optimizer,
        write_checkpoint,
    )

    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tensors = {**prefixed("model", model.state_dict()), **prefixed("optimizer", optimizer_tensors(optimizer))}
    file = folder / "checkpoint.safetensors"
    write_checkpoint(file, Checkpoint(tensors, {"epoch": 1, "config": {"a": [1.5, None]}}).copied())

    def read(data: bytes) -> None:
        file.write_bytes(data)
        found = read_checkpoint(file)
        restore_model(model, found.part("model"), file)
        with reading(file, "a checkpoint", TrainingError):  # as a run that goes on does
            restore_optimizer(optimizer, found.part("optimizer"))

    return [file.read_bytes()], read


@target(of_json)
def stored_case(folder: Path) -> Prepared:
    from sapwood.cases import parse_cases
    from sapwood.comparing.store import CaseStore

    (row,) = parse_cases("[{method: ln_structured, sparsity: 0.1}]", "cases.yaml")
    store = CaseStore(folder, {"settings": {}})
    file = store._path(row)
    seeds = [json.dumps(case).encode() for case in _tests_of_pages("report/conftest").make_record()["cases"][:2]]
    return seeds, lambda data: (file.write_bytes(data), store.read(row))


@target(of_json)
def run_record(folder: Path) -> Prepared:
    from sapwood.cli.runner import _read

    file = folder / "run.json"
    seeds = [_run()]

    def read(data: bytes) -> None:
        file.write_bytes(data)
        _read(file)

    return seeds, read


@target(of_json)
def report_record(folder: Path) -> Prepared:
    from sapwood.cli.report import report

    made = _records()

    def read(data: bytes) -> None:
        name = next((name for name, (mark, _) in made.items() if mark in data), "report.json")
        for other in made:
            (folder / other).unlink(missing_ok=True)
        (folder / name).write_bytes(data)
        report(folder)

    return [record for _, record in made.values()], read


@target(of_json)
def layer_times_cache(folder: Path) -> Prepared:
    from sapwood.allocation.work import KINDS
    from sapwood.goals.layer_samples import NUM_SAMPLES, STEPS, _read

    file = folder / "times.json"
    work = {str(step): {"a": [1.0] * len(KINDS)} for step in STEPS}
    rows = [{"layer_ms": {"a": 1.5, "b.c": 0.25}, "work": work}] * NUM_SAMPLES
    return [json.dumps(rows).encode()], lambda data: (file.write_bytes(data), _read(file))


def _run() -> bytes:
    """The record of a run of one step."""
    from sapwood.report.run_record import RUN_SCHEMA

    step = {
        "directory": "01-a",
        "fingerprint": "x",
        "state": "done",
        "name": "a",
        "verb": "eval",
        "command": "sapwood eval a",
    }
    size = {"params": 9, "nonzeros": 8, "macs": 100, "nonzero_macs": 90}
    steps = [{**step, "command": "sapwood eval a", "seconds": 1.5, "missed": None, "size": size, "result": {}}]
    return json.dumps({"schema": RUN_SCHEMA, "model": "a", "num_steps": 1, "steps": steps, "earlier": []}).encode()


def _tests_of_pages(name: str) -> Any:
    """A module of the tests which makes records."""
    file = Path(__file__).resolve().parents[2] / "tests" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"records_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _records() -> dict[str, tuple[bytes, bytes]]:
    """Each kind of record that has a page: its file, a mark of its schema, and one from the tests of pages."""
    compared = _tests_of_pages("report/conftest").make_record()
    compared["cases"] = compared["cases"][:3]
    return {
        "report.json": (b"sapwood.prune", json.dumps(prune_record()).encode()),
        "compare.json": (b"sapwood.compare", json.dumps(compared).encode()),
        "run.json": (b"sapwood.run", _run()),
    }
