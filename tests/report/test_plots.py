"""Where the marks of the plots stand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapwood.report.plots import accuracy_plots, latency_plot, layer_plots, picture_rows
from sapwood.report.plots.axis import axis_from_zero
from sapwood.report.record import read_record


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_axis_reaches_its_highest_value_and_no_further_than_needed(highest: float) -> None:
    axis = axis_from_zero(highest)
    assert axis.high >= highest * (1 - 1e-9)
    assert axis.ticks[-2] < highest
    assert 3 <= len(axis.ticks) <= 7
    labels = [axis.label(tick) for tick in axis.ticks]
    assert len(set(labels)) == len(labels)
    assert [float(label) for label in labels] == pytest.approx(axis.ticks, rel=1e-9)


def test_accuracy_marks(record: dict[str, Any]) -> None:
    (plot,) = accuracy_plots(read_record(record))
    assert plot.unit == "weights set to zero"
    assert len({(line.color, line.mark) for line in plot.lines}) == len(plot.lines)
    assert [line.family for line in plot.lines] == [
        "global L1 · conv",
        "global L1 · conv + BatchNorm",
        "global L1 · BatchNorm",
        "structured L2 · conv",
    ]
    first = plot.lines[0]
    assert [point.x for point in first.points] == [20.0, 50.0, 70.0, 95.0]
    assert [point.y for point in first.points] == pytest.approx(
        [100 - 100 * v / 0.3 for v in (0.284, 0.277, 0.167, 0.001)], abs=1e-2
    )
    assert (first.segments[0].x1, first.segments[0].y1) == (0.0, plot.baseline[0])
    assert len(first.segments) == len(first.points)
    assert "global L1 · conv: 0.284 at 20 %, 0.277 at 50 %" in plot.summary


def test_families_that_go_by_other_units_have_other_plots(record: dict[str, Any]) -> None:
    for case in record["cases"]:
        if case["family"] == "structured L2 · conv":
            case |= {"kind": "prune", "settings": {"macs": 1 - case["level"]}}
        if case["family"] == "global L1 · BatchNorm":
            case["settings"] = {"method": "ln_structured"}
    plots = accuracy_plots(read_record(record))
    assert [plot.unit for plot in plots] == [
        "multiply-accumulates removed",
        "channels set to zero",
        "weights set to zero",
    ]
    assert [line.family for line in plots[0].lines] == ["structured L2 · conv"]


def test_a_family_of_one_case_has_no_line(record: dict[str, Any]) -> None:
    record["cases"] = [case for case in record["cases"] if case["name"] != "global L1 · BatchNorm · 0.5"]
    (plot,) = accuracy_plots(read_record(record))
    assert [len(line.segments) for line in plot.lines] == [4, 2, 0, 4]
    record["cases"] = record["cases"][:2]
    assert accuracy_plots(read_record(record)) == ()


def test_cases_without_a_level_stand_at_their_zeros(record: dict[str, Any]) -> None:
    record["cases"] = record["cases"][:3]
    record["cases"][1] |= {"level": None, "params": 100, "nonzeros": 60}
    record["cases"][2] |= {"level": None, "params": 100, "nonzeros": 80}
    (plot,) = accuracy_plots(read_record(record))
    assert plot.x_ticks[-1] == (100.0, "40 %")
    assert [point.x for point in plot.lines[0].points] == [50.0, 100.0]


def test_latency_marks(record: dict[str, Any]) -> None:
    record["cases"][1]["latency"] |= {"ratio": 0.6, "ratio_q25": 0.48, "ratio_q75": 0.72}
    plot = latency_plot(read_record(record))
    assert plot is not None
    assert [label for _, label in plot.ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2"]
    assert (plot.bars[0].median, plot.bars[0].low, plot.bars[0].high) == (50.0, 40.0, 60.0)
    assert plot.bars[0].verdict == "faster"
    assert plot.one == pytest.approx(100 / 1.2, abs=1e-3)
    assert len(plot.bars) == len(record["cases"]) - 1


def test_layers_that_some_case_touched(record: dict[str, Any]) -> None:
    record["cases"] = [case for case in record["cases"] if "BatchNorm" not in case["name"]]
    plots = layer_plots(read_record(record))
    assert {len(plot.bars) for plot in plots} == {10}
    assert {bar.kind for plot in plots for bar in plot.bars} == {"conv"}
    layer = record["cases"][1]["layers"][0]
    assert plots[0].bars[0].height == pytest.approx(100 * layer["zeros"] / layer["numel"], abs=0.01)
    assert plots[0].bars[-1].x + plots[0].bars[-1].width <= 100.0


def test_no_layer_plots_where_nothing_got_zeros(record: dict[str, Any]) -> None:
    for case in record["cases"]:
        for layer in case["layers"]:
            layer["zeros"] = 0
    assert layer_plots(read_record(record)) == ()


def test_pictures_compare_with_the_unpruned_network(record: dict[str, Any]) -> None:
    (row,) = picture_rows(read_record(record))
    shots = {shot.case: shot for shot in row.shots}
    assert shots["baseline"].verdict == "the unpruned network"
    assert shots["global L1 · conv · 0.5"].verdict == "3 of 3 of the unpruned network's finds"
    assert (shots["global L1 · conv · 0.7"].verdict, shots["global L1 · conv · 0.7"].tone) == (
        "1 of 3 of the unpruned network's finds",
        "mixed",
    )
    assert shots["structured L2 · conv · 0.5"].tone == "bad"
    box = shots["baseline"].boxes[-1]
    assert (box.x, box.y, box.width, box.height) == (130.0, 220.0, 180.0, 320.0)
    assert box.label is not None
    assert box.label.text == "dog 0.75"


def test_moved_boxes_and_other_classes_are_not_the_same_find(record: dict[str, Any]) -> None:
    box = [130, 220, 310, 540]
    far = [430, 220, 610, 540]
    found = [{"class": "dog", "score": 0.9, "box": far}, {"class": "cat", "score": 0.8, "box": box}]
    record["cases"][1]["pictures"][0]["found"] = found
    (row,) = picture_rows(read_record(record))
    assert (row.shots[1].verdict, row.shots[1].tone) == ("0 of 3 of the unpruned network's finds, 2 of its own", "bad")


@given(
    st.lists(
        st.tuples(st.floats(0, 700), st.floats(0, 500), st.floats(0, 200), st.floats(0, 200), st.sampled_from("ab")),
        min_size=1,
        max_size=12,
    )
)
def test_labels_stay_inside_the_picture_and_hide_no_other(places: list[tuple[float, float, float, float, str]]) -> None:
    record = smallest_record()
    found = [
        {"class": name * 9, "score": 0.5, "box": [x, y, min(768.0, x + width), min(576.0, y + height)]}
        for x, y, width, height, name in places
    ]
    record["cases"][0]["pictures"][0]["found"] = found
    (row,) = picture_rows(read_record(record))
    labels = [box.label for box in row.shots[0].boxes if box.label is not None]
    assert len(row.shots[0].boxes) == len(places)
    assert row.shots[0].boxes[-1].label is not None
    for label in labels:
        assert label.x >= 0.0
        assert label.y >= 0.0
        assert label.x + label.width <= 768.0 + 0.11
        assert label.y + label.height <= 576.0 + 0.11
    for index, first in enumerate(labels):
        for second in labels[index + 1 :]:
            across = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
            down = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
            assert min(across, down) <= 0.11


def smallest_record() -> dict[str, Any]:
    """The least a page with a picture needs."""
    head = {"sapwood": "0", "command": "", "date": "", "settings": {}, "conditions": {}, "schema": "sapwood.compare/1"}
    model = {"spec": "m", "task": "detection", "input_size": [8, 8], "num_classes": 2}
    case = {"name": "baseline", "kind": "baseline", "family": "baseline", "pictures": [{"id": "p", "found": []}]}
    picture = {"id": "p", "width": 768, "height": 576, "jpeg": "data:image/jpeg;base64,AA=="}
    data = {"name": "d", "num_images": 1}
    return {**head, "model": model, "data": data, "pictures": [picture], "cases": [case]}
