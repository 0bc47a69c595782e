"""`sapwood run`: a recipe from training to export, stopped, changed, and wrong in every way."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sapwood.cli.app import app
from sapwood.cli.steps import commands
from sapwood.errors import ConfigError
from sapwood.models import load_model
from sapwood.recipe import Recipe
from sapwood.report import read_run, render_run
from sapwood.report.run_record import RunRecord, RunStep
from sapwood.report.run_view import step_rows, time_rows

STEPS: list[dict[str, Any]] = [
    {
        "name": "dense",
        "train": {
            "config": {"epochs": 2, "batch_size": 2, "eval_every": 2},
            "train_split": "train",
            "val_split": "val",
        },
    },
    {"name": "small", "prune": {"sparsity": 0.5, "round_to": 2}},
    {"name": "tuned", "train": {"epochs": 1, "batch_size": 2, "teacher": "dense", "val_split": "none"}},
    {"eval": {}},
    {"bench": {"runtime": "torch", "rounds": 2}, "model": ["dense", "tuned"]},
    {"export": {"format": "onnx"}},
]


@pytest.fixture
def ran(run: Callable[..., int], tmp_path: Path, cfg: Path, data: Path) -> Callable[..., int]:
    """Runs a recipe of these steps and returns the exit code."""

    def run_steps(steps: list[dict[str, Any]], out: Path, **others: Any) -> int:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"model": str(cfg), "data": str(data), "steps": steps, **others}))
        return run("run", path, "-o", out)

    return run_steps


@pytest.fixture
def finished(ran: Callable[..., int], tmp_path: Path) -> Path:
    out = tmp_path / "out"
    assert ran(STEPS, out=out) == 0
    return out


@pytest.mark.parametrize(
    ("step", "looks"),
    [
        ({"mask": {"sparsity": 0.5}}, False),
        ({"mask": {"method": "scored", "criterion": "magnitude"}}, False),
        ({"mask": {"method": "scored", "criterion": "obs"}}, True),
        ({"mask": {"method": "scored", "latency": 0.5}}, True),
        ({"mask": {"recover": "none"}}, False),
        ({"mask": {"recover": "reconstruct"}}, True),
        ({"inspect": {}}, False),
        ({"inspect": {"sensitivity": "divergence"}}, True),
        ({"inspect": {"blocks": True}}, True),
        ({"export": {"format": "onnx"}}, False),
        ({"export": {"format": "onnx", "int8": True}}, True),
        ({"prune": {"macs": 0.5}}, False),
        ({"prune": {"macs": 0.5, "criterion": "l1"}}, False),
        ({"prune": {"macs": 0.5, "criterion": "obs"}}, True),
        ({"prune": {"macs": 0.5, "remove_blocks": "auto"}}, True),
        ({"prune": {"macs": 0.5, "recover": "reconstruct"}}, True),
    ],
    ids=str,
)
def test_the_pictures_of_a_recipe_are_for_the_steps_that_look_at_pictures(step: dict[str, Any], looks: bool) -> None:
    recipe = Recipe.model_validate({"model": "net.cfg", "data": "digits", "steps": [step]})
    [command] = commands(recipe, Path("out"), typer.main.get_group(app))
    assert ("--data" in command.arguments) is looks
    [(verb, options)] = step.items()
    own = Recipe.model_validate({"model": "net.cfg", "steps": [{verb: options | {"data": "digits"}}]})
    if looks:
        assert "--data" in commands(own, Path("out"), typer.main.get_group(app))[0].arguments
    else:
        with pytest.raises(ConfigError, match=r"step 1 \(\w+\): data 'digits': with these options nothing looks at it"):
            commands(own, Path("out"), typer.main.get_group(app))


def record_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def test_every_step_is_done_and_named_with_what_made_it(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    record = record_of(finished)
    assert [(step["name"], step["verb"], step["state"]) for step in record["steps"]] == [
        ("dense", "train", "done"),
        ("small", "prune", "done"),
        ("tuned", "train", "done"),
        ("eval", "eval", "done"),
        ("bench", "bench", "done"),
        ("export", "export", "done"),
    ]
    dense, small, tuned = (step["size"] for step in record["steps"][:3])
    assert small["macs"] < dense["macs"]
    assert tuned == small | {"nonzeros": tuned["nonzeros"], "nonzero_macs": tuned["nonzero_macs"]}
    made = load_model(str(finished / "03-tuned" / "model"))
    assert sum(parameter.numel() for parameter in made.model.parameters()) == tuned["params"]
    commands = [step["command"].split() for step in record["steps"]]
    assert commands[2][:3] == ["sapwood", "train", str(finished / "02-small")]
    assert commands[2][commands[2].index("--teacher") + 1] == str(finished / "01-dense" / "model")
    assert commands[4][2:4] == [str(finished / "01-dense" / "model"), str(finished / "03-tuned" / "model")]
    assert (finished / "06-export" / "network.onnx").is_file()
    assert record["steps"][3]["result"]["primary"] == "mAP@0.5"
    page = (finished / "report.html").read_text()
    assert page == render_run(record)
    assert "All 6 steps are done." in page
    assert re.fullmatch(r"sapwood run \S+recipe.yaml -o \S+out", record["made"]["command"])
    assert 'href="02-small/report.html"' in page
    printed = capsys.readouterr().out
    assert "[6/6] sapwood export" in printed
    assert "report: " in printed


def test_nothing_is_done_twice(finished: Path, ran: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    before = record_of(finished)
    capsys.readouterr()
    assert ran(STEPS, out=finished) == 0
    assert capsys.readouterr().out.count("done before") == len(STEPS)
    assert record_of(finished) == before


def test_a_recipes_data_may_be_of_other_steps(ran: Callable[..., int], tmp_path: Path) -> None:
    steps = [{"name": "small", "prune": {"sparsity": 0.25}}, {"mask": {"method": "l1_unstructured"}}, {"eval": {}}]
    assert ran(steps, tmp_path / "out") == 0


def test_a_step_that_changed_is_done_anew_and_what_it_made_is_kept(
    finished: Path, ran: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [*STEPS[:1], {"name": "small", "prune": {"sparsity": 0.25, "round_to": 2}}, *STEPS[2:]]
    capsys.readouterr()
    assert ran(changed, out=finished) == 0
    printed = capsys.readouterr().out
    assert printed.count("done before") == 1
    record = record_of(finished)
    assert record["steps"][1]["size"]["params"] > 0
    kept = load_model(str(finished / "02-small.before-1"))
    now = load_model(str(finished / "02-small"))
    small, large = (sum(one.numel() for one in bundle.model.parameters()) for bundle in (kept, now))
    assert small < large
    assert (finished / "03-tuned.before-1" / "model").is_dir()


def test_the_recipes_own_weights_and_names_go_where_they_are_wanted(cfg: Path, data: Path, tmp_path: Path) -> None:
    steps = [
        {"name": "small", "prune": {"sparsity": 0.5}},
        {"bench": {}, "model": ["original", "small"]},
        {"train": {"teacher": "original"}},
        {"eval": {}, "model": "original"},
    ]
    whole = {"model": str(cfg), "weights": "w.weights", "names": "x.names", "data": str(data), "steps": steps}
    recipe = Recipe.model_validate(whole)
    prune, bench, train, evaluate = (
        shlex.join(command.arguments) for command in commands(recipe, tmp_path, typer.main.get_group(app))
    )
    assert "--weights w.weights --names x.names" in prune
    assert "--weights w.weights" in bench
    assert "--names" not in bench
    assert "--teacher-weights w.weights" in train
    assert " --weights" not in train
    assert "--weights w.weights --names x.names" in evaluate
    turned = Recipe.model_validate({**whole, "steps": [steps[0], {"bench": {}, "model": ["small", "original"]}]})
    with pytest.raises(ConfigError, match=r"step 2 \(bench\): the network with `weights` stands behind another"):
        commands(turned, tmp_path, typer.main.get_group(app))


def test_another_network_in_the_same_directory_is_another(
    ran: Callable[..., int], run: Callable[..., int], cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [{"inspect": {}, "model": str(tmp_path / "made")}]

    def done_before() -> int:
        capsys.readouterr()
        assert ran(steps, out=tmp_path / "out") == 0
        return capsys.readouterr().out.count("done before")

    assert run("prune", cfg, "--sparsity", 0.5, "-o", tmp_path / "made") == 0
    assert [done_before(), done_before()] == [0, 1]
    assert run("prune", cfg, "--sparsity", 0.25, "-o", tmp_path / "made") == 0
    assert done_before() == 0


@pytest.mark.parametrize("step", [1, 3], ids=["before the first checkpoint", "after it"])
def test_a_run_that_was_stopped_while_it_trained_goes_on(
    *,
    step: int,
    ran: Callable[..., int],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sapwood import training

    real = training.train

    def stopped(*arguments: Any, **options: Any) -> Any:
        def progress(done: int, total: int) -> None:
            if done == step:
                raise KeyboardInterrupt

        return real(*arguments, **{**options, "progress": progress})

    out = tmp_path / "stopped"
    monkeypatch.setattr(training, "train", stopped)
    assert ran(STEPS, out=out) == 130
    assert [step["state"] for step in record_of(out)["steps"]] == ["begun"]
    assert "0 of 6 steps are done" in (out / "report.html").read_text()
    monkeypatch.setattr(training, "train", real)
    assert ran(STEPS, out=out) == 0
    ends = [load_model(str(place / "03-tuned" / "model")).model.state_dict() for place in (out, finished)]
    assert all(bool((ends[0][name] == ends[1][name]).all()) for name in ends[0])
    assert len((out / "01-dense" / "metrics.jsonl").read_text().splitlines()) == 2


def test_what_a_stopped_run_did_not_come_to_is_remembered(
    ran: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sapwood import pipeline

    def branches(sparsity: float) -> list[dict[str, Any]]:
        first = {"name": "a", "prune": {"sparsity": sparsity}}
        return [first, {"name": "b", "model": "original", "prune": {"sparsity": 0.5}}]

    def interrupted(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    assert ran(branches(0.5), out=out) == 0
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "prune", interrupted)
        assert ran(branches(0.25), out=out) == 130
    assert [entry["name"] for entry in record_of(out)["earlier"]] == ["b"]
    capsys.readouterr()
    assert ran(branches(0.25), out=out) == 0
    assert capsys.readouterr().out.count("done before") == 1
    assert record_of(out)["earlier"] == []


def test_a_missed_target_ends_the_run_or_not(
    ran: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sapwood.cli import shrink
    from sapwood.errors import CheckFailedError

    def miss(latency: Any) -> None:
        raise CheckFailedError("latency target 0.5 missed")

    monkeypatch.setattr(shrink, "check_latency", miss)
    short = [{"prune": {"sparsity": 0.5}}, {"inspect": {}}]
    assert ran(short, out=tmp_path / "a") == 1
    assert [step["state"] for step in record_of(tmp_path / "a")["steps"]] == ["missed"]
    assert ran(short, on_missed="go_on", out=tmp_path / "b") == 1
    record = record_of(tmp_path / "b")
    assert [step["state"] for step in record["steps"]] == ["missed", "done"]
    assert record["steps"][0]["missed"] == "latency target 0.5 missed"
    assert record["steps"][0]["result"]["verb"] == "prune"
    page = (tmp_path / "b" / "report.html").read_text()
    assert "latency target 0.5 missed" in page
    assert "All 2 steps are done; 1 missed a target." in page


@pytest.mark.parametrize(
    ("steps", "others", "message"),
    [
        ([{"fly": {}}], {}, "step 1 (fly): unknown verb 'fly'; expected one of train, prune"),
        ([{"prune": {"sparsity": 2}}], {}, "sparsity"),
        ([{"prune": {"sparsity": "half"}}], {}, "step 1 (prune): Invalid value for '--sparsity'"),
        ([{"prune": {"speed": 2}}], {}, "step 1 (prune): prune has no option 'speed' in a recipe; expected one of"),
        ([{"prune": {"out": "x"}}], {}, "prune has no option 'out' in a recipe"),
        ([{"prune": {"whole_heads": 1}}], {}, "whole_heads is on or off; expected true or false, got 1"),
        ([{"prune": {}, "eval": {}}], {}, "expected one verb beside name and model, got eval, prune"),
        ([{"name": "a"}], {}, "expected one verb beside name and model, got none"),
        ([{"name": "../a", "eval": {}}], {}, "steps.0.name"),
        ([{"eval": {}}, {"eval": {}}], {}, "two steps are called 'eval'"),
        ([{"eval": {}, "model": ["original", "original"]}], {}, "step 1 (eval): eval is about one network, got 2"),
        ([], {}, "steps"),
        ([{"eval": {}}], {"modl": "x"}, "modl: unknown field"),
    ],
)
def test_bad_recipes(  # noqa: PLR0917
    steps: list[dict[str, Any]],
    others: dict[str, Any],
    message: str,
    ran: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ran(steps, **others, out=tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_an_error_names_its_step(ran: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"prune": {"sparsity": 0.5}}, {"eval": {"data": str(tmp_path / "nowhere")}}]
    assert ran(steps, out=tmp_path / "out") == 2
    assert "error: step 2 (eval): " in capsys.readouterr().err
    assert [step["state"] for step in record_of(tmp_path / "out")["steps"]] == ["done", "begun"]


def test_no_recipe(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", tmp_path / "none.yaml") == 2
    assert "none.yaml: no such file; expected a recipe in YAML" in capsys.readouterr().err


def test_a_record_that_is_none(ran: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    step = {"name": "a", "verb": "inspect", "command": "", "directory": "01-a", "state": "done", "fingerprint": "f"}
    record = {"schema": "sapwood.run/1", "model": "m", "num_steps": 1, "steps": [step], "earlier": []}
    damages: list[Any] = [[], 5, None, {"steps": [{}]}, {**record, "steps": 3}, {**record, "schema": "sapwood.run/0"}]
    damages += [{**record, "steps": [{**step, name: value}]} for name in step for value in (5, [], None)]
    damages += [{**record, "earlier": [1]}, {**record, "num_steps": "x"}]
    for text in ("", "{", "\udcff", "[" * 100_000, *map(json.dumps, damages)):
        (tmp_path / "out" / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert ran([{"inspect": {}}], out=tmp_path / "out") == 2, text
        assert re.search(r"run\.json.*expected the record of a run", capsys.readouterr().err), text


def test_a_bench_shows_every_network_on_every_runtime() -> None:
    timed = [("a", "big", 1.0, 1.0), ("a", "small", 0.25, 0.25), ("b", "big", 1.5, 1.0)]
    rows: list[dict[str, Any]] = [
        {
            "runtime": runtime,
            "model": model,
            **{"median_ms": 8 * ratio, "q1_ms": 7 * ratio, "q3_ms": 9 * ratio},
            **{"ratio": ratio, "same_runtime_ratio": same},
        }
        for runtime, model, ratio, same in timed
    ]
    rows.append({"runtime": "b", "model": "small", "median_ms": None, "ratio": None, "reason": "b has no such layer"})
    step = RunStep(name="t", verb="bench", command="", directory="1", state="done", result={"rows": rows})
    record = RunRecord(model="m", num_steps=1, steps=(step,))
    assert step_rows(record).rows[0][6] == "down to 0.25×"
    times = time_rows(record)
    assert times is not None
    assert times.rows == (
        ("t", "a", "big", "8.000 ms", "7.000 to 9.000", "1.000", "1.00 x", "1.000"),
        ("t", "a", "small", "2.000 ms", "1.750 to 2.250", "0.250", "4.00 x", "0.250"),
        ("t", "b", "big", "12.000 ms", "10.500 to 13.500", "1.500", "0.67 x", "1.000"),
        ("t", "b", "small", "not timed: b has no such layer", "–", "–", "–", "–"),
    )


def test_a_run_that_timed_nothing_has_no_times() -> None:
    assert time_rows(RunRecord(model="m", num_steps=1, steps=())) is None


def test_the_page_is_built_again(finished: Path, run: Callable[..., int]) -> None:
    page = (finished / "report.html").read_text()
    (finished / "report.html").unlink()
    assert run("report", finished) == 0
    assert (finished / "report.html").read_text() == page
    assert read_run(record_of(finished)).num_steps == len(STEPS)
