"""Ctrl-C in any verb: exit code 130, where it stopped, and a command that goes on."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Capture = pytest.CaptureFixture[str]
Run = Callable[..., int]

VERBS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "NET"),
    "prune": ("prune", "NET", "--sparsity", "0.5", "-o", "my out"),
    "mask": ("mask", "NET", "--sparsity", "0.5", "-o", "my out"),
    "compact": ("compact", "NET", "-o", "my out"),
    "compile": ("compile", "NET", "--no-tune", "--threads", "1", "-o", "my out"),
    "eval": ("eval", "NET", "--data", "DATA"),
    "detect": ("detect", "NET", "PICTURES", "-o", "my out"),
    "export": ("export", "NET", "--format", "darknet", "-o", "my out.cfg"),
    "bench": ("bench", "NET", "--rounds", "1"),
    "train": ("train", "NET", "--data", "DATA", "--epochs", "1", "--batch-size", "2", "-o", "my out"),
}


@pytest.fixture
def here(cfg: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A network and pictures, beside which commands are typed."""
    monkeypatch.chdir(cfg.parent)
    return cfg, data


@pytest.mark.parametrize("verb", VERBS)
def test_what_was_interrupted_at_its_beginning_is_started_again_by_what_it_says(
    verb: str, run: Run, here: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, data = here
    inputs = {"NET": str(cfg), "DATA": str(data), "PICTURES": str(data / "images" / "val")}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sapwood.models.load_model", stop)
        assert run(*(inputs.get(one, one) for one in VERBS[verb])) == 130
    told = capsys.readouterr().err
    found = re.search(
        r"^interrupted: before anything new was written; start again with: (sapwood .*)$", told, re.MULTILINE
    )
    assert found
    assert not Path("my out").exists()
    assert run(*shlex.split(found[1])[1:]) == 0


def test_train_interrupted_after_its_last_epoch_says_what_there_is_and_ends_when_it_goes_on(
    run: Run, here: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, data = here

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    arguments = ("train", cfg, "--data", data, "--epochs", "2", "--batch-size", "2", "-o", "my out")
    with monkeypatch.context() as patch:
        patch.setattr("sapwood.report.render_train", stop)
        assert run(*arguments) == 130
    found = re.search(
        r"^interrupted: after 2 epochs, which my out holds; go on with: (.*)$", capsys.readouterr().err, re.M
    )
    assert found
    assert not Path("my out/report.html").exists()
    assert run(*shlex.split(found[1])[1:]) == 0
    assert Path("my out/report.html").exists()


ENDING = """
import atexit, sys, time
from sapwood.cli import main
sys.argv = ["sapwood", "--version"]
atexit.register(lambda: (print("leaving", flush=True), time.sleep(2)))
main()
"""


def test_a_command_that_has_ended_is_not_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ended:
        assert ended.stdout is not None
        assert [next(ended.stdout).split()[0], next(ended.stdout).strip()] == ["sapwood", "leaving"]
        ended.send_signal(signal.SIGINT)
        assert ended.communicate(timeout=60)[1] == ""
    assert ended.returncode == 0


def test_detect_says_how_many_pictures_are_drawn(
    run: Run, cfg: Path, data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sapwood import tasks

    detect, asked = tasks.detect, []

    def stopped(*arguments: object, **options: object) -> object:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return detect(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("sapwood.tasks.detect", stopped)
    out = cfg.parent / "my found"
    assert run("detect", cfg, data / "images" / "val", "-o", out) == 130
    told = capsys.readouterr().err
    found = re.search(
        r"^interrupted: 2 of 4 pictures are drawn in .*my found; all are drawn by: (sapwood .*)$", told, re.M
    )
    assert found
    assert run(*shlex.split(found[1])[1:]) == 0
    assert len(json.loads((out / "detections.json").read_text())["images"]) == 4
