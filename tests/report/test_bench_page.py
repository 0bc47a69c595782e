"""The page of `sapwood bench`."""

from __future__ import annotations

from sapwood.report import render_bench
from sapwood.report.bench import bench_table
from sapwood.report.bench_view import bench_answers, bench_headline, bench_plot
from sapwood.report.records import BenchRecord, BenchRow, MadeBy, make_part
from support.pages import words
from support.runs import MADE

FIRST = BenchRow("big", "torch", 4.0, 3.9, 4.2, 1.0, 1.0, 1.0)
CONDITIONS = {"cpu": "A CPU", "threads": 1, "batch": None, "rounds": 30}


def record(*rows: BenchRow) -> BenchRecord:
    return BenchRecord((FIRST, *rows), ("big", "torch"), {"onnxruntime": "1.32"}, CONDITIONS)


def test_the_headline_is_the_fastest_pair_beside_the_first() -> None:
    faster = BenchRow("small", "onnxruntime", 1.0, 0.9, 1.1, 0.25, 4.0, 1.0, 2e-7)
    assert bench_headline(record(faster)).text == "small in ONNX Runtime is 4.0 times as fast as big in PyTorch."
    answers = bench_answers(record(faster), make_part(MadeBy, MADE))
    assert [one.answer for one in answers] == ["4.0×", "ONNX Runtime", "not measured", "30 rounds", ""]
    assert answers[3].more == (
        "outputs differ from PyTorch's by 2.0e-07; half of the rounds 0.900 to 1.10 ms; the machine was busy while "
        "small in ONNX Runtime ran: half of its rounds are 20 % apart, time again on a quiet one"
    )
    assert answers[4].commands == ("sapwood run recipe.yaml -o out",)
    slower = BenchRow("small", "openvino", 8.0, 7.9, 8.1, 2.0, 0.5, 1.0)
    assert bench_headline(record(slower)).text == "Nothing is faster than big in PyTorch."


def test_one_round_is_one_round() -> None:
    faster = BenchRow("small", "torch", 1.0, 1.0, 1.0, 0.25, 4.0, 1.0)
    once = BenchRecord((FIRST, faster), ("big", "torch"), {}, {**CONDITIONS, "rounds": 1})
    assert bench_answers(once, None)[3].answer == "1 round"
    assert ", 1 round; " in bench_table(once).notes[0]


def test_one_disturbed_pair_among_quiet_ones_is_named() -> None:
    quiet = BenchRow("small", "torch", 2.0, 1.99, 2.02, 0.5, 2.0, 0.5, 0.0)
    noisy = BenchRow("big", "sapwood", 15.1, 4.17, 16.2, 3.8, 0.26, 1.0, 0.0)
    told = "the machine was busy while big on sapwood ran: half of its rounds are 80 % apart, time again on a quiet one"
    assert told in bench_table(record(quiet, noisy)).notes
    assert len(bench_table(record(quiet)).notes) == 1
    assert bench_answers(record(quiet, noisy), None)[3].more.endswith("half of the rounds 1.99 to 2.02 ms")


def test_bars_are_ratios_to_the_first_pair() -> None:
    plot = bench_plot(record(BenchRow("small", "torch", 2.0, 1.9, 2.1, 0.5, 2.0, 0.5)))
    assert plot is not None
    assert [(bar.name, bar.value, bar.verdict) for bar in plot.bars] == [
        ("big in PyTorch", "1.00×", "same"),
        ("small in PyTorch", "0.50×", "faster"),
    ]


def test_the_page_says_why_a_pair_did_not_run_and_where_the_others_did() -> None:
    text = words(
        render_bench(record(BenchRow("big", "openvino", reason="openvino is not installed")), make_part(MadeBy, MADE))
    )
    for part in (
        "big in OpenVINO: openvino is not installed",
        "A CPU",
        "sapwood run recipe.yaml",
        "2026-11-28",
        "1.32",
    ):
        assert part in text
