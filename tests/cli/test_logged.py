"""Logs without a terminal: what takes long says what it is and how far it is, every so often."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sapwood.cli import logged
from sapwood.cli.logged import LoggedStage
from sapwood.cli.progress import doing, progress_bar

Capture = pytest.CaptureFixture[str]
Run = Callable[..., int]


def waited_for(told: Callable[[], bool]) -> None:
    """Waits until something has been told, ten seconds at most."""
    end = time.monotonic() + 10.0
    while not told() and time.monotonic() < end:
        time.sleep(0.005)
    assert told()


def test_a_long_stage_says_how_far_it_is_and_then_that_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logged, "FIRST", 0.05)
    lines: list[str] = []
    with LoggedStage("reconstructing", lines.append) as stage:
        stage(0, 4)
        stage(1, 4)
        waited_for(lambda: len(lines) >= 2)
        stage(4, 4)
        done = len(lines)
        time.sleep(0.15)
    assert re.fullmatch(r"reconstructing: 1 of 4, 0 s, about \d s left", lines[0])
    assert lines[-1] == "reconstructing: 4 of 4, 0 s"
    assert len(lines) == done  # a bar that is open while the next one is at work says nothing more


def test_what_reports_nothing_is_named_as_well(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setattr(logged, "FIRST", 0.02)
    with doing("reading pictures"):
        time.sleep(0.1)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("reading pictures: 0 s\n")


def test_short_stages_and_failed_ones_say_nothing_at_their_end(capfd: Capture) -> None:
    with progress_bar("timing") as progress:
        progress(3, 3)
    with pytest.raises(KeyboardInterrupt), progress_bar("timing"):
        raise KeyboardInterrupt
    assert capfd.readouterr().err == ""


def test_lines_of_epochs_put_the_next_one_off(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setattr(logged, "FIRST", 0.3)
    with progress_bar("training") as progress:
        for epoch in range(20):
            time.sleep(0.03)
            progress.line(f"epoch {epoch}")
    told = capfd.readouterr().err.splitlines()
    assert told == [f"epoch {epoch}" for epoch in range(20)]


def test_a_resumed_stage_tells_what_is_left_by_what_it_did_itself() -> None:
    assert logged._left(100.0, 40, 40, 100, 130.0) is None
    assert logged._left(100.0, 40, 50, 100, 130.0) == pytest.approx(150.0)


def test_the_log_of_a_verb_names_its_stages_beside_its_json(
    run: Run, cfg: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logged, "FIRST", 0.001)
    stage = "scoring channels, removing them, comparing: "
    assert run("prune", cfg, "--sparsity", 0.5, "-o", tmp_path / "small", "--json") == 0
    told = capsys.readouterr()
    json.loads(told.out)
    assert stage in told.err
    assert run("prune", cfg, "--sparsity", 0.5, "-o", tmp_path / "small", "--json", "--quiet") == 0
    assert stage not in capsys.readouterr().err
