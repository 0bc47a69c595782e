"""The page: one file, nothing loaded, everything escaped, every part there when its figures are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sapwood.errors import DataError
from sapwood.report import dump_record, read_record, render_compare
from support.pages import outline, words


def test_page_is_one_file_that_loads_nothing(record: dict[str, Any]) -> None:
    page = render_compare(record)
    found = outline(page)
    assert found.tags.count("script") == 1
    assert "link" not in found.tags
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in found.links)
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"(?<!xmlns=\")https?://", page)


def test_every_section_stands_when_its_figures_are_there(record: dict[str, Any]) -> None:
    text = words(render_compare(record))
    for title in (
        "What was found",
        "Every case",
        "Accuracy over sparsity",
        "Time",
        "What each case sees",
        "Where the zeros are",
        "Class by class",
        "Conditions",
        "Words used here",
    ):
        assert title in text
    assert "0.167 −0.117" in text
    assert "A CPU with a long name @ 2.60GHz" in text
    assert "sapwood compare yolov3-tiny.cfg --weights yolov3-tiny.weights --data coco --picture dog.jpg" in text


def test_the_picture_is_stored_once_and_drawn_for_every_case(record: dict[str, Any]) -> None:
    page = render_compare(record)
    assert page.count("data:image/jpeg;base64,") == 1
    assert page.count('<use href="#picture-0"') == len(record["cases"])
    assert "nothing found" in page
    assert "dog 0.75" in page
    assert "1 of 3 of the unpruned network&#39;s finds" in page


def test_everything_from_the_record_is_escaped(record: dict[str, Any]) -> None:
    evil = '<script>alert("x")</script>\'"><img src=x>'
    record["cases"][0]["pictures"][0]["found"][0]["class"] = evil
    record["cases"][0]["accuracy"]["per_class"][evil] = 0.5
    record["cases"][1]["name"] = evil
    record["cases"][2]["notes"] = [evil]
    record["cases"][3]["family"] = evil
    record["cases"][4]["error"] = evil
    record["cases"][5]["layers"][0]["name"] = evil
    record["cases"][6]["layers"][0]["kind"] = evil
    record["command"] = record["data"]["name"] = record["model"]["spec"] = evil
    record["conditions"][evil] = {evil: [evil]}
    record["pictures"][0]["id"] = evil
    for case in record["cases"]:
        case["pictures"][0]["id"] = evil
    page = render_compare(record)
    found = outline(page)
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    assert "&lt;script&gt;" in page


def test_a_picture_from_elsewhere_is_refused(record: dict[str, Any]) -> None:
    record["pictures"][0]["jpeg"] = "https://example.com/dog.jpg"
    with pytest.raises(DataError, match=r"record: pictures\.0\.jpeg: got 'https://example\.com/dog\.jpg'"):
        render_compare(record)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "fast"])
def test_figures_that_are_no_numbers_are_refused(record: dict[str, Any], value: object) -> None:
    record["cases"][1]["latency"]["ratio"] = value
    with pytest.raises(DataError, match=r"record: cases\.1\.latency\.ratio: got"):
        render_compare(record)


@pytest.mark.parametrize("value", [{}, [], None, {"schema": "sapwood.compare/2"}])
def test_other_records_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"record: schema is .*; expected 'sapwood\.compare/1'"):
        render_compare(value)


def test_record_reads_back_as_it_was_written(record: dict[str, Any]) -> None:
    assert dump_record(read_record(record)) == dump_record(read_record(dump_record(read_record(record))))
    assert dump_record(read_record(record)) == record


@pytest.mark.parametrize(
    ("spec", "title"),
    [
        ("/home/me/yolov3-tiny.cfg", "yolov3-tiny.cfg"),
        ("C:\\nets\\tiny.cfg", "C:\\nets\\tiny.cfg"),
        ("torchvision:resnet18", "torchvision:resnet18"),
        ("runs/masked/", "masked"),
    ],
)
def test_titles_leave_folders_out(record: dict[str, Any], spec: str, title: str) -> None:
    record["model"]["spec"] = spec
    text = words(render_compare(record))
    assert f"{title} on coco val, 64 pictures" in text
    assert f"Model {spec}, weights yolov3-tiny.weights" in text


def test_sizes_among_the_conditions_have_units(record: dict[str, Any]) -> None:
    record["conditions"]["memory_bytes"] = 16_400_000_000
    assert "Memory 16.4 GB" in words(render_compare(record))


def test_only_a_baseline(record: dict[str, Any]) -> None:
    record["cases"] = record["cases"][:1]
    record["live_mask"] = None
    text = words(render_compare(record))
    assert "1 case of yolov3-tiny.cfg." in text
    assert "Accuracy over sparsity" not in text
    assert "Where the zeros are" not in text


def test_without_times_pictures_and_classes(record: dict[str, Any]) -> None:
    record["pictures"], record["live_mask"] = [], None
    for case in record["cases"]:
        case |= {"latency": None, "pictures": [], "macs": None, "peak_memory_bytes": None, "layers": []}
        case["accuracy"]["per_class"] = {}
    text = words(render_compare(record))
    assert "global L1 · conv + BatchNorm · 0.5 keeps 95 % of the unpruned mAP@0.5 at" in text
    assert "What each case sees" not in text
    assert "Class by class" not in text


def test_notes_stand_under_their_case(record: dict[str, Any]) -> None:
    record["cases"][1]["notes"] = ["a.weight: the layer has none", "b.weight: all 8 values are masked"]
    text = words(render_compare(record))
    assert text.count("a.weight: the layer has none; b.weight: all 8 values are masked") == 1


def test_failed_cases_say_why(record: dict[str, Any]) -> None:
    failed = {"name": "mine", "kind": "mask", "family": "mine", "level": 0.3, "error": "MaskError: no layer fits 'x*'"}
    record["cases"].append(failed)
    text = words(render_compare(record))
    assert "1 case failed. mine: MaskError: no layer fits 'x*'" in text
    assert "failed: MaskError: no layer fits 'x*'" in text


def test_a_failed_baseline_still_gives_a_page(record: dict[str, Any]) -> None:
    record["cases"] = [{"name": "baseline", "kind": "baseline", "family": "baseline", "error": "DataError: empty"}]
    assert "DataError: empty" in words(render_compare(record))


def test_classifiers_show_their_best_classes(record: dict[str, Any]) -> None:
    for case in record["cases"]:
        case["pictures"] = [
            {"id": "dog.jpg", "found": [{"class": "collie", "score": 0.71}, {"class": "wolf", "score": 0.1}]}
        ]
        case["accuracy"] |= {"primary": "top-1", "metrics": {"top-1": 0.7, "top-5": 0.9}}
    page = render_compare(record)
    assert "collie 0.71, wolf 0.10" in words(page)
    assert '<rect class="box"' not in page
    assert "top-5" in page


def test_unnamed_figures_never_show_as_numbers(record: dict[str, Any]) -> None:
    page = render_compare(record)
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", words(page))
