"""The page of a run: the dense network, what is left of it, and where to read on."""

from __future__ import annotations

from typing import Any

import pytest

from sapwood.report import render_run
from sapwood.report.records import read_run
from sapwood.report.run_networks import network_table, networks, run_answers, run_verdict, step_links
from sapwood.report.run_view import step_rows
from support.pages import outline, words
from support.runs import metrics, run_record, step


def test_networks_have_what_later_steps_measured_of_them() -> None:
    dense, small = networks(read_run(run_record()))
    assert (dense.name, dense.macs, dense.metrics["mAP@0.5"], dense.times) == (
        "dense",
        4000,
        0.974,
        {"onnxruntime": 1.0},
    )
    assert (small.name, small.macs, small.metrics["mAP@0.5"]) == ("small", 2800, 0.003)
    assert {name: round(ratio, 3) for name, ratio in small.times.items()} == {"onnxruntime": 0.333}
    assert network_table(read_run(run_record())).rows[1] == (
        "small", "300", "100 %", "2.80 k", "70 %", "0.003", "0.002", "0.33×"
    )  # fmt: skip


def test_the_headline_is_what_became_of_the_network() -> None:
    record = read_run(run_record())
    found = run_verdict(record, "All 4 steps are done.")
    assert found.text == (
        "Not of use: mAP@0.5 0.974 to 0.003, mAP@[.5:.95] 0.487 to 0.002, 3.0 times as fast in ONNX Runtime, 70 % of "
        "the MACs."
    )
    assert found.tone == "bad", "a network that finds nothing is no good news"
    useful = run_record()
    useful["steps"][2]["result"]["metrics"]["mAP@0.5"] = 0.97
    assert run_verdict(read_run(useful), "").text.startswith(
        "3.0 times as fast in ONNX Runtime, 70 % of the MACs, mAP@0.5"
    )
    assert [answer.answer for answer in run_answers(record)] == [
        "3.0×", "ONNX Runtime", "97.1 points of mAP@0.5 lost", "no ± measured", ""
    ]  # fmt: skip


def test_a_run_says_how_sure_its_figures_are() -> None:
    record = run_record()
    record["steps"][2]["result"] |= {"interval": {"value": 0.003, "low": 0.001, "high": 0.011}, "num_images": 64}
    times = record["steps"][3]["result"]
    times["conditions"] = {"threads": 2}
    times["rows"][1] |= {"q1_ms": 2.9, "q3_ms": 3.1}
    _, place, _, sure, _ = run_answers(read_run(record))
    assert place.more.endswith("2 threads")
    assert sure.answer == "± 0.5 points"
    assert sure.more == (
        "95 of 100 samples of 64 pictures; half of the rounds 2.90 to 3.10 ms; the cut is proven; every target was met"
    )


def test_points_are_those_that_a_reader_counts() -> None:
    record = run_record()
    for place, value in ((0, 0.96488), (2, 0.62044)):
        record["steps"][place]["result"]["metrics"]["mAP@0.5"] = value
    assert run_answers(read_run(record))[2].answer == "34.5 points of mAP@0.5 lost"


def test_what_int8_costs_is_in_a_row_of_its_own() -> None:
    record = run_record()
    record["steps"].append(step("05-int8", "eval", "out/02-small", metrics(0.9) | {"runtime": "openvino-int8"}))
    for row, ratio in (("onnxruntime", 0.333), ("openvino-int8", 0.2)):
        timed = {"model": "out/02-small", "runtime": row, "median_ms": 1.0, "q1_ms": 1.0, "q3_ms": 1.0}
        timed |= {"ratio": ratio, "speedup": 1 / ratio, "same_runtime_ratio": ratio}
        record["steps"][3]["result"]["rows"].append(timed)
    run = read_run(record)
    _, small = networks(run)
    assert (small.metrics["mAP@0.5"], small.int8["openvino-int8"]["mAP@0.5"]) == (0.003, 0.9)
    assert [(row[0], *row[-4:]) for row in network_table(run).rows[1:]] == [
        ("small", "0.003", "0.002", "0.33×", "–"),
        ("small, OpenVINO, int8", "0.900", "0.450", "–", "0.20×"),
    ]
    assert "mAP@0.5 0.974 to 0.003" in run_verdict(run, "").text
    assert "3.0 times as fast in ONNX Runtime," in run_verdict(run, "").text
    assert run_answers(run)[1].answer == "ONNX Runtime"


