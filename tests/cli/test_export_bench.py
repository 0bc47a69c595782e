"""``sapwood export`` and ``sapwood bench`` as a user types them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sapwood
from sapwood.errors import EngineMissingError
from sapwood.masks import MaskCase, apply_masks_
from sapwood.pipeline import LayerSparsity, SparsityOutcome
from sapwood.runtime import load
from sapwood.runtime.engine import instruction_set

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("name", "files"), [
    ("onnx", ["net.onnx"]),
    ("openvino", ["net.xml", "net.bin"]),
    ("torch-export", ["net.pt2"]),
    ("darknet", ["net.cfg", "net.weights"]),
])  # fmt: skip
def test_export_writes_and_tells(name: str, files: list[str], run: Run, tmp_path: Path, capsys: Capture) -> None:
    assert run("export", "builtin:digits", "--format", name, "-o", tmp_path / files[0], "--json") == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [Path(one["path"]).name for one in record["written"]] == files
    assert record["size_bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert record["check"]["max_relative_error"] <= record["check"]["tolerance"]
    assert record["made"]["command"].startswith("sapwood export builtin:digits --format")


def test_export_prints_the_check(run: Run, tmp_path: Path, capsys: Capture) -> None:
    arguments = ("--format", "onnx", "-o", tmp_path / "net.onnx", "--dynamic-batch", "--batch", 2)
    assert run("export", "builtin:digits", *arguments) == 0
    text = capsys.readouterr().out
    assert "net.onnx  " in text
    assert "of the largest output, of at most 1e-04" in text


@pytest.mark.parametrize(("arguments", "message"), [
    (("--format", "caffe", "-o", "net.x"), "unknown format 'caffe'; expected one of: darknet, onnx"),
    (("--format", "onnx", "-o", "net.pt"), "expected a name that ends in .onnx"),
    (("--format", "darknet", "-o", "net.cfg", "--batch-size", 2), "expected neither --batch-size nor --dynamic-batch"),
])  # fmt: skip
def test_export_refuses(arguments: tuple[object, ...], message: str, run: Run, capsys: Capture) -> None:
    assert run("export", "builtin:digits", *arguments) == 2
    assert message in capsys.readouterr().err


def test_bench_compares_models_on_runtimes(run: Run, capsys: Capture) -> None:
    arguments = ("--runtime", "torch,onnxruntime,openvino", "--rounds", 2, "--threads", 1, "--batch", 2, "--json")
    assert run("bench", "builtin:digits", "builtin:digits", *arguments) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    pairs = [(row["model"], row["runtime"]) for row in record["rows"]]
    models = ("builtin:digits", "builtin:digits (2)")
    assert pairs == [(model, name) for name in ("torch", "onnxruntime", "openvino") for model in models]
    assert record["baseline"] == ["builtin:digits", "torch"]
    assert record["rows"][0]["ratio"] == 1.0
    assert [row["same_runtime_ratio"] for row in record["rows"][::2]] == [1.0, 1.0, 1.0]
    assert all(row["median_ms"] > 0 and row["max_relative_error"] <= 1e-4 for row in record["rows"])
    assert (record["conditions"]["threads"], record["conditions"]["batch"]) == (1, 2)
    assert set(record["versions"]) == {"torch", "onnxruntime", "openvino"}


@pytest.fixture
def engine() -> None:
    try:
        instruction_set()
    except EngineMissingError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("engine")
def test_compile_saves_what_the_runtime_loads(run: Run, tmp_path: Path, capsys: Capture) -> None:
    mask = ("--method", "l1_unstructured", "--sparsity", 0.9, "-o", tmp_path / "masked")
    assert run("mask", "builtin:digits", *mask) == 0
    capsys.readouterr()
    fast = tmp_path / "fast"
    assert run("compile", tmp_path / "masked", "-o", fast, "--no-tune", "--threads", 1, "--explain") == 0
    text = capsys.readouterr().out
    assert "convolution" in text
    assert "90.0% of the weights zero, no calls left to PyTorch" in text
    assert run("compile", tmp_path / "masked", "-o", fast, "--no-tune", "--threads", 1, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    files = ("network.json", "weights.safetensors")
    assert record["size_bytes"] == sum((fast / name).stat().st_size for name in files) < 3_857_000 / 5
    assert record["beside"]["rounds"] >= 5
    assert record["max_relative_error"] < 1e-3
    assert json.loads((fast / "compile.json").read_text()) == record
    first = (fast / "report.html").read_text()
    assert run("report", fast) == 0
    assert (fast / "report.html").read_text() == first
    bundle = sapwood.load_model(str(tmp_path / "masked"))
    assert isinstance(bundle.example_inputs, torch.Tensor)
    picture = torch.rand(1, *bundle.example_inputs.shape[1:])
    with torch.no_grad():
        wanted = bundle.model(picture)
    for one, other in zip(load(fast)(picture), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("ratio", "code"), [(0.51, 0), (0.6, 1)])
def test_a_latency_for_masks_that_is_missed_is_told(
    ratio: float, code: int, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LayerSparsity("layers.0.conv.weight", 432, 0.5, 2.0, 1.0, 0.1)
    where = {"runtime": "sapwood", "threads": 1, "batch": 1}
    outcome = SparsityOutcome(
        0.5, ratio, ratio - 0.01, ratio + 0.01, 2.0, 1.0, ((0.5, ratio),), "harm", (layer,), where
    )

    def masked(model: torch.nn.Module, case: MaskCase, *args: object, **options: object) -> object:
        return apply_masks_(model, replace(case, sparsity=0.25)), outcome

    monkeypatch.setattr("sapwood.pipeline.masking.mask_to_latency_", masked)
    arguments = ("mask", "builtin:digits", "--method", "scored", "--latency", 0.5)
    assert run(*arguments) == code
    verdict = ("met", "missed")[code]
    assert f"latency target 0.5× {verdict}: {ratio:.3f}× measured on sapwood" in capsys.readouterr().out
    assert run(*arguments, "--json") == code
    record = json.loads(capsys.readouterr().out)
    assert record["mask_latency"]["met"] is (code == 0)
    assert record["case"]["sparsity"] == 0.25  # what was done, not what a default says
    assert run(*arguments, "--sparsity", 0.5) == 2
    assert "expected neither --sparsity nor --budget" in capsys.readouterr().err


def test_saving_replaces_no_other_directory(run: Run, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run("mask", "builtin:digits", "--method", "l1_unstructured", "--sparsity", 0.9, "-o", tmp_path) == 2
    assert "Sapwood did not write it: there is no plan.json in it" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("engine")
def test_accuracy_on_the_sparse_engine(run: Run, capsys: Capture) -> None:
    values = []
    for runtime in ("torch", "sapwood"):
        assert run("eval", "builtin:digits", "--data", "digits", "--runtime", runtime, "--json") == 0
        record = json.loads(capsys.readouterr().out)
        assert record["runtime"] == runtime
        values.append(record["metrics"])
    assert values[0] == pytest.approx(values[1], abs=1e-3)


@pytest.mark.usefixtures("engine")
def test_bench_on_the_sparse_engine(run: Run, capsys: Capture) -> None:
    assert run("bench", "builtin:digits", "--runtime", "torch,sapwood", "--rounds", 2, "--threads", 1, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["runtime"] for row in rows] == ["torch", "sapwood"]
    assert rows[1]["median_ms"] > 0
    assert rows[1]["max_relative_error"] < 1e-4


def test_a_missing_runtime_is_a_row(run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert run("bench", "builtin:digits", "--runtime", "openvino,torch", "--rounds", 1, "--threads", 1) == 0
    text = capsys.readouterr().out
    assert "openvino is not installed; install it by: pip install 'sapwood" in text
    assert "ratio to builtin:digits on torch" in text
    assert run("bench", "builtin:digits", "--runtime", "openvino", "--rounds", 1) == 2


def test_a_wrong_conversion_is_not_timed(run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from sapwood.runtime.onnxruntime import OnnxRuntimeSession

    outputs = OnnxRuntimeSession.outputs
    monkeypatch.setattr(OnnxRuntimeSession, "outputs", lambda self: [2 * one for one in outputs(self)])
    assert run("bench", "builtin:digits", "--runtime", "onnxruntime,torch", "--rounds", 1, "--json") == 1
    wrong, right = json.loads(capsys.readouterr().out)["rows"]
    assert wrong["check_failed"]
    assert wrong["median_ms"] is None
    assert right["median_ms"] > 0


def test_more_weights_than_models_are_refused(run: Run, capsys: Capture) -> None:
    assert run("bench", "builtin:digits", "--weights", "a", "--weights", "b") == 2
    assert "got 2 --weights for 1 models" in capsys.readouterr().err
