"""A module of one's own: inputs that do not fit, no task, pictures that nothing looks at, nothing to remove."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sapwood.cli.common import note_threads

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]

MODULE = """
import torch
from torch import nn

def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))

def fits():
    return module(), torch.ones(1, 3, 8, 8)

def does_not():
    return module(), torch.ones(1, 1, 8, 8)
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of Python with factories."""
    (tmp_path / "nets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "nets.py"


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [("builtin:digits-half", "nowhere", "nowhere: no such"), ("nets.py:fits", ".", "nets.py:fits has no task; ")],
)
@pytest.mark.usefixtures("nets")
def test_pictures_that_recovery_cannot_use_are_told_before_the_network_is_pruned(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch, *, model: str, data: str, message: str
) -> None:
    def pruned(*given: object) -> None:
        raise AssertionError("pruning takes minutes with --latency")

    monkeypatch.setattr("sapwood.cli.prune._pruned", pruned)
    assert run("prune", model, "--macs", "0.5", "--data", data, "--recover", "reconstruct", "-o", "small") == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "command",
    [
        ("inspect",), ("prune", "--macs", "0.5"), ("mask", "--sparsity", "0.5"), ("compact",), ("bench",),
        ("compile", "-o", "fast"), ("export", "-o", "net.onnx"), ("eval", "--data", "digits"), ("detect", "nets.py"),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_inputs_that_the_model_does_not_run_on_are_told_by_every_verb(
    command: tuple[str, ...], run: Run, nets: str, capsys: Capture
) -> None:
    verb, *options = command
    assert run(verb, f"{nets}:does_not", *options) == 2
    told = capsys.readouterr().err
    assert "nets.py:does_not: its model does not run on its example inputs: RuntimeError: Given groups=1" in told


@pytest.mark.parametrize(
    "command",
    [
        ("prune", "--macs", "0.5", "-o", "small"),
        ("compact", "-o", "small"),
        ("mask", "--sparsity", "0.5", "-o", "small"),
    ],
    ids=lambda command: command[0],
)
def test_what_measures_accuracy_is_not_proposed_for_a_model_without_a_task(
    command: tuple[str, ...], run: Run, nets: str, capsys: Capture
) -> None:
    verb, *options = command
    assert run(verb, f"{nets}:fits", *options, "-o", "small") == 0
    told = capsys.readouterr().out
    assert "No command measures its accuracy: nets.py:fits has no task; a factory says what its model is for" in told
    assert not re.search(r"sapwood eval|--recover", told)
    assert re.search(r"^next: sapwood (bench|compile) ", told, re.MULTILINE)


def test_pictures_that_nothing_looks_at_are_refused(run: Run, nets: str, capsys: Capture) -> None:
    for command, by in (
        (("inspect", f"{nets}:fits"), "--sensitivity or --blocks"),
        (("mask", f"{nets}:fits", "--sparsity", "0.5"), "a --criterion that looks at data, or --recover"),
    ):
        assert run(*command, "--data", "digits") == 2
        assert f"--data digits: nothing looks at it; expected {by}, or no --data" in capsys.readouterr().err


def test_pruning_says_that_nothing_looks_at_the_pictures(run: Run, nets: str, tmp_path: Path, capsys: Capture) -> None:
    small = tmp_path / "small"
    assert run("prune", f"{nets}:fits", "--sparsity", "0.5", "--data", "digits", "-o", small) == 0
    by = "a --criterion that looks at data, --sensitivity, --low-rank or --recover"
    assert f"note: --data digits: nothing looks at it; {by} would" in capsys.readouterr().err


def test_compact_says_that_there_was_nothing_to_remove(run: Run, nets: str, capsys: Capture) -> None:
    assert run("compact", f"{nets}:fits", "-o", "small") == 0
    told = capsys.readouterr().out
    assert "Nothing was removed: nets.py:fits has no masked or dead channel; `sapwood prune` chooses channels." in told


def test_more_threads_than_processors_are_told(capsys: Capture) -> None:
    note_threads(1)
    assert capsys.readouterr().err == ""
    note_threads(3000)
    assert re.match(r"note: --threads 3000 on \d+ processors: threads will wait", capsys.readouterr().err)


def test_a_device_of_another_name_is_told(run: Run, nets: str, capsys: Capture) -> None:
    del nets
    assert run("eval", "builtin:digits-half", "--data", "digits", "--device", "gpu") == 2
    assert capsys.readouterr().err.strip().endswith("as cpu; did you mean 'cuda'?")


@pytest.mark.parametrize("device", ["cuda:99", "xpu"])
def test_a_device_that_is_not_there_is_told_with_its_reason(device: str, run: Run, nets: str, capsys: Capture) -> None:
    del nets
    assert run("eval", "builtin:digits-half", "--data", "digits", "--device", device) == 2
    told = capsys.readouterr().err
    assert f"--device {device}: " in told
    assert "is the name of no device" not in told
    assert "did you mean" not in told
