"""Which case a comparison is about, what is said of it, and where it stands among the others."""

from __future__ import annotations

from typing import Any

import pytest

from sapwood.report import render_compare, story_deployed, story_end, story_table
from sapwood.report.answers import chosen, compare_answers
from sapwood.report.case_commands import commands_for
from sapwood.report.plots import compared_network, tradeoff_plot, zero_maps
from sapwood.report.plots.waterfall import waterfall
from sapwood.report.record import read_record
from sapwood.report.records import LayerTime
from sapwood.report.standing import keeps, standings, usable
from sapwood.report.sureness import accuracy_interval, loss_interval, within_noise
from sapwood.report.verdict import headline
from support.pages import words


def deployed(ratio: float, spread: float = 0.01) -> dict[str, float]:
    times = {"median_ms": 20.0 * ratio, "q25_ms": 19.0 * ratio, "q75_ms": 21.0 * ratio, "min_ms": 18.0 * ratio}
    return {**times, "ratio": ratio, "ratio_q25": ratio - spread, "ratio_q75": ratio + spread}


@pytest.fixture
def timed(record: dict[str, Any]) -> dict[str, Any]:
    """A dead network that is the fastest, and two of use: one on ONNX Runtime, one on the engine."""
    for case in record["cases"]:
        case["runtimes"] = {"onnxruntime": deployed(1.0), "sapwood": deployed(0.9)}
    cases = by_name(record)
    cases["structured L2 · conv · 0.5"]["runtimes"] = {"onnxruntime": deployed(0.1), "sapwood": deployed(0.1)}
    cases["global L1 · conv · 0.2"]["runtimes"]["onnxruntime"] = deployed(0.4)
    cases["global L1 · conv · 0.5"]["runtimes"]["sapwood"] = deployed(0.25)
    return record


def by_name(record: dict[str, Any]) -> dict[str, Any]:
    return {case["name"]: case for case in record["cases"]}


def test_the_verdict_is_about_the_fastest_case_of_use(timed: dict[str, Any]) -> None:
    comparison = read_record(timed)
    assert [(one.case.name, one.runtime) for one in usable(comparison)] == [
        ("global L1 · conv · 0.5", "sapwood"),
        ("global L1 · conv · 0.2", "onnxruntime"),
    ]
    assert headline(comparison).text == (
        "4.0 times as fast on Sapwood's engine as the unpruned network in ONNX Runtime, 0.7 points of mAP@0.5 lost, "
        "56 % of the weights not zero."
    )
    by_name(timed)["global L1 · conv · 0.5"]["accuracy"]["metrics"]["mAP@[.5:.95]"] = 0.1
    assert headline(read_record(timed)).text.startswith("2.5 times as fast in ONNX Runtime, no mAP@0.5 lost")


def test_a_runtime_that_is_faster_makes_no_network_faster(timed: dict[str, Any]) -> None:
    for case in timed["cases"]:
        case["runtimes"]["sapwood"] = deployed(0.5)
    assert all(one.runtime == "onnxruntime" for one in usable(read_record(timed)))


def test_times_in_pytorch_stand_on_the_scale_of_onnx_runtime(timed: dict[str, Any]) -> None:
    dense = {one.runtime: one for one in standings(read_record(timed)) if one.case.name == "baseline"}
    assert {name: round(one.ms, 3) for name, one in dense.items()} == {
        "torch": 41.0,
        "onnxruntime": 20.0,
        "sapwood": 18.0,
    }


def test_the_five_answers(timed: dict[str, Any]) -> None:
    answers = compare_answers(read_record(timed))
    assert [one.answer for one in answers] == ["4.0×", "Sapwood's engine", "0.7 points", "no ± measured", ""]
    assert answers[0].more == (
        "global L1 · conv · 0.5: 5.00 ms instead of 20.0 ms a picture, 56 % of the weights not zero"
    )
    assert answers[2].more == "mAP@0.5 0.284 → 0.277; mAP@[.5:.95] 0.150 → 0.147", "what is smaller is no loss"
    text = words(render_compare(timed))
    for question in ("How much faster?", "Where?", "What was lost?", "How sure is that?", "How do I get it?"):
        assert question in text


def test_a_dead_network_is_not_celebrated(timed: dict[str, Any]) -> None:
    for case in timed["cases"][1:]:
        if case.get("accuracy"):
            case["accuracy"]["metrics"] = dict.fromkeys(case["accuracy"]["metrics"], 0.0)
    first, *_ = compare_answers(read_record(timed))
    assert ", which keeps too little accuracy to be of use: 2.00 ms instead of 20.0 ms" in first.more
    assert first.tone == "bad"


def test_commands_repeat_the_row(record: dict[str, Any]) -> None:
    case = by_name(record)["global L1 · conv · 0.5"]
    case["settings"] = {"method": "l1_unstructured", "scope": "global", "layers": ["conv"], "sparsity": 0.5}
    made = read_record(record)
    begin = "yolov3-tiny.cfg --weights yolov3-tiny.weights"
    assert commands_for(made.cases[2], made) == (
        f"sapwood mask {begin} --method l1_unstructured --sparsity 0.5 --scope global --layers conv -o masked",
    )
    case |= {"kind": "prune", "settings": {"macs": 0.4, "allocator": "uniform", "recover": "reconstruct"}}
    made = read_record(record)
    assert commands_for(made.cases[2], made) == (
        f"sapwood prune {begin} --macs 0.4 --allocator uniform --recover reconstruct --data coco -o small",
    )
    made = read_record(record | {"command": "sapwood demo"})
    assert "--data DIR" in commands_for(made.cases[2], made)[0]


