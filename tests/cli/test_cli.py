"""The command line as a user types it: output, files and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapwood.cli import main


def run(*arguments: object) -> int:
    """Runs the command and returns its exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    printed = capsys.readouterr().out
    for verb in (
        "demo", "inspect", "mask", "compact", "prune", "train", "eval", "detect", "compare", "report"
    ):  # fmt: skip
        assert verb in printed


def test_eval_prints_json(cfg: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", cfg, "--data", data, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["num_images"] == 4
    assert 0.0 <= printed["metrics"]["mAP@0.5"] <= 1.0
    assert printed["made"]["command"].startswith("sapwood eval ")
    assert printed["unit"] == "pictures"
    assert set(printed["stage_seconds"]) == {"read", "network", "postprocess", "score"}


def test_detect_writes_pictures_and_json(cfg: Path, data: Path, tmp_path: Path) -> None:
    images = data / "images" / "val"
    assert run("detect", cfg, images / "0.png", images, "-o", tmp_path / "found", "--score-threshold", "0.01") == 0
    record = json.loads((tmp_path / "found" / "detections.json").read_text())
    drawn = [Path(entry["drawn"]).name for entry in record["images"]]
    assert drawn == ["0.jpg", "0-2.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert all((tmp_path / "found" / name).is_file() for name in drawn)


def test_mask_shows_three_states_and_saves_a_model_that_loads(
    cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "masked"
    assert run("mask", cfg, "--method", "ln_structured", "--sparsity", "0.5", "-o", out, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [printed[state]["num_live"] for state in ("before", "masked", "after_remove")] == [0, 3, 0]
    assert printed["masked"]["live_sparsity"] == pytest.approx(0.5)
    assert printed["after_remove"]["num_zeros"] == printed["masked"]["num_zeros"] > 0
    assert not list(out.glob("*.p*t*h")), "a pickle"
    assert run("mask", out, "--sparsity", "0.0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["before"]["num_live"] == 3


def test_train_then_compare_then_report(
    cfg: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run("train", cfg, "--data", data, "--epochs", 1, "--batch-size", 2, "-o", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1
    cases = tmp_path / "cases.yaml"
    cases.write_text("- {method: l1_unstructured, scope: global, layers: [conv], sparsity: 0.5}\n")
    compared = tmp_path / "compared"
    assert run("compare", out / "model", "--data", data, "--cases", cases, "-o", compared, "--rounds", 3) == 0
    named = json.loads((compared / "compare.json").read_text())["model"]
    assert (named["spec"], named["weights"]) == (str(out / "model"), None), "what was compared, not what it was made of"
    record = json.loads((compared / "compare.json").read_text())
    assert [case["error"] for case in record["cases"]] == [None, None]
    page = (compared / "report.html").read_text()
    (compared / "report.html").unlink()
    assert run("report", compared) == 0
    assert (compared / "report.html").read_text() == page


def test_mask_by_score_says_what_does_not_fit(cfg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mask", cfg, "--method", "scored", "--blocks", "2:4", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["case"]["sparsity"], printed["case"]["blocks"]) == (0.5, "2:4")
    assert run("mask", cfg, "--method", "scored", "--blocks", "2:4") == 0
    assert "not masked: layers.0.conv.weight: a row has 27 weights, no multiple of 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "missing.cfg", "--data", "digits"], "missing.cfg"),
        (["eval", "no-such-model", "--data", "digits"], "names no model; expected one of"),
        (["eval", "builtin:letters", "--data", "digits"], "no built-in network 'letters'; expected one of: digits"),
        (["mask", "CFG", "--sparsity", "1.0"], r"sparsity"),
        (["mask", "CFG", "--sparsity", "nan"], r"sparsity"),
        (["mask", "CFG", "--method", "magic"], "unknown mask method 'magic'; expected one of"),
        (["mask", "CFG", "--layers", "convs"], "convs"),
        (["mask", "CFG", "--method", "ln_structured", "--scope", "global"], "structured"),
        (["mask", "CFG", "--method", "scored", "--blocks", "4:2"], "blocks: got 4:2; expected n:m with 1 <= n < m"),
        (["mask", "CFG", "--blocks", "2:4"], "blocks: got '2:4' with l1_unstructured; expected it with scored only"),
        (["eval", "CFG", "--weights", "CFG", "--data", "digits"], "small.cfg"),
        (["eval", "CFG", "--data", "nowhere"], "nowhere"),
        (["eval", "CFG", "--data", "DATA", "--split", "test"], "test"),
        (["detect", "CFG", "nothing.jpg"], "nothing.jpg"),
        (["compare", "CFG", "--data", "DATA", "--cases", "none.yaml"], "none.yaml"),
        (["train", "CFG", "--data", "DATA", "--epochs", "0"], "epochs"),
        (["report", "nowhere"], "nowhere: no such directory"),
        (["report", "CFG"], "small.cfg: is a file of "),
        (["bench", "CFG", "--runtime", "torch,", "onnxruntime"], "expected one option: --runtime torch,onnxruntime"),
        (["bench", "CFG", "--runtime", "torch", "openvino"], "openvino is a runtime and stands as a model"),
        (["export", "CFG", "-o", "net"], "net: no format is known by its end; expected --format, or one of: .cfg"),
        (["prune", "0.5", "CFG", "--macs", "0.5"], "expected one MODEL, and all else behind"),
        (["mask", "CFG", "--layers", "fc"], "did you mean 'linear'?"),
        (["detect", "PICTURE", "CFG"], "is a picture, and MODEL comes first"),
        (
            ["report", "DATA"],
            "no compare.json or report.json or mask.json or train.json or detections.json or compile.json or run.json "
            "there; expected a directory that "
            "`sapwood compare`, `prune`, `compact`, `mask`, `train`, `detect`, `compile` or `run` wrote",
        ),
    ],
)
def test_bad_input_is_named_and_exits_with_2(
    arguments: list[str], message: str, cfg: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"CFG": str(cfg), "DATA": str(data), "PICTURE": str(next((data / "images" / "val").iterdir()))}
    assert run(*(places.get(argument, argument) for argument in arguments)) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", "--no-such-option") == 2
    assert "no-such-option" in capsys.readouterr().err


@pytest.mark.slow
def test_any_module_takes_the_same_road(own_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", "shades", "--epochs", 12, "--batch-size", 4, "--lr", 0.05, "-o", "run", "--json")
    assert run("train", "ownnet:factory", *arguments) == 0
    capsys.readouterr()
    assert run("eval", "run/model", "--data", "shades", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["top-1"] == 1.0
    assert run("compare", "run/model", "--data", "shades", "--rounds", 3, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["cases"]) == 21
    assert all(case["error"] is None for case in record["cases"])


def test_a_module_without_a_task_is_told_how_to_get_one(own_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", "ownnet:bare", "--data", "shades") == 2
    assert "ownnet:bare has no task; expected a language model or a detector or a classifier" in capsys.readouterr().err
