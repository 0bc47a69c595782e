"""Typed records: what they are made of, what JSON has of them, and that a table is the same wherever it stands."""

from __future__ import annotations

import copy
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from sapwood.errors import DataError
from sapwood.report import (
    TextTable,
    inspect_tables,
    mask_tables,
    prune_tables,
    records,
    render_inspect,
    render_prune,
    render_run,
    run_tables,
)
from sapwood.report.records.parts import VerbRecord
from sapwood.report.table import columns
from support.pages import lines, outline, words
from support.pruned import RECOVERY, inspect_record, prune_record


def test_every_verb_says_what_its_json_is() -> None:
    kinds = {kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, VerbRecord)}
    names = [kind.model_fields["schema_id"].default for kind in kinds]
    names.append(asdict(records.BenchRecord((), None, {}, {}))["schema"])
    assert len(set(names)) == len(names) >= 12
    assert all(re.fullmatch(r"sapwood\.[a-z]+/[0-9]+", name) for name in names)


def test_what_eval_train_and_export_tell_is_checked() -> None:
    figures = {
        "primary": "top-1",
        "metrics": {"top-1": 0.5},
        "per_class": {},
        "num_images": 4,
    }
    took = {"seconds": {"read": 0.1}}  # as an Evaluation and records of before have it
    named = {"model": "m", "data": "d", "split": "val", "runtime": "torch", "unit": "texts"}
    assert records.make_part(records.EvaluationRecord, {**named, **figures, **took}).plain() == {
        "schema": "sapwood.eval/1", **named, **figures, "stage_seconds": took["seconds"], "skipped": []
    }  # fmt: skip
    with pytest.raises(DataError, match=r"^record: metrics.top-1: got nan"):
        records.make_part(records.EvaluationRecord, {**named, **figures, **took, "metrics": {"top-1": math.nan}})
    trained = {"metrics": None, "epochs": 2, "files": {"model": "runs/model"}, "skipped": ["a.jpg: empty"]}
    assert trained.items() <= records.make_part(records.TrainingRecord, trained).plain().items()
    with pytest.raises(DataError, match=r"^record: epochs: got -1"):
        records.make_part(records.TrainingRecord, trained | {"epochs": -1})
    written = {"model": "m", "format": "onnx", "written": [{"path": "m.onnx", "size_bytes": 9}], "size_bytes": 9}
    written |= {"inputs": ["x"], "outputs": ["y"], "check": {"max_relative_error": 1e-7, "tolerance": 1e-4}}
    told = records.make_part(records.ExportRecord, {**written, "details": {"opset": 18}}).plain()
    assert told == {"schema": "sapwood.export/1", **written, "opset": 18}
    with pytest.raises(DataError, match=r"^record: check.max_relative_error: got inf"):
        records.make_part(records.ExportRecord, {**written, "check": {"max_relative_error": math.inf, "tolerance": 1}})


def run_record() -> dict[str, Any]:
    step = {"name": "a", "verb": "eval", "command": "sapwood eval a", "directory": "01-a", "state": "done"}
    step |= {"fingerprint": "f", "seconds": 1.5, "missed": None, "size": None, "result": {"metrics": {"top-1": 0.5}}}
    return {"schema": "sapwood.run/1", "sapwood": "0.1.0", "model": "m", "num_steps": 1, "steps": [step], "earlier": []}


def state(live: bool) -> dict[str, Any]:
    keys = ["a.weight_orig", "a.weight_mask"] if live else ["a.weight"]
    tensor = {"name": "a.weight", "kind": "conv", "shape": [4, 2], "num_params": 8, "num_zeros": 4, "sparsity": 0.5}
    tensor |= {"live": live, "keys": keys, "hook": "L1Unstructured" if live else ""}
    totals = {"num_params": 8, "num_zeros": 4, "sparsity": 0.5, "num_live": int(live)}
    return {"tensors": [tensor], **totals, "live_params": 8 * live, "live_zeros": 4 * live, "live_sparsity": 0.5 * live}


def masking() -> dict[str, Any]:
    layer = {"name": "a.weight", "num_params": 8, "sparsity": 0.5, "dense_ms": 2.0, "masked_ms": 1.0, "loss": 0.0}
    times = {"target": 0.5, "ratio": 0.51, "ratio_q1": 0.5, "ratio_q3": 0.52, "dense_ms": 3.0, "pruned_ms": 1.5}
    latency = {**times, "met": True, "attempts": [[0.5, 0.51]], "figure": "loss", "layers": [layer]}
    latency["conditions"] = {"runtime": "sapwood", "threads": 1, "batch": 1}
    states = {"before": state(live=False), "masked": state(live=True), "after_remove": state(live=False)}
    return {"case": {"method": "scored"}, **states, "mask_latency": latency, "recovery": RECOVERY, "saved": "masked"}


