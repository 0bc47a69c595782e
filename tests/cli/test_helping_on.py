"""The command line helps on: next steps, epochs, interruptions that say how to go on, one vocabulary of options."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import sapwood.pipeline
from sapwood.cases import default_text, parse_cases
from sapwood.cli.app import app
from sapwood.cli.renamed import RENAMED, renamed
from sapwood.config import TrainConfig

Capture = pytest.CaptureFixture[str]
Run = Callable[..., int]
Pair = tuple[Path, Path]
COMMANDS: Any = typer.main.get_command(app)


def flags(verb: str) -> set[str]:
    return {flag for one in COMMANDS.commands[verb].params for flag in one.opts}


@pytest.fixture
def stopped_recovery(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Recoveries, the first of which somebody interrupts."""
    asked: list[str] = []
    real = sapwood.pipeline.recover

    def recover(*arguments: Any, **options: Any) -> Any:
        asked.append(str(options["method"]))
        if len(asked) == 1:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("sapwood.pipeline.recover", recover, raising=False)
        yield asked


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that commands are typed in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dense(run: Run, cfg: Path, tmp_path: Path, capsys: Capture) -> Path:
    """A network whose weights are the same each time that it is loaded."""
    assert run("prune", cfg, "--sparsity", 0, "-o", tmp_path / "dense") == 0
    capsys.readouterr()
    return tmp_path / "dense"


@pytest.fixture
def pair(dense: Path, data: Path) -> Pair:
    """The network, and pictures for it."""
    return dense, data


def given(cfg: Path, data: Path, out: Path) -> tuple[object, ...]:
    return ("prune", cfg, "--sparsity", 0.5, "--data", data, "--recover", "batchnorm", "-o", out)


