"""Tables and pages of `prune`, `compact` and `inspect`, from records written by hand."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.table import Table

from sapwood.errors import DataError
from sapwood.report import inspect_latency_table, latency_table, render_inspect, render_prune, sensitivity_table
from sapwood.report.plots import attempt_plot, pruned_network, sensitivity_plot
from sapwood.report.pruned_findings import pruned_headline
from sapwood.report.pruned_record import read_pruning
from sapwood.report.records import read_inspection
from sapwood.report.shrinking import size_table
from sapwood.report.verb_answers import inspect_answers, prune_answers
from support.pages import lines, outline, words
from support.pruned import inspect_record, prune_record

EVIL = '<script>alert("x")</script>\'"><img src=x>'
PAGES: list[tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], str]]] = [
    (prune_record, render_prune),
    (inspect_record, render_inspect),
]


def rows(table: Table) -> dict[str, str]:
    """The table's rows by their first word."""
    return {line.split(" ")[0]: line for line in lines(table) if line}


def test_the_latency_table_says_where_the_time_went() -> None:
    found = lines(latency_table(prune_record()["latency"]))
    text = "\n".join(found)
    assert "latency target 0.5× met: 0.510× measured on torch, 1 thread (half of the rounds 0.500 to 0.520)" in text
    assert "9.00 ms before, 4.59 ms after" in text
    assert "2 attempts, predicted -> measured: 0.500 -> 0.550, 0.480 -> 0.510; the best one was taken" in text
    assert "fitted layer times are off by 6.0 %" in text
    assert [line.split(" ")[0] for line in found if "×" in line and "ms" in line][1:] == [
        "a", "b", "(runtime)", "(overhead)", "2"
    ]  # fmt: skip
    table = rows(latency_table(prune_record()["latency"]))
    assert table["a"] == "a 7.00 ms 3.00 ms 0.43× 0.50× 70 % 60 %"
    assert table["b"].startswith("b 2.80 ms 1.90 ms 0.68× 0.50× 28 % 38 % bound by memory: 80%")
    assert "2 others 0.100 ms 0.0600 ms 0.60× 1.00× 1.0 % 1.2 %" in found
    assert table["(runtime)"].endswith("– 0.6 % 0.6 % changes of memory layout between layers")
    assert table["(overhead)"].endswith("between the layers: the framework itself")


BUSY = "the machine was busy: differences below 20 % mean nothing, time again on a quiet one"


def test_a_target_in_milliseconds_is_told_in_milliseconds() -> None:
    latency = prune_record()["latency"] | {"target_ms": 4.5}
    text = "\n".join(lines(latency_table(latency)))
    assert (
        "latency target 4.5 ms met: 4.59 ms measured on torch, 1 thread (half of the rounds 4.50 ms to 4.68 ms)" in text
    )
    page = words(render_prune(prune_record() | {"latency": latency}))
    assert "4.5 ms asked for, 4.59 ms, 0.510× measured" in page
    missed = render_prune(prune_record() | {"latency": latency | {"met": False}})
    assert "The target of 4.5 ms is missed." in words(missed)


def test_a_busy_machine_is_named_in_every_table_and_page() -> None:
    latency = prune_record()["latency"] | {"ratio_q1": 0.4, "ratio_q3": 0.6}
    assert BUSY in " ".join(lines(latency_table(latency)))
    assert BUSY[1:] in words(render_prune(prune_record() | {"latency": latency}))
    one = inspect_record()["latency"]
    assert "busy" not in " ".join(lines(inspect_latency_table(one)))
    assert "busy" not in " ".join(lines(inspect_latency_table(one | {"spread": 0.05})))
    assert BUSY in " ".join(lines(inspect_latency_table(one | {"spread": 0.2})))
    assert BUSY in words(render_inspect(inspect_record() | {"latency": one | {"spread": 0.2}}))


def test_the_table_of_sizes_tells_the_share_of_channels() -> None:
    kept = "\n".join(lines(size_table(prune_record() | {"channels": [40, 30]})))
    assert "channels of groups 40 30 75 %" in kept
    assert "time (kept: median of the rounds) 9.00 ms 4.59 ms 51 %" in kept
    assert "channels of groups" not in "\n".join(lines(size_table(prune_record())))


def test_a_missed_target_and_a_runtime_without_layers_say_so() -> None:
    record = prune_record()["latency"] | {"met": False, "ratio": 0.8, "layers": []}
    text = "\n".join(lines(latency_table(record)))
    assert "latency target 0.5× missed: 0.800× measured" in text
    assert "this runtime does not tell layers apart" in text


def test_the_table_of_one_network_has_its_speed() -> None:
    table = rows(inspect_latency_table(inspect_record()["latency"]))
    assert table["time"] == "time of the layers on torch, 1 thread: 10.0 ms"
    assert table["a"] == "a 8.00 ms 80 % 8.00 M 1.00"
    assert table["(overhead)"] == "(overhead) 2.00 ms 20 % – – between the layers: the framework itself"


