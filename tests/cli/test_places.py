"""Where results go: asked before the work, own files stay, and a model's directory is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sapwood.models import load_model, save_model

VERBS: dict[str, tuple[str, ...]] = {
    "prune": ("prune", "NET", "--sparsity", "0.5"),
    "mask": ("mask", "NET"),
    "compact": ("compact", "NET"),
    "compile": ("compile", "NET"),
    "export": ("export", "NET", "--format", "onnx"),
    "eval": ("eval", "NET", "--data", "DATA"),
    "against": ("eval", "NET", "--data", "DATA", "--against", "NET"),
    "bench": ("bench", "NET"),
    "page of export": ("export", "NET", "--format", "onnx", "-o", "net.onnx", "--report"),
    "inspect": ("inspect", "NET"),
    "detect": ("detect", "NET", "PICTURES"),
    "compare": ("compare", "NET", "--data", "DATA"),
    "demo": ("demo", "--no-open"),
    "train": ("train", "NET", "--data", "DATA"),
    "run": ("run", "RECIPE"),
}
ENDS = {"export": ".onnx", "eval": ".json", "against": ".html", "bench": ".html", "page of export": ".html"}
DIRECTORIES = ("prune", "mask", "compact", "compile")


@pytest.fixture
def inputs(tmp_path: Path, cfg: Path, data: Path) -> dict[str, str]:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"model": str(cfg), "steps": [{"prune": {"sparsity": 0.5}}]}))
    pictures = data / "images" / "val"
    return {"NET": str(cfg), "DATA": str(data), "PICTURES": str(pictures), "RECIPE": str(recipe)}


@pytest.fixture
def begin(
    inputs: dict[str, str], run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Path | str], int]:
    """Runs a verb up to where its work would begin."""

    def no_work(*_: object, **__: object) -> None:
        pytest.fail("the work has begun")

    monkeypatch.setattr("sapwood.models.load_model", no_work)
    monkeypatch.setattr("sapwood.cli.runner.Runner.run_all", no_work)

    def begin_verb(verb: str, out: Path | str) -> int:
        given = [inputs.get(one, one) for one in VERBS[verb]]
        return run(*given, *(() if given[-1] == "--report" else ("-o",)), out)

    return begin_verb


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("verb", VERBS)
def test_a_place_that_cannot_be_is_refused_before_the_work(
    verb: str, tmp_path: Path, begin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert begin(verb, tmp_path / "file" / f"out{ENDS.get(verb, '')}") == 2
    assert f"{tmp_path}/file is a file; expected a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("verb", VERBS)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    verb: str,
    tmp_path: Path,
    begin: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / f"out{ENDS.get(verb, '')}"
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != tmp_path)
    assert begin(verb, out) == 2
    assert f"error: {out}: cannot be written (Permission denied: {tmp_path})" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(set(VERBS) - set(DIRECTORIES) - set(ENDS) - {"inspect"}))
def test_a_file_where_a_folder_should_be(
    verb: str, tmp_path: Path, begin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    assert begin(verb, tmp_path / "out") == 2
    assert "out: a file; expected a folder, or nothing there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("compare", "compare.json"),
        ("demo", "report.html"),
        ("detect", "detections.json"),
        ("run", "run.json"),
        ("train", "metrics.jsonl"),
        ("train", "checkpoint.safetensors"),
        ("train", "train.json"),
    ],
)
def test_a_folder_where_a_file_of_the_run_should_be(
    verb: str, name: str, tmp_path: Path, begin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    assert begin(verb, tmp_path / "out") == 2
    assert f"{name}: is a directory; expected a file, or nothing there" in capsys.readouterr().err
    assert (tmp_path / "out" / name).is_dir()


@pytest.mark.parametrize("verb", ["compare", "demo"])
def test_a_file_where_cases_should_go(
    verb: str, tmp_path: Path, begin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cases").write_text("mine")
    assert begin(verb, tmp_path / "out") == 2
    assert "cases: a file; expected a folder, or nothing there" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(set(VERBS) - set(DIRECTORIES) - set(ENDS) - {"inspect"}))
def test_files_do_not_go_among_those_of_a_saved_model(
    verb: str, tmp_path: Path, cfg: Path, begin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(load_model(str(cfg)), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert begin(verb, tmp_path / "out") == 2
    assert "out: holds a saved model, whose files would be replaced; expected another" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("verb", DIRECTORIES)
@pytest.mark.parametrize("out", [".", "..", "/"])
def test_the_working_directory_stays(
    verb: str, out: str, begin: Callable[..., int], capsys: pytest.CaptureFixture[str], in_tmp_path: None
) -> None:
    assert begin(verb, out) == 2
    assert "the working directory" in capsys.readouterr().err


def prune(run: Callable[..., int], cfg: Path, out: Path) -> int:
    return run("prune", cfg, "--sparsity", "0.5", "-o", out, "--json")


FILES = ["model.cfg", "model.safetensors", "model.weights", "plan.json", "report.html", "report.json"]


def test_own_files_beside_a_model_stay(run: Callable[..., int], cfg: Path, tmp_path: Path) -> None:
    assert prune(run, cfg, tmp_path / "disk") == 0
    (tmp_path / "disk" / "notes.txt").write_text("mine")
    (tmp_path / "small").symlink_to("disk")
    assert prune(run, cfg, tmp_path / "small") == 0
    assert sorted(os.listdir(tmp_path / "disk")) == sorted([*FILES, "notes.txt"])
    assert os.readlink(tmp_path / "small") == "disk"
    assert run("mask", cfg, "-o", tmp_path / "small") == 0
    wanted = ["mask.json", "model.cfg", "model.safetensors", "notes.txt", "plan.json", "report.html"]
    assert sorted(os.listdir(tmp_path / "disk")) == wanted, "what belonged to the pruned model is gone with it"
    assert (tmp_path / "disk" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("fails", ["sapwood.export.darknet.export_darknet", "sapwood.report.render_prune"])
def test_a_pruned_model_is_there_with_all_its_files_or_not_at_all(
    fails: str, run: Callable[..., int], cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prune(run, cfg, tmp_path / "small") == 0
    before = {name: (tmp_path / "small" / name).read_bytes() for name in FILES}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fails, stop)
    assert prune(run, cfg, tmp_path / "small") == 130
    assert {name: (tmp_path / "small" / name).read_bytes() for name in FILES} == before
    assert prune(run, cfg, tmp_path / "new") == 130
    assert not list(tmp_path.glob("*new*"))


def test_what_a_record_says_of_its_files_is_true(
    run: Callable[..., int], cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(run, cfg, tmp_path / "small") == 0
    said = json.loads(capsys.readouterr().out)["files"]
    assert said == json.loads((tmp_path / "small" / "report.json").read_text())["files"]
    assert {name: Path(path).name for name, path in said.items()} == {
        "saved": "small", "cfg": "model.cfg", "weights": "model.weights", "report": "report.html",
    }  # fmt: skip
    assert all(Path(path).exists() for path in said.values())


def test_darknet_files_that_differ_do_not_cost_the_model(
    run: Callable[..., int],
    cfg: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sapwood.export.darknet._error_of_files", lambda *_: 1.0)
    assert prune(run, cfg, tmp_path / "small") == 1
    assert (
        "error: model.cfg and model.weights, read back, differ from the network by 1.0e+00" in capsys.readouterr().err
    )
    assert sorted(os.listdir(tmp_path / "small")) == [name for name in FILES if name != "model.weights"]
    load_model(str(tmp_path / "small"))


def test_detect_does_not_draw_over_pictures_of_the_users(
    run: Callable[..., int],
    cfg: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "dog.jpg")
    before = (tmp_path / "dog.jpg").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert run("detect", cfg, "dog.jpg", "-o", ".") == 2
    assert "dog.jpg: it would be replaced, and `sapwood detect` did not draw it" in capsys.readouterr().err
    assert (tmp_path / "dog.jpg").read_bytes() == before
    for _ in range(2):
        assert run("detect", cfg, "dog.jpg", "-o", "found") == 0
    (tmp_path / "found" / "detections.json").unlink()  # as where a run was killed
    assert run("detect", cfg, "dog.jpg", "-o", "found") == 0


def test_pictures_that_an_earlier_version_drew_are_replaced(run: Callable[..., int], cfg: Path, tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    for folder in (tmp_path, found):
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "dog.jpg")
    (found / "detections.json").write_text(json.dumps({"images": [{"drawn": str(found / "dog.jpg")}]}))
    assert run("detect", cfg, tmp_path / "dog.jpg", "-o", found) == 0


def test_no_two_drawn_pictures_have_one_name(run: Callable[..., int], cfg: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a-2.png", "b/a.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "in" / name)
    given = [tmp_path / "in" / name for name in ("a.png", "a-2.png", "b/a.png")]
    assert run("detect", cfg, *given, "-o", tmp_path / "found") == 0
    assert sorted(os.listdir(tmp_path / "found")) == [
        "a-2.jpg", "a-3.jpg", "a.jpg", "detections.json", "report.html",
    ]  # fmt: skip


def test_one_process_at_a_time_writes_into_a_folder(
    run: Callable[..., int], cfg: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sapwood.files import alone_in

    with alone_in(tmp_path / "run"):
        assert run("train", cfg, "--data", data, "-o", tmp_path / "run") == 2
    assert "run: another process of Sapwood is writing there; expected a folder of its own" in capsys.readouterr().err


def test_the_second_file_of_an_export_is_not_another_programs(
    run: Callable[..., int], cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.weights").write_bytes(b"mine")
    assert run("export", cfg, "--format", "darknet", "-o", tmp_path / "net.cfg") == 2
    assert "net.weights: it would be replaced, and Sapwood did not write it" in capsys.readouterr().err
    assert (tmp_path / "net.weights").read_bytes() == b"mine"


def test_a_compiled_network_says_its_own_size(
    run: Callable[..., int], cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compile", cfg, "--no-tune", "-o", tmp_path / "fast", "--json") == 0
    size = json.loads(capsys.readouterr().out)["size_bytes"]
    (tmp_path / "fast" / "data").mkdir()
    (tmp_path / "fast" / "notes.txt").write_text("mine")
    assert run("compile", cfg, "--no-tune", "-o", tmp_path / "fast", "--json") == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] == size
    assert sorted(os.listdir(tmp_path / "fast")) == [
        "compile.json", "data", "network.json", "notes.txt", "report.html", "weights.safetensors",
    ]  # fmt: skip


def test_a_model_is_written_over_the_one_it_was_made_of(run: Callable[..., int], cfg: Path, tmp_path: Path) -> None:
    save_model(load_model(str(cfg)), tmp_path / "net")
    shutil.copytree(tmp_path / "net", tmp_path / "copy")
    assert prune(run, tmp_path / "net", tmp_path / "net") == 0
    assert prune(run, tmp_path / "copy", tmp_path / "other") == 0
    both = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("net", "other")]
    assert both[0] == both[1]