def test_an_interrupted_recovery_leaves_the_pruned_network_and_goes_on(
    run: Run, pair: Pair, capsys: Capture, stopped_recovery: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, data = pair
    out = dense.parent / "small"
    assert run(*given(dense, data, out)) == 130
    assert re.search(
        r"^interrupted: \S+small holds the pruned network, whose accuracy is not back; go on with: sapwood prune ",
        capsys.readouterr().err,
        re.MULTILINE,
    )
    assert stopped_recovery == ["batchnorm"]
    assert run("eval", out, "--data", data, "--json") == 0
    pruned = sapwood.load_plans(out)

    def again(*_: Any, **__: Any) -> None:
        pytest.fail("it was pruned already")

    monkeypatch.setattr("sapwood.pipeline.prune", again)
    assert run(*given(dense, data, out)) == 0
    assert "holds the network as this command pruned it; its recovery goes on" in capsys.readouterr().err
    record = json.loads((out / "report.json").read_text())
    assert record["recovery"]["method"] == "batchnorm"
    assert record["channels"] is not None
    assert sapwood.load_plans(out) == pruned
    assert not (out / "unrecovered.json").exists()


def test_another_command_prunes_anew(run: Run, pair: Pair, capsys: Capture, stopped_recovery: list[str]) -> None:
    dense, data = pair
    out = dense.parent / "small"
    assert run(*given(dense, data, out)) == 130
    capsys.readouterr()
    assert run(*given(dense, data, out), "--minimum", 2) == 0
    assert "recovery goes on" not in capsys.readouterr().err


def trained(run: Run, cfg: Path, data: Path, out: Path, *more: object) -> int:
    return run("train", cfg, "--data", data, "--batch-size", 2, "-o", out, *more)


def test_an_epoch_is_a_line_where_there_is_no_terminal(
    run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert trained(run, cfg, data, tmp_path / "run", "--epochs", 2) == 0
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("epoch")]
    assert re.fullmatch(r"epoch 1/2  loss [\d.]+  [\d.]+ s", lines[0])
    assert re.fullmatch(r"epoch 2/2  loss [\d.]+  mAP@0.5 0.\d{3}  mAP@\[.5:.95\] 0.\d{3}  [\d.]+ s", lines[1])
    assert f"next: sapwood eval {tmp_path / 'run' / 'model'} --data {data}" in printed.out
    assert trained(run, cfg, data, tmp_path / "quiet", "--epochs", 1, "--quiet") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "next:" not in printed.out


def test_interrupted_training_says_where_it_is_and_goes_on_longer_than_it_was_begun(
    run: Run, pair: Pair, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, data = pair
    out = cfg.parent / "run"

    def interrupting(record: Any, epochs: int) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sapwood.cli.train.epoch_line", interrupting)
        assert trained(run, cfg, data, out, "--epochs", 2) == 130
    assert re.search(
        r"interrupted: after 1 epoch, which \S+run holds; go on with: sapwood .*--resume", capsys.readouterr().err
    )
    assert trained(run, cfg, data, out, "--epochs", 2, "--resume") == 0
    assert trained(run, cfg, data, out, "--epochs", 3, "--resume") == 0
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
    assert trained(run, cfg, data, out, "--epochs", 2, "--resume") == 2
    assert "begun with another config: epochs 3 there and 2 here" in capsys.readouterr().err


def test_nothing_is_not_resumed(run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture) -> None:
    assert trained(run, cfg, data, tmp_path / "typo", "--resume") == 2
    assert "typo holds no run to resume; expected the -o of one, or no --resume" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("option", ["--sparsity", "--macs", "--params", "--latency"])
@pytest.mark.parametrize("written", ["50", "50 %", "50%", "0,5"])
def test_a_percentage_is_asked_about(run: Run, cfg: Path, capsys: Capture, option: str, written: str) -> None:
    assert run("prune", cfg, option, written) == 2
    meant = "0.5 or 50ms" if option == "--latency" and written == "50" else "0.5"
    assert f"did you mean {meant}?" in " ".join(re.sub("[│╭╮╰╯─]", "", capsys.readouterr().err).split())


@pytest.mark.parametrize(("verb", "option", "value", "expected"), [
    ("prune", "--round-to", "0", "at least 1"),
    ("prune", "--round-to", "eight", "a whole number"),
    ("prune", "--criterion-pictures", "-3", "at least 1"),
    ("eval", "--score-threshold", "1.5", "at most 1"),
    ("eval", "--iou-threshold", "half", "a number"),
])  # fmt: skip
def test_a_number_that_does_not_fit_is_shown(
    run: Run, cfg: Path, capsys: Capture, *, verb: str, option: str, value: str, expected: str
) -> None:
    needed = ("--macs", "0.5") if verb == "prune" else ("--data", "digits")
    assert run(verb, cfg, *needed, option, value) == 2
    told = " ".join(re.sub("[│╭╮╰╯─]", "", capsys.readouterr().err).split())
    assert re.search(rf"Invalid value for '{option}': '?{value}'?( is not|; expected {expected}$)", told)


@pytest.mark.parametrize("verb", RENAMED)
def test_old_names_stand_for_options_that_are_there(verb: str) -> None:
    for old, new in RENAMED[verb].items():
        assert new in flags(verb)
        assert old not in flags(verb), "the old name means something else"


def test_old_names_go_on_working_with_a_warning(run: Run, cfg: Path, data: Path, capsys: Capture) -> None:
    assert (
        run(
            "prune",
            cfg,
            "--sparsity",
            0.5,
            "--layers",
            "--split=val",
            "--data",
            data,
            "--criterion",
            "bn_scale",
            "--recover",
            "batchnorm",
        )
        == 0
    )
    printed = capsys.readouterr()
    assert "8x3x3x3" in printed.out
    assert [line for line in printed.err.splitlines() if line.startswith("warning: ")] == [
        "warning: --layers of sapwood prune is --show-layers now; the old name goes on working",
        "warning: --split of sapwood prune is --train-split now; the old name goes on working",
    ]


def test_what_stands_behind_two_dashes_is_no_option() -> None:
    assert renamed(["bench", "--", "--batch"]) == ["bench", "--", "--batch"]


SHARED = {"--batch-size", "--split", "--train-split", "--show-layers", "--layer-times", "--threads", "--out", "--json"}


@pytest.mark.parametrize("verb", sorted(COMMANDS.commands))
def test_options_mean_one_thing(verb: str) -> None:
    """No verb has another name for what all call the same."""
    assert not {"--batch", "--val-split", "--num-pictures"} & flags(verb)
    assert {"--quiet", "--verbose", "--json"} <= flags(verb)
    switches = {flag for one in COMMANDS.commands[verb].params if getattr(one, "is_flag", False) for flag in one.opts}
    assert not {"--latency", "--layers"} & switches


def test_help_of_training_says_the_defaults_of_its_configuration() -> None:
    shown = {one.name: one.show_default for one in COMMANDS.commands["train"].params}
    for name in ("epochs", "batch_size", "lr", "seed"):
        assert shown[name] == str(TrainConfig.model_fields[name].default)


def test_cases_are_printed_as_they_are_read(run: Run, capsys: Capture) -> None:
    assert run("compare", "--print-cases") == 0
    printed = capsys.readouterr().out
    assert printed == default_text()
    assert len(parse_cases(printed, "printed")) > 10


def test_fields_of_cases_that_are_kept_mean_what_the_options_mean() -> None:
    (row,) = parse_cases("[{kind: prune, macs: 0.4}]", "cases")
    assert (row.name, row.level()) == ("channels removed · L2 · MACs kept · 0.4", 0.6)


def test_records_are_written_where_they_are_asked_for(
    run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    for number, verb in enumerate((("eval", cfg, "--data", data), ("bench", cfg, "--rounds", 2))):
        file = tmp_path / f"{number}.json"
        assert run(*verb, "--json", "-o", file) == 0
        assert json.loads(file.read_text()) == json.loads(capsys.readouterr().out)
        assert run(*verb, "-o", tmp_path / "record.txt") == 2
        assert (
            "the result is a record (.json) or a page (.html); expected a name that ends in one"
            in capsys.readouterr().err
        )


def test_pages_are_written_where_they_are_asked_for(run: Run, pair: Pair, tmp_path: Path, capsys: Capture) -> None:
    model, pictures = pair
    page = tmp_path / "page.html"
    for verb in (
        ("eval", model, "--data", pictures, "-o", page),
        ("eval", model, "--data", pictures, "--against", model, "-o", page),
        ("bench", model, "--rounds", 2, "-o", page),
        ("export", model, "--format", "torch-export", "-o", tmp_path / "model.pt2", "--report", page),
    ):
        assert run(*verb) == 0
        assert f'<span class="quiet">{verb[0]}</span>' in page.read_text()
        page.unlink()
    assert run("export", model, "--format", "onnx", "-o", tmp_path / "a.onnx", "--report", tmp_path / "a.pdf") == 2
    assert "a report is a page; expected a name that ends in .html" in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()


def test_masks_have_a_page_that_is_made_again(run: Run, cfg: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "masked"
    assert run("mask", cfg, "--sparsity", 0.5, "-o", out) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    first = (out / "report.html").read_text()
    assert run("report", out) == 0
    assert (out / "report.html").read_text() == first
    assert run("mask", out, "--sparsity", 0.5, "--layers", "bn", "-o", out) == 0  # its own files are replaced
    assert (out / "report.html").read_text() != first
    assert run("compact", out, "-o", tmp_path / "small") == 0


@pytest.mark.parametrize("verb", ["detect", "train"])
def test_runs_have_a_page_that_is_made_again(run: Run, cfg: Path, data: Path, capsys: Capture, verb: str) -> None:
    out, name = cfg.parent / "out", {"detect": "detections.json", "train": "train.json"}[verb]
    more = (data / "images" / "val",) if verb == "detect" else ("--data", data, "--epochs", 1, "--batch-size", 2)
    assert run(verb, cfg, *more, "-o", out, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert json.loads((out / name).read_text()) == record
    assert record["made"]["command"].startswith(f"sapwood {verb} {cfg}")
    first = (out / "report.html").read_text()
    assert f'<span class="quiet">{verb}</span>' in first
    assert ("data:image/jpeg" in first) == (verb == "detect")
    assert run("report", out) == 0
    assert (out / "report.html").read_text() == first


@pytest.mark.parametrize("verb", ["detect", "train", "compare", "demo", "run"])
def test_a_page_of_somebody_elses_is_not_replaced(run: Run, cfg: Path, data: Path, capsys: Capture, verb: str) -> None:
    (cfg.parent / "recipe.yaml").write_text(json.dumps({"model": str(cfg), "steps": [{"prune": {"sparsity": 0.5}}]}))
    (cfg.parent / "report.html").write_text("<p>mine</p>")
    begin = {"detect": (cfg, data / "images" / "val"), "demo": (), "run": (cfg.parent / "recipe.yaml",)}
    assert run(verb, *begin.get(verb, (cfg, "--data", data)), "-o", cfg.parent) == 2
    assert (
        "report.html: it would be replaced, and Sapwood did not write it; expected another" in capsys.readouterr().err
    )
    assert (cfg.parent / "report.html").read_text() == "<p>mine</p>"


def test_a_report_goes_where_it_is_asked_for(run: Run, cfg: Path, tmp_path: Path, capsys: Capture) -> None:
    out, page = tmp_path / "small", tmp_path / "page.html"
    assert run("prune", cfg, "--sparsity", 0.5, "-o", out) == 0
    told = capsys.readouterr().out
    assert re.search(r"^Accuracy was not measured: outputs moved by \d+ % of the largest one\.$", told, re.MULTILINE)
    assert f"next: sapwood eval {out} --data DIR" in told
    assert run("report", out, "-o", page, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "sapwood.report/1",
        "report": str(page),
        "record": str(out / "report.json"),
    }
    assert page.read_text() == (out / "report.html").read_text()
    assert run("report", out, "-o", tmp_path / "page.pdf") == 2


@pytest.mark.parametrize("verb", ["eval", "detect", "train"])
def test_a_device_that_is_not_there_is_an_error(run: Run, cfg: Path, data: Path, capsys: Capture, verb: str) -> None:
    more = (data / "images" / "val",) if verb == "detect" else ("--data", data)
    assert run(verb, cfg, *more, "--device", "toaster") == 2
    assert "expected one that this PyTorch can use, as cpu" in capsys.readouterr().err


def test_verbose_tells_stages_and_leaves_logging_as_it_was(run: Run, cfg: Path, data: Path, capsys: Capture) -> None:
    log = logging.getLogger("sapwood")
    before = log.level, list(log.handlers)
    assert run("eval", cfg, "--data", data, "--verbose") == 0
    assert re.search(r"^\d\d:\d\d:\d\d loading \S+small.cfg: \d+\.\d s$", capsys.readouterr().err, re.MULTILINE)
    assert (log.level, list(log.handlers)) == before


def test_completion_can_be_installed(run: Run, capsys: Capture) -> None:
    assert run("--help") == 0
    assert "--install-completion" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [*COMMANDS.commands, ""])
def test_no_type_stands_beside_a_flag(run: Run, capsys: Capture, verb: str) -> None:
    assert run(*filter(None, [verb]), "--help") == 0
    told = capsys.readouterr().out
    assert "--help" in told
    assert "bool" not in told.lower()


@pytest.mark.parametrize(("options", "opened"), [((), 0), (("--open",), 1)])
def test_a_browser_opens_only_where_that_is_asked_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], opened: int
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    monkeypatch.setattr("sapwood.cli.demo.run_compare", lambda *_, **__: None)
    assert run("demo", "-o", tmp_path / "demo", *options) == 0
    assert shown == [(tmp_path / "demo" / "report.html").as_uri()] * opened


def test_random_weights_are_told_of_where_nobody_trains_them(
    run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    told = "the weights of {} are random; expected --weights FILE beside a network that was trained"
    assert run("export", cfg, "--format", "darknet", "-o", tmp_path / "a.cfg") == 0
    assert told.format(cfg) in capsys.readouterr().err
    export = ("export", "torchvision:squeezenet1_1", "--format", "torch-export", "-o", tmp_path / "a.pt2", "--json")
    assert run(*export) == 0
    assert told.format("torchvision:squeezenet1_1") in capsys.readouterr().err
    darknet = ("--format", "darknet", "-o", tmp_path / "b.cfg")
    for given in ((cfg, "--weights", tmp_path / "a.weights"), ("builtin:digits",), (cfg, "--quiet")):
        assert run("export", *given, *darknet) == 0
        assert "are random" not in capsys.readouterr().err
    assert run("inspect", cfg) == 0  # its layers and its times are what they are with any weights
    assert "are random" not in capsys.readouterr().err
    assert trained(run, cfg, data, tmp_path / "run", "--epochs", 1) == 0
    assert run("export", tmp_path / "run" / "model", *darknet) == 0
    assert "are random" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb",
    [
        ("inspect",),
        ("bench", "--rounds", "1"),
        ("export", "--format", "torch-export", "-o", "a.pt2"),
        ("prune", "--sparsity", "0.5", "-o", "small"),
        ("eval", "--data", "DATA"),
    ],
    ids=lambda verb: verb[0],
)
@pytest.mark.usefixtures("here")
def test_next_steps_name_the_weights_that_were_given(
    run: Run, cfg: Path, data: Path, capsys: Capture, verb: Any
) -> None:
    assert run("export", cfg, "--format", "darknet", "-o", "a.cfg", "--quiet") == 0
    capsys.readouterr()
    more = [data if part == "DATA" else part for part in verb[1:]]
    assert run(verb[0], cfg, "--weights", "a.weights", *more) == 0
    proposed = [line for line in capsys.readouterr().out.splitlines() if f" {cfg} " in line]
    assert proposed
    assert all("--weights a.weights" in line for line in proposed if "sapwood" in line)


def test_a_saved_network_is_named_by_its_directory(run: Run, dense: Path, capsys: Capture) -> None:
    """What it was built from may have other widths and classes by now."""
    small = dense.with_name("small")
    assert run("prune", dense, "--sparsity", 0.5, "-o", small) == 0
    told = capsys.readouterr().out
    assert f"sapwood bench {dense} {small} --runtime" in told
    assert sapwood.load_model(str(small)).name == str(small)


def test_every_stage_of_pruning_is_named_before_it_begins(run: Run, pair: Pair, capsys: Capture) -> None:
    cfg, data = pair
    options = ("--criterion", "taylor", "--labels", "own", "--recover", "reconstruct", "--verbose")
    assert run("prune", cfg, "--sparsity", "0.5", "--data", data, *options, "-o", cfg.parent / "small") == 0
    told = re.findall(r"^\d\d:\d\d:\d\d (.*) \.\.\.$", capsys.readouterr().err, re.MULTILINE)
    wanted = (f"loading {cfg}", "reading pictures", "scoring channels, removing them, comparing", "reconstructing")
    assert [told.index(stage) for stage in wanted] == sorted(told.index(stage) for stage in wanted)


def test_on_a_terminal_importing_is_named() -> None:
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "sapwood", "compact", "nothing-there"])
    told = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as output:
        while part := output.read(4096):
            told += part
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert -1 < told.find(b"loading PyTorch") < told.find(b"names no model")