MADE: dict[str, tuple[type[VerbRecord], Callable[[], dict[str, Any]]]] = {
    "prune": (records.Pruning, lambda: prune_record() | {"recovery": RECOVERY}),
    "inspect": (records.Inspection, inspect_record),
    "run": (records.RunRecord, run_record),
    "mask": (records.Masking, masking),
}


def assert_holds(told: Any, given: Any, place: str = "record") -> None:
    """Everything that was given is told; a field that has a value where none was given may be there as well."""
    if isinstance(given, dict):
        for name, part in given.items():
            assert name in told, f"{place}.{name} is gone"
            assert_holds(told[name], part, f"{place}.{name}")
    elif isinstance(given, list):
        assert len(told) == len(given), place
        for number, pair in enumerate(zip(told, given, strict=True)):
            assert_holds(*pair, f"{place}[{number}]")
    else:
        assert told == given, place


@pytest.mark.parametrize("verb", MADE)
def test_json_holds_all_that_a_record_was_made_of(verb: str) -> None:
    kind, make = MADE[verb]
    given = make()
    plain = kind.model_validate(copy.deepcopy(given)).plain()
    assert_holds(plain, given)
    assert kind.model_validate(json.loads(json.dumps(plain, allow_nan=False))).plain() == plain


@pytest.mark.parametrize(("verb", "sections"), [
    ("prune", ("latency", "sensitivity", "recovery")),
    ("inspect", ("latency", "sensitivity")),
    ("mask", ("mask_latency", "recovery")),
])  # fmt: skip
def test_json_has_no_section_of_what_was_not_measured(verb: str, sections: tuple[str, ...]) -> None:
    kind, make = MADE[verb]
    bare = {name: part for name, part in make().items() if name not in sections}
    assert not set(sections) & set(kind.model_validate(bare).plain())
    assert set(sections) <= set(kind.model_validate(make()).plain())


def test_a_value_that_is_not_known_is_null_and_not_left_out() -> None:
    record = prune_record()
    record["latency"]["target"] = None
    record["verification"]["distance_from_dense"] = None
    plain = records.read_pruning(record).plain()
    assert plain["latency"]["target"] is None
    assert plain["verification"]["distance_from_dense"] is None


def test_an_error_without_end_is_told_and_comes_back_from_json() -> None:
    """What `compact --inexact` makes of a model may differ by more than any number."""
    record = prune_record()
    record["verification"] |= {"max_abs_error": math.inf, "passed": False}
    told = records.read_pruning(record)
    plain = json.loads(json.dumps(told.plain(), allow_nan=False))
    assert plain["verification"]["max_abs_error"] is None
    assert records.read_pruning(plain) == told
    assert "differs from the masked one by inf of the largest output" in words(render_prune(plain))
    for wrong in (math.nan, -1.0):
        record["verification"]["max_abs_error"] = wrong
        with pytest.raises(DataError, match=r"^record: verification\.max_abs_error: got (nan|-1\.0)"):
            records.read_pruning(record)


def test_indices_that_stay_are_told_where_there_are_some() -> None:
    record = prune_record()
    record["unpruned"][0]["indices"] = [1, 3]
    first, second = records.read_pruning(record).plain()["unpruned"]
    assert first["indices"] == [1, 3]
    assert "indices" not in second


def test_records_are_made_of_what_stages_return() -> None:
    @dataclass(frozen=True)
    class Outcome:
        """As a stage returns one: its fields, and what it works out."""

        target: float | None = 0.5
        ratio: float = 0.6
        ratio_q1: float = 0.5
        ratio_q3: float = 0.7
        predicted: float = 0.5
        dense_ms: float = 2.0
        pruned_ms: float = 1.2
        attempts: tuple[Any, ...] = (SimpleNamespace(predicted=0.5, measured=0.6),)
        fit_error: float = 0.1
        layers: tuple[Any, ...] = ()
        conditions: dict[str, Any] = field(default_factory=dict)

        @property
        def met(self) -> bool:
            return self.target is None

    made = records.make_part(records.TargetLatency, Outcome())
    assert made.met is False
    assert made.attempts[0].measured == 0.6
    with pytest.raises(DataError, match=r"^record: ratio: got -1\.0; Input should be greater than or equal to 0$"):
        records.make_part(records.TargetLatency, Outcome(ratio=-1.0))