def test_a_run_that_made_nothing_says_how_far_it_is() -> None:
    record = run_record() | {"steps": run_record()["steps"][:1]}
    assert run_verdict(read_run(record), "1 of 4 steps are done.").text == "1 of 4 steps are done."
    assert "1 of 4 steps are done." in words(render_run(record))


@pytest.mark.parametrize(("result", "text"), [
    ({"metrics": {"top-1": 0.9}, "runtime": "torch"}, "top-1 0.900"),
    ({"metrics": {"top-1": 0.9}}, "top-1 0.900"),
    ({"metrics": {"top-1": 0.9}, "runtime": "openvino-int8"}, "top-1 0.900, openvino-int8"),
    ({"int8": {"runtime": "onnxruntime-int8", "agreement": 0.95, "metric": "mAP@0.5", "accuracy": 0.31}},
     "mAP@0.5 0.310, onnxruntime-int8"),
    ({"int8": {"runtime": "onnxruntime-int8", "agreement": 0.95, "metric": None, "accuracy": None}},
     "agrees on 95 %, onnxruntime-int8"),
    ({}, ""),
])  # fmt: skip
def test_accuracy_says_which_runtime_it_is_of(result: dict[str, Any], text: str) -> None:
    record = run_record()
    record["steps"][0]["result"] = result
    assert step_rows(read_run(record)).rows[0][5] == text


def test_the_page_leads_to_those_of_the_steps_and_says_how_it_was_made() -> None:
    record = run_record()
    assert step_links(read_run(record)) == (("small", "02-small/report.html"),)
    page = render_run(record)
    assert outline(page).links == ["02-small/report.html"]
    record["steps"][0]["result"]["schema"] = "sapwood.train/1"
    assert step_links(read_run(record))[0] == ("dense", "01-dense/report.html")
    for part in ("sapwood run recipe.yaml -o out", "A CPU", "Onnxruntime 1.32.0", "2026-11-28T10:00:00+00:00"):
        assert part in words(page)


def test_the_page_begins_with_the_network_of_which_most_is_known() -> None:
    record = run_record()
    record["steps"].append(step("05-sparse", "mask", "net.cfg", {}, (1000, 4000)))
    record["steps"][2]["result"]["metrics"]["mAP@0.5"] = 0.97
    run = read_run(record)
    assert run_verdict(run, "").text.startswith("small: 3.0 times as fast in ONNX Runtime, 70 % of the MACs")
    first, *others = run_answers(run)
    assert first.more == "small: 70 % of the MACs and 30 % of the parameters are left"
    assert [one.answer for one in (first, *others)][:3] == ["3.0×", "ONNX Runtime", "0.4 points of mAP@0.5 lost"]
    record["steps"].append(step("06-eval", "eval", "out/05-sparse", metrics(0.9)))
    assert run_answers(read_run(record))[0].answer == "3.0×", "a time is known of the other as well"
    record["steps"][2]["result"]["metrics"]["mAP@0.5"] = 0.003
    assert run_verdict(read_run(record), "").text.startswith("Not of use (small): mAP@0.5 0.974 to 0.003")


def test_a_network_of_use_is_told_of_before_one_that_is_not() -> None:
    record = run_record()
    for number, (name, value) in enumerate((("a", 0.97), ("b", 0.2)), start=5):
        size = {"params": 1000, "nonzeros": 100, "macs": 4000, "nonzero_macs": 400}
        record["steps"].append(step(f"0{number}-{name}", "mask", "net.cfg", {}) | {"size": size})
        record["steps"].append(step(f"0{number}-eval-{name}", "eval", f"out/0{number}-{name}", metrics(value)))
        timed = {"model": f"out/0{number}-{name}", "runtime": "sapwood", "median_ms": 1.0, "q1_ms": 1.0, "q3_ms": 1.0}
        record["steps"][3]["result"]["rows"].append(timed | {"ratio": 0.2, "speedup": 5.0, "same_runtime_ratio": 0.2})
    record["steps"].append(record["steps"].pop(3))
    text = run_verdict(read_run(record), "").text
    assert text.startswith("a: 5.0 times as fast on Sapwood's engine, 10 % of the parameters not zero, mAP@0.5 0.974")