def test_of_a_network_that_was_made_before_the_command_puts_it_on_the_runtime(record: dict[str, Any]) -> None:
    by_name(record)["global L1 · conv · 0.5"].update(kind="model", settings={"model": "my nets/half", "commands": []})
    made = read_record(record)
    assert commands_for(made.cases[2], made) == ("sapwood export 'my nets/half' -o model.onnx",)
    assert commands_for(made.cases[2], made, "sapwood") == ("sapwood compile 'my nets/half' -o fast",)


def test_error_bars_come_from_samples_of_the_pictures(record: dict[str, Any]) -> None:
    dense, case = record["cases"][0], record["cases"][2]
    dense["accuracy"]["resampled"] = [0.2 + 0.002 * at for at in range(101)]
    case["accuracy"]["resampled"] = [0.19 + 0.002 * at for at in range(101)]
    comparison = read_record(record)
    found = accuracy_interval(comparison.baseline)
    assert found is not None
    assert (found.low, found.high) == (0.205, 0.395)
    lost = loss_interval(comparison.cases[2], comparison)
    assert lost is not None
    assert (round(lost.low, 6), round(lost.high, 6)) == (0.01, 0.01), "on the same samples all lose as much"
    assert not within_noise(comparison.cases[2], comparison)
    case["accuracy"]["resampled"][:50] = [0.5] * 50
    assert within_noise(read_record(record).cases[2], read_record(record))
    assert "± 0.095" in words(render_compare(record))


def test_marks_stand_at_their_times_and_the_front_has_no_dead_network(timed: dict[str, Any]) -> None:
    plot = tradeoff_plot(read_record(timed))
    assert plot is not None
    assert [name for _, name in plot.runtimes] == ["PyTorch", "ONNX Runtime", "Sapwood's engine"]
    best = [mark for mark in plot.marks if mark.best]
    assert {mark.title.partition(":")[0] for mark in best} == {
        "global L1 · conv · 0.5 in Sapwood's engine",
        "global L1 · conv · 0.2 in ONNX Runtime",
        "global L1 · conv + BatchNorm · 0.2 in Sapwood's engine",
    }
    assert all((mark.left, mark.low) != (mark.right, mark.high) for mark in best)
    assert len(plot.line) == 2
    assert [f'href="#case-{mark.row}"' in render_compare(timed) for mark in plot.marks] == [True] * len(plot.marks)


def test_nothing_is_drawn_where_nothing_was_timed(record: dict[str, Any]) -> None:
    for case in record["cases"]:
        case["latency"] = None
    assert tradeoff_plot(read_record(record)) is None
    assert chosen(read_record(record)) is None
    assert compare_answers(read_record(record)) == ()


def test_widths_and_zeros_are_drawn_where_they_are_told(record: dict[str, Any]) -> None:
    for number, case in enumerate(record["cases"][:2]):
        for layer in case["layers"]:
            layer["shape"] = [32 >> number, 16, 3, 3] if layer["kind"] == "conv" else [32]
    record["cases"][1]["layers"][0]["density"] = "90/04"
    comparison = read_record(record)
    network = compared_network(comparison.cases[1], comparison)
    assert network is not None
    assert {(stage.before, stage.after, stage.text) for stage in network.stages} == {(100.0, 50.0, "32 → 16")}
    assert compared_network(comparison.cases[2], comparison) is None
    (drawn,) = zero_maps(comparison.cases[1])
    assert (drawn.columns, drawn.rows) == (2, 2)
    assert drawn.levels == ((0.44, "M1 1h1v1H1z"), (1.0, "M0 0h1v1H0z"))


def test_layers_fall_in_the_order_of_execution() -> None:
    times = {"conv.10": 1.0, "conv.2": 2.0, "(overhead)": 1.0}
    layers = [LayerTime(layer=name, before_ms=ms, after_ms=ms / 2, macs_before=1) for name, ms in times.items()]
    fall = waterfall(layers, ["conv.2", "conv.10"])
    assert fall is not None
    assert [(step.name, step.start, step.width) for step in fall.steps] == [
        ("conv.2", 0.0, 50.0),
        ("conv.10", 50.0, 25.0),
        ("(overhead)", 75.0, 25.0),
    ]
    assert [(step.start_after, step.text) for step in fall.steps][1] == (25.0, "1.00 → 0.500 ms")


def test_the_story_ends_with_the_best_case_of_use(timed: dict[str, Any]) -> None:
    table = story_table(timed)
    assert table.rows[-1][0] == "global L1 · conv · 0.5"
    assert len(table.rows) == len(timed["cases"])
    sentence, commands = story_end(timed)
    assert sentence.startswith("global L1 · conv · 0.5: 4.0 times as fast on Sapwood's engine as the unpruned network")
    assert commands[0].startswith("sapwood mask net.cfg --weights net.weights")
    assert commands[1] == "sapwood compile masked -o fast"


def test_before_its_end_it_says_what_is_fastest_in_onnx_runtime(timed: dict[str, Any]) -> None:
    assert story_deployed(timed).startswith("global L1 · conv · 0.2: 2.5 times as fast in ONNX Runtime, ")
    by_name(timed)["global L1 · conv · 0.2"]["runtimes"]["onnxruntime"] = deployed(0.2)
    assert story_end(timed)[0].startswith("global L1 · conv · 0.2: 5.0 times as fast in ONNX Runtime, ")
    assert story_deployed(timed) == ""


def test_a_story_without_a_case_of_use_says_so(record: dict[str, Any]) -> None:
    assert story_end(record) == (headline(read_record(record)).text, ())
    assert not keeps(read_record(record).cases[-1], read_record(record))