def test_records_are_frozen_and_read_by_name_as_dictionaries_were() -> None:
    record = records.read_pruning(prune_record())
    assert record["before"]["macs"] == 10_001_000
    assert record["schema"] == "sapwood.prune/1"
    assert "latency" in record
    assert "recovery" not in record
    with pytest.raises(ValidationError, match="frozen"):
        record.model = "another"  # type: ignore[misc]
    with pytest.raises(KeyError, match="nothing"):
        _ = record["nothing"]


@pytest.mark.parametrize(("make", "read", "render"), [
    (prune_record, records.read_pruning, render_prune),
    (inspect_record, records.read_inspection, render_inspect),
    (run_record, records.read_run, render_run),
])  # fmt: skip
def test_the_page_of_a_typed_record_is_that_of_its_json(make: Any, read: Any, render: Any) -> None:
    typed = read(make())
    assert read(typed) is typed
    assert render(typed) == render(make()) == render(typed.plain())


def test_a_record_of_an_earlier_version_is_read() -> None:
    """What records have gained since is filled in where it is missing; what this version does not know is left out."""
    record = prune_record()
    for name in ("verb", "sapwood", "date", "files", "unpruned"):
        del record[name]
    for name in ("pooled_norms", "distance_from_dense"):
        del record["verification"][name]
    for layer in record["latency"]["layers"]:
        del layer["reason"]
    record["recovery"] = {name: part for name, part in RECOVERY.items() if name not in {"checks", "norms", "best_step"}}
    record["of a later one"] = {"unknown": 1}
    assert "Made by Sapwood from report.json. One file" in words(render_prune(record))


def table() -> TextTable:
    return TextTable(
        "Some figures",
        columns("name", "kind", "figure", "more", words=["kind"], page_only=["more"]),
        (("[bold]a<b>", "conv", "1", "x"), ("b", "linear", "2", "y"), ("short",)),
        heading="a heading",
        notes=("first", "second"),
        rules=[1],
    )


def test_a_table_is_drawn_by_both_renderers() -> None:
    from sapwood.report.render import _environment

    drawn = lines(table())  # type: ignore[arg-type]
    assert drawn[0] == "a heading"
    assert {"name kind figure", "[bold]a<b> conv 1", "b linear 2", "short", "first", "second"} <= set(drawn)
    assert drawn.index("b linear 2") - drawn.index("[bold]a<b> conv 1") == 2, "a rule between"
    page = _environment().from_string('{% import "pruned_plots.html.j2" as part %}{{ part.table(made) }}')
    html = page.render(made=table())
    assert words(html) == "name kind figure more [bold]a<b> conv 1 x b linear 2 y short"
    assert outline(html).tags.count("tr") == 4
    assert html.count('class="num"') == 2 + 2 * 2


@pytest.mark.parametrize(("tables", "render", "record"), [
    (lambda record: prune_tables(record, layers=True), render_prune, records.read_pruning(MADE["prune"][1]())),
    (inspect_tables, render_inspect, records.read_inspection(inspect_record())),
    (run_tables, render_run, records.read_run(run_record())),
])  # fmt: skip
def test_every_cell_of_the_console_stands_on_the_page(tables: Any, render: Any, record: Any) -> None:
    page = words(render(record))
    shown = tables(record)
    assert shown
    for one in shown:
        for row in one.rows:
            assert " ".join(" ".join(row).split()) in page


def test_a_narrow_terminal_folds_and_leaves_nothing_out() -> None:
    file = io.StringIO()
    record = records.read_pruning(prune_record())
    Console(file=file, width=72).print(*prune_tables(record, layers=True))
    shown = re.sub(r"[^\w.]", "", file.getvalue())
    assert "…" not in file.getvalue()
    for cell in ("a", "7.00", "0.43", "38", "runti"):  # of a table that is wider than that
        assert cell in shown
    assert file.getvalue().count("0.0600") == 2


def test_the_tables_of_masking() -> None:
    shown = [lines(one) for one in mask_tables(records.Masking.model_validate(masking()))]  # type: ignore[arg-type]
    assert "a.weight 8 50 % weight 50 % weight_orig + weight_mask 50 % weight" in shown[0]
    assert "a.weight 8 50.0% 2.00 1.00 0" in shown[1]
    assert "b 0.500 0.125" in shown[2]
    assert "divergence from the dense network 0.400 before, 0.100 after 5 steps" in " ".join(shown[2])
