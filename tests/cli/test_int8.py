"""Int8 as a user types it: files, accuracy on the runtime, times, targets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sapwood.pipeline import quantising

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxruntime.quantization", reason="needs pip install sapwood[int8]")

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]
FACTORY = "ownnet:factory"


def test_a_file_is_written_and_told_of(own_model: Path, run: Run, capsys: Capture) -> None:
    arguments = ("export", FACTORY, "--format", "onnx", "-o", "net.onnx", "--int8", "--data", "shades", "--threads", 1)
    assert run(*arguments, "--int8-ignore", "5") == 0
    text = capsys.readouterr().out
    assert "int8: 1 of 2 layers, " in text
    assert "ranges from 8 pictures" in text
    assert "float32: 5 (--int8-ignore)" in text
    assert "agrees with float32 on " in text
    assert "% of what both find in 8 pictures; top-1 0." in text
    assert run(*arguments, "--json") == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert record["int8"]["num_int8"] == record["int8"]["num_layers"] == 2
    assert record["int8"]["runtime"] == "onnxruntime-int8"
    assert record["int8"]["float32"] == pytest.approx(record["int8"]["accuracy"], abs=0.2)


@pytest.mark.parametrize(("arguments", "message"), [
    (("--format", "onnx", "--int8"), "takes the range of every value from pictures (no labels); expected --data"),
    (("--format", "onnx", "--data", "shades"), "--data is of --int8; expected --int8 beside it"),
    (("--format", "onnx", "--int8-max-drop", 0.1), "--int8-max-drop is of --int8; expected --int8 beside it"),
    (("--format", "onnx", "--int8-pictures", 8), "--int8-pictures is of --int8; expected --int8 beside it"),
    (("--format", "onnx", "--split", "val"), "--split is of --int8; expected --int8 beside it"),
    (("--format", "onnx", "--train-split", "val"), "--train-split is of --int8; expected --int8 beside it"),
    (("--format", "onnx", "--threads", 1), "--threads is of --int8; expected --int8 beside it"),
    (("--format", "onnx", "--int8", "--data", "nowhere"), "nowhere: no such "),
    (("--format", "onnx", "--int8", "--data", "shades", "--int8-max-drop", 2), "--int8-max-drop 2; expected a"),
    (("--format", "torch-export", "--int8", "--data", "shades"), "torch-export files hold no int8; expected"),
])  # fmt: skip
def test_what_does_not_fit_is_exit_code_2(
    arguments: tuple[object, ...], message: str, own_model: Path, run: Run, capsys: Capture
) -> None:
    name = "net.pt2" if "torch-export" in arguments else "net.onnx"
    assert run("export", FACTORY, "-o", name, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (own_model / name).exists()


def test_a_file_that_is_too_bad_is_exit_code_1(
    own_model: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_model / "net.onnx").write_bytes(b"earlier")
    worse = quantising.Judged(0.5, "top-1", 1.0, 0.5)
    monkeypatch.setattr(quantising._Quantising, "_judged", lambda self, quantised: worse)
    arguments = ("--int8", "--data", "shades", "--int8-max-drop", 0.1, "--threads", 1)
    assert run("export", FACTORY, "--format", "onnx", "-o", "net.onnx", *arguments) == 1
    assert "int8 loses 0.5000 of top-1 (1.0000 to 0.5000)" in capsys.readouterr().err
    assert (own_model / "net.onnx").read_bytes() == b"earlier"


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-int8"])
def test_accuracy_is_that_of_the_runtime(runtime: str, own_model: Path, run: Run, capsys: Capture) -> None:
    assert run("eval", FACTORY, "--data", "shades", "--runtime", runtime, "--threads", 1, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["runtime"] == runtime
    assert record["num_images"] == 8


@pytest.mark.parametrize(("runtime", "message"), [
    ("nothing", "unknown runtime 'nothing'; expected one of: onnxruntime, onnxruntime-int8, openvino"),
])  # fmt: skip
def test_a_runtime_that_is_none_is_named(
    runtime: str, message: str, own_model: Path, run: Run, capsys: Capture
) -> None:
    assert run("eval", FACTORY, "--data", "shades", "--runtime", runtime) == 2
    assert message in capsys.readouterr().err


def test_bench_times_int8_and_says_what_it_was_calibrated_on(own_model: Path, run: Run, capsys: Capture) -> None:
    arguments = ("--runtime", "onnxruntime,onnxruntime-int8", "--rounds", 2, "--threads", 1)
    assert run("bench", FACTORY, *arguments) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "int8 is calibrated on random inputs, for the time only" in text
    assert "not timed" not in text


def test_layers_and_targets_are_those_of_int8(own_model: Path, run: Run, capsys: Capture) -> None:
    assert run("inspect", FACTORY, "--latency", "--runtime", "onnxruntime-int8", "--threads", 1, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["latency"]["conditions"]["runtime"] == "onnxruntime-int8"
    assert {"0", "5"} <= {layer["layer"] for layer in record["latency"]["layers"]}