def test_the_sensitivity_table_has_a_column_a_fraction() -> None:
    table = rows(sensitivity_table(prune_record()["sensitivity"]))
    assert table["group"] == "group channels 12 % kept 25 % kept 50 % kept 75 % kept"
    assert table["a.weight[0]"] == "a.weight[0] 16 4.00 (2) 1.00 (4) 0.250 (8) −0.0100 (12)"
    assert table["b.weight[0]"] == "b.weight[0] 3 – 0.0400 (1) – 0.0100 (2)"


def test_no_trials_give_an_empty_table_and_no_plot() -> None:
    record = prune_record()
    record["sensitivity"] = {"figure": "loss", "dense": 0.5, "rows": []}
    assert "sensitivity: how much worse" in lines(sensitivity_table(record["sensitivity"]))[0]
    assert 'id="sensitivity"' not in render_prune(record)


def test_marks_stand_where_the_figures_say() -> None:
    pruning = read_pruning(prune_record())
    network = pruned_network(pruning)
    assert network is not None
    assert [(stage.before, stage.after) for stage in network.stages] == [(100.0, 50.0), (50.0, 12.5)]
    assert network.stages[1].title == "b: 2 of 8 output channels (25 %)"
    assert pruning.latency is not None
    attempts = attempt_plot(pruning.latency)
    assert attempts is not None
    assert [row.name for row in attempts.rows] == ["attempt 1", "attempt 2 (taken)"]
    assert [row.error for row in attempts.rows] == ["+10 %", "+6.2 %"]
    highest = 0.55 / attempts.rows[0].measured * 100
    assert attempts.target == pytest.approx(50 / highest, abs=1e-2)
    assert pruning.sensitivity is not None
    heat = sensitivity_plot(pruning.sensitivity)
    assert heat is not None
    assert [cell.strength for cell in heat.strips[0].cells] == [1.0, 0.5, 0.25, 0.0]
    assert [cell.x for cell in heat.strips[1].cells] == [25.0, 75.0]


def test_the_page_of_a_pruned_model_has_every_part() -> None:
    text = words(render_prune(prune_record()))
    for part in (
        "2.0 times as fast in PyTorch, 27 % of the size; accuracy not measured.",
        "4.59 ms instead of 9.00 ms a call; 50 % of the multiply-accumulates and 27 % of the size are left",
        "In order of execution",
        "0.5× asked for, 0.510× measured (half of the rounds between 0.500 and 0.520): met.",
        "parameters 2.00 k 500 25 %",
        "Most of the time that is left is in a (60 %), b (38 %)",
        "bound by memory: 80% of its time goes with the maps",
        "changes of memory layout between layers",
        "Predicted against measured",
        "0.480 → 0.510",
        "With about 12 % of its channels, a.weight[0] costs 4.00 (loss), b.weight[0] only 0.0400.",
        "is an output of the model in module 'c' 2 c.weight[0], c.bias[0]",
        "the largest difference is 2.5e-16 of the largest output. The check passed.",
        "aten.fft_fft",
        "Memory 16.4 GB",
    ):
        assert part in text


def test_the_page_without_a_latency_target_is_about_size() -> None:
    record = prune_record()
    del record["latency"], record["sensitivity"]
    text = words(render_prune(record | {"verb": "compact"}))
    assert "25 % of its parameters and 50 % of its multiply-accumulates; accuracy not measured." in text
    assert "Where the time goes" not in text
    assert "Sensitivity" not in text


def test_the_page_of_a_recovered_model_says_what_the_proof_is_about() -> None:
    record = prune_record()
    layers = [{"layer": "b", "error_before": 0.5, "error_after": 0.125}]
    recovery = {"method": "reconstruct", "num_pictures": 8, "seconds": 1.5, "layers": layers, "left_alone": {}}
    plain, recovered = (words(render_prune(made)) for made in (record, record | {"recovery": recovery}))
    assert "as they were before recovery changed what stays" in recovered
    assert "Recovery changed what stays after this check." in recovered
    assert "before recovery" not in plain
    assert "How sure is that? proven before recovery half of the rounds 1.9 to 2.0 times as fast" in recovered
    assert "after this check" not in plain


def recovered_to(value: float) -> dict[str, Any]:
    """A record of a network that agrees with the dense one by a figure."""
    networks = {"pruned": {"value": 0.025, "low": 0.01, "high": 0.05}}
    networks["recovered"] = {"value": value, "low": value - 0.04, "high": value + 0.02}
    agreement = {"against": "net.cfg", "data": "coco val", "figure": "mAP@0.5", "num_images": 64, "num_found": 300}
    recovery = {"method": "reconstruct", "num_pictures": 8, "seconds": 1.5, "layers": [], "left_alone": {}}
    return prune_record() | {"recovery": recovery, "agreement": agreement | {"networks": networks, "differences": []}}


