"""Where the time goes and what hurts, as a user asks for it: `inspect`, `prune --latency`, `report`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sapwood.cli.shrink import check_latency
from sapwood.errors import CheckFailedError
from sapwood.goals import Deployment, GroupMultiple, LatencyOutcome, LayerSteps, WidthSteps
from sapwood.models import load_model
from sapwood.report.records import TargetLatency, WidthTimes, make_part
from sapwood.report.widths import widths_text

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement is taken from, or left in, the user's folder; few rounds are enough to see a table."""
    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sapwood.pipeline.shrinking.INSPECT_ROUNDS", 2)
    monkeypatch.setattr("sapwood.goals.latency_of_widths.MAX_ATTEMPTS", 1)
    monkeypatch.setattr("sapwood.goals.clock.ROUNDS", 3)


def test_inspect_times_layers_and_measures_sensitivity(
    run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    page = tmp_path / "inspect.html"
    timing = ("--latency", "--runtime", "torch", "--threads", 1, "--batch", 2)
    harm = ("--sensitivity", "divergence", "--data", data, "--num-pictures", 2)
    assert run("inspect", cfg, *timing, *harm, "-o", page, "--json") == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    layers = {row["layer"]: row for row in record["latency"]["layers"]}
    assert layers["layers.1.conv"]["macs_before"] == 2 * 8 * 8 * 9 * 8 * 8, "of both examples"
    assert (record["latency"]["conditions"]["runtime"], record["latency"]["conditions"]["batch"]) == ("torch", 2)
    assert record["latency"]["spread"] >= 0.0, "what the runs' middle half spans, for the warning of a busy machine"
    assert [row["group"] for row in record["sensitivity"]["rows"]] == [
        "layers.0.conv.weight[0]", "layers.1.conv.weight[0]"
    ]  # fmt: skip
    assert "Where the time goes" in page.read_text()
    assert "divergence" in page.read_text()


def test_inspect_shows_what_widths_a_runtime_likes(
    run: Run, cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    layer = LayerSteps("layers.1.conv", 2.0, {1: 1.4321, 16: 1.0}, {8: 1.0})
    times = {1: (1.3, 0.02), 2: (1.2, 0.01), 4: (1.1, 0.01), 8: (1.05, 0.01), 16: (1.0, 0.0)}
    groups = tuple(GroupMultiple(f"layers.{number}.weight[0]", 0, 1) for number in range(6))
    found = WidthSteps("onnxruntime", 16, times, (layer,), "2026-11-29", {"threads": 1}, groups, (0.991, 0.012))
    asked: list[Deployment] = []
    monkeypatch.setattr(
        "sapwood.pipeline.shrinking.find_width_steps",
        lambda planner, model, bench, **options: asked.append(bench.deployment) or found,
    )
    page = tmp_path / "inspect.html"
    command = ("inspect", cfg, "--widths", "--runtime", "onnxruntime", "--threads", 1)
    assert run(*command, "-o", page) == 0
    assert asked == [Deployment("onnxruntime", threads=1)]
    out = capsys.readouterr().out
    named = ", ".join(f"layers.{number}.weight[0]" for number in range(4))
    said = f"pruning keeps multiples of 16 in wide groups, but of 1 in {named} and 2 more (0.99 ± 0.01 of the time"
    assert f"With --runtime onnxruntime, {said}" in " ".join(out.split())
    assert all(text in out for text in ("1.30", "± 0.02", "1.43", "reads", "writes"))
    assert "time of the layers" not in out
    assert "What widths the runtime likes" in page.read_text()
    assert run(*command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["widths"]["layers"][0]["reads"] == {"1": 1.4321, "16": 1.0}
    tried = WidthSteps("onnxruntime", 1, times, (layer,), "2026-11-29", {"threads": 1}, (), (1.05, 0.012))
    assert "any number of channels (layers ask for others in places, which took 1.05 ± 0.01 of" in widths_text(
        make_part(WidthTimes, tried)
    )


def test_inspect_shows_both_as_tables(run: Run, cfg: Path, data: Path, capsys: Capture) -> None:
    harm = ("--sensitivity", "loss", "--data", data, "--num-pictures", 2, "--labels", "own")
    assert run("inspect", cfg, "--latency", "--threads", 1, *harm) == 0
    out = capsys.readouterr().out
    assert "time of the layers on torch, 1 thread" in out
    assert "GMAC/s" in out
    assert "how much worse with one group pruned alone, by loss" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sensitivity", "loss"), "--sensitivity measures the model with each group pruned alone; expected --data"),
        (("--latency", "--runtime", "abacus"), "unknown runtime 'abacus'"),
    ],
)
def test_what_inspect_cannot_do_is_named(
    arguments: tuple[str, ...], message: str, run: Run, cfg: Path, capsys: Capture
) -> None:
    assert run("inspect", cfg, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_missed_target_is_saved_and_exits_with_1(
    run: Run, cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(LatencyOutcome, "met", property(lambda outcome: False))
    out = tmp_path / "small"
    assert run("prune", cfg, "--latency", 1.0, "--threads", 1, "-o", out) == 1
    shown = capsys.readouterr()
    assert "latency target 1 missed: measured " in shown.err
    assert "latency target 1× missed" in shown.out
    assert json.loads((out / "report.json").read_text())["latency"]["met"] is False
    assert "is missed." in (out / "report.html").read_text()
    load_model(str(out))


@pytest.mark.parametrize(
    ("ratios", "threads", "said"),
    [
        ((0.42, 0.41, 0.43), 1, "made and measured; it is faster than asked for, which --at-most takes"),
        ((0.60, 0.59, 0.61), 2, "made and measured"),
        ((0.60, 0.20, 1.30), 1, "made and measured"),
        (
            (0.42, 0.20, 1.30),
            2,
            "; it is faster than asked for, which --at-most takes; the machine was busy: with --threads 1 the "
            "processor's time counts, which others do not lengthen",
        ),
    ],
)
def test_a_missed_target_says_what_to_do(ratios: tuple[float, float, float], threads: int, said: str) -> None:
    ratio, low, high = ratios
    latency = TargetLatency(
        target=0.5,
        met=False,
        ratio=ratio,
        ratio_q1=low,
        ratio_q3=high,
        dense_ms=2.0,
        pruned_ms=2.0 * ratio,
        conditions={"runtime": "onnxruntime", "threads": threads},
        predicted=0.5,
        attempts=(),
        fit_error=0.0,
        layers=(),
    )
    with pytest.raises(CheckFailedError, match=re.escape(said) + "$"):
        check_latency(latency)


def test_a_met_target_exits_with_0(run: Run, cfg: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(LatencyOutcome, "met", property(lambda outcome: True))
    assert run("prune", cfg, "--latency", 1.0, "--threads", 1) == 0
    assert "latency target 1× met" in capsys.readouterr().out


def test_report_makes_the_page_of_a_pruned_model_again(run: Run, cfg: Path, tmp_path: Path) -> None:
    out, masked, compact = tmp_path / "small", tmp_path / "masked", tmp_path / "compact"
    assert run("prune", cfg, "--sparsity", 0.5, "-o", out) == 0
    assert run("mask", cfg, "--method", "ln_structured", "--sparsity", 0.5, "-o", masked) == 0
    assert run("compact", masked, "-o", compact) == 0
    for folder, verb in ((out, "prune"), (compact, "compact")):
        page = (folder / "report.html").read_text()
        (folder / "report.html").unlink()
        assert run("report", folder) == 0
        assert (folder / "report.html").read_text() == page
        assert json.loads((folder / "report.json").read_text())["verb"] == verb


def test_report_refuses_a_record_of_another_kind(run: Run, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "report.json").write_text('{"schema": "sapwood.compare/1"}')
    assert run("report", tmp_path) == 2
    assert "record: schema is 'sapwood.compare/1'; expected 'sapwood.prune/1'" in capsys.readouterr().err


def test_compare_recovers_from_the_train_split(
    run: Run, cfg: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text("- {kind: prune, macs: 0.6}\n- {kind: prune, macs: 0.6, criterion: obs, recover: reconstruct}\n")
    given = ("compare", cfg, "--data", data, "--cases", cases, "--rounds", 0, "--json")
    assert run(*given, "-o", tmp_path / "one") == 0
    plain, recovered = json.loads(capsys.readouterr().out)["cases"][1:]
    assert plain["error"] is recovered["error"] is None
    assert recovered["name"] == "channels removed · obs · MACs kept · reconstruct · 0.6"
    assert any("reconstruct from 4 pictures without labels" in note for note in recovered["notes"])
    assert not any("without labels" in note for note in plain["notes"])
    assert run(*given, "--train-split", "nowhere", "-o", tmp_path / "two") == 0
    plain, recovered = json.loads(capsys.readouterr().out)["cases"][1:]
    assert plain["error"] is None
    assert "'nowhere'" in recovered["error"]