@pytest.mark.parametrize(
    ("spread", "told"),
    [
        (None, "a call in PyTorch, 1 thread"),
        (0.03, "a call in PyTorch, 1 thread; half of the rounds are within 3.0 %"),
        (
            0.4,
            "a call in PyTorch, 1 thread; the machine was busy: differences below 40 % mean nothing, time again on a "
            "quiet one",
        ),
    ],
)
def test_inspecting_says_how_sure_its_time_is(spread: float | None, told: str) -> None:
    record = inspect_record()
    record["latency"]["spread"] = spread
    assert inspect_answers(read_inspection(record))[0].more == told


def test_what_the_dense_network_misses_stands_in_the_headline() -> None:
    record = read_pruning(recovered_to(0.548))
    assert pruned_headline(record).text == (
        "2.0 times as fast in PyTorch, 27 % of the size; 45.2 points of mAP@0.5 lost, judged by the dense network."
    )
    assert pruned_headline(record).tone == "bad", "it is fast, and of no use"
    fast, _, lost, sure, _ = prune_answers(record)
    assert (fast.tone, lost.answer, sure.answer) == ("bad", "45.2 points of mAP@0.5", "± 3.0 points")
    assert lost.more.startswith("judged by what net.cfg finds in 64 pictures: mAP@0.5 0.548, 0.025 before recovery")
    assert sure.more.startswith(
        "95 of 100 samples of 64 pictures; the cut is proven, before recovery; half of the rounds"
    )
    good = read_pruning(recovered_to(0.97))
    assert [one.tone for one in prune_answers(good)[:3:2]] == ["good", "good"]


def test_a_network_that_computes_the_same_lost_nothing() -> None:
    record = prune_record() | {"verb": "compact"}
    record["verification"] = record["verification"] | {"distance_from_dense": 3e-16}
    assert prune_answers(read_pruning(record))[2].answer == "nothing"
    assert "not measured" not in pruned_headline(read_pruning(record)).text


def test_what_was_given_and_what_was_written_both_stand_among_the_conditions() -> None:
    record = prune_record()
    record["options"]["weights"], record["files"]["weights"] = "dense.weights", "small/model.weights"
    text = words(render_prune(record))
    assert "Weights dense.weights" in text
    assert "Written: weights small/model.weights" in text


def test_a_missed_target_stands_in_the_headline() -> None:
    record = prune_record()
    record["latency"]["met"] = False
    assert "The target of 0.5× is missed." in words(render_prune(record))


def test_the_page_of_an_inspected_model() -> None:
    text = words(render_inspect(inspect_record()))
    assert "100 % of 10.0 ms in PyTorch, 1 thread goes into a, (overhead)." in text
    assert "a 8.00 ms 80 % 8.00 M 1.00" in text
    assert "1 group of dimensions" in text
    bare = inspect_record()
    del bare["latency"]
    assert "With about 12 % of its channels, a.weight[0] costs 4.00" in words(render_inspect(bare))
    del bare["sensitivity"]
    assert "2.00 k parameters, 10.0 M multiply-accumulates." in words(render_inspect(bare))


@pytest.mark.parametrize(("make", "render"), PAGES)
def test_pages_are_one_file_that_loads_nothing(make: Any, render: Any) -> None:
    page = render(make())
    found = outline(page)
    assert found.tags.count("script") == 1
    assert not {"link", "img", "image"} & set(found.tags)
    assert not found.links
    assert not re.search(r"url\(|@import|https?://", page)
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", words(page))


def poisoned(value: Any) -> Any:
    """The record with every free text in it replaced."""
    if isinstance(value, dict):
        fixed = {"schema", "verb"}
        return {key: part if key in fixed else poisoned(part) for key, part in value.items()}
    if isinstance(value, list):
        return [poisoned(part) for part in value]
    return EVIL if isinstance(value, str) else value


@pytest.mark.parametrize(("make", "render"), PAGES)
def test_every_text_is_escaped(make: Any, render: Any) -> None:
    page = render(poisoned(make()))
    tags = outline(page).tags
    assert tags.count("script") == 1
    assert "img" not in tags
    assert "&lt;script&gt;" in page


def test_other_records_are_refused() -> None:
    with pytest.raises(DataError, match=r"^record: schema is 'sapwood\.prune/2'; expected 'sapwood\.prune/1'$"):
        render_prune(prune_record() | {"schema": "sapwood.prune/2"})
    with pytest.raises(DataError, match=r"^record: schema is 'list'; expected 'sapwood\.inspect/1'$"):
        render_inspect([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("latency", "ratio"), float("nan"), r"record: latency\.ratio: got nan"),
        (("latency", "layers", 0, "before_ms"), -1.0, r"record: latency\.layers\.0\.before_ms: got -1\.0"),
        (("before", "params"), "many", r"record: before\.params: got 'many'"),
        (("sensitivity", "rows", 0, "losses"), [1.0], r"1 losses; expected 4, one a width"),
        (("sensitivity", "rows", 1, "num_channels"), 1, r"2 channels kept; expected at most 1"),
    ],
)
def test_faults_are_named(path: tuple[Any, ...], value: Any, message: str) -> None:
    record = copy.deepcopy(prune_record())
    place: Any = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DataError, match=message):
        render_prune(record)
