"""The sentences follow the figures: other figures, other words."""

from __future__ import annotations

from typing import Any

import pytest

from sapwood.report.findings import Finding, findings, speed
from sapwood.report.record import Latency, read_record
from sapwood.report.verdict import headline


def ratio(median: float, spread: float = 0.01) -> dict[str, float]:
    parts = {"median_ms": 10.0, "q25_ms": 9.0, "q75_ms": 11.0, "min_ms": 8.0}
    return {**parts, "ratio": median, "ratio_q25": median - spread, "ratio_q75": median + spread}


def by_subject(record: dict[str, Any]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings(read_record(record))}


@pytest.mark.parametrize(
    ("latency", "expected"),
    [
        (ratio(1.0), "same"),
        (ratio(0.96), "same"),
        (ratio(0.9), "faster"),
        (ratio(0.9, 0.06), "same"),
        (ratio(0.5, 0.2), "faster"),
        (ratio(1.1), "slower"),
        (ratio(1.1, 0.06), "same"),
    ],
)
def test_speed_needs_more_than_a_little_and_than_its_spread(latency: dict[str, float], expected: str) -> None:
    assert speed(Latency.model_validate(latency)) == expected
    assert speed(None) == "same"


def test_headline_when_nothing_is_faster(record: dict[str, Any]) -> None:
    case = next(case for case in record["cases"] if case["name"] == "global L1 · conv · 0.95")
    case["latency"] = ratio(0.99)
    case["nonzeros"] = int(0.051 * case["params"])
    expected = "At 95 % zeros the network takes 0.99× the time: masks do not make it faster."
    assert headline(read_record(record)) == Finding("Speed", expected, "bad")
    case["latency"] = ratio(1.2)
    assert headline(read_record(record)).text.endswith("takes 1.20× the time: masks make it slower, not faster.")


def test_headline_speaks_of_masks_only_where_all_cases_are_masks(record: dict[str, Any]) -> None:
    record["cases"][3]["kind"] = "compacted"
    assert headline(read_record(record)).text.endswith("the zeros do not make it faster.")


def test_headline_names_the_fastest_that_keeps_the_accuracy(record: dict[str, Any]) -> None:
    cases = {case["name"]: case for case in record["cases"]}
    cases["global L1 · conv · 0.95"]["latency"] = ratio(0.3)
    assert headline(read_record(record)) == Finding(
        "Speed",
        "Nothing of use is faster yet. The nearest: 3.3 times as fast in PyTorch, 28.3 points of mAP@0.5 lost.",
        "bad",
    )
    cases["global L1 · conv · 0.5"]["latency"] = ratio(0.5)
    cases["global L1 · conv · 0.2"]["latency"] = ratio(0.6)
    assert headline(read_record(record)) == Finding(
        "Speed",
        "2.0 times as fast in PyTorch, 0.7 points of mAP@0.5 lost, 56 % of the weights not zero.",
        "good",
    )
    cases["global L1 · conv · 0.5"]["accuracy"]["metrics"]["mAP@[.5:.95]"] = 0.1
    assert headline(read_record(record)).text.startswith("1.7 times as fast"), "the stricter figure counts, too"


def test_headline_without_times(record: dict[str, Any]) -> None:
    for case in record["cases"]:
        case["latency"] = None
    assert headline(read_record(record)).text.startswith(
        "global L1 · conv + BatchNorm · 0.5 keeps 95 % of the unpruned"
    )
    record["cases"] = [case for case in record["cases"] if case["name"].startswith(("baseline", "structured"))]
    assert headline(read_record(record)) == Finding("Accuracy", "No case keeps 95 % of the unpruned mAP@0.5.", "bad")


def test_families_by_how_far_they_hold(record: dict[str, Any]) -> None:
    found = by_subject(record)
    holds = "holds for a while: 98 % of mAP@0.5 is left at 0.5, 59 % at 0.7."
    assert found["global L1 · conv"] == Finding("global L1 · conv", holds, "mixed")
    assert found["global L1 · conv + BatchNorm"].text == "keeps the accuracy: 95 % of mAP@0.5 is left at 0.5."
    assert found["global L1 · BatchNorm"].text == "breaks the network: 40 % of mAP@0.5 is left at 0.2, 0 % at 0.5."
    assert found["structured L2 · conv"].tone == "bad"


def test_a_family_that_costs_some_accuracy_at_once(record: dict[str, Any]) -> None:
    record["cases"] = [case for case in record["cases"] if case["name"] in {"baseline", "global L1 · conv · 0.7"}]
    expected = "costs accuracy at once: 59 % of mAP@0.5 is left at 0.7."
    assert by_subject(record)["global L1 · conv"].text == expected


def test_no_family_sentence_where_the_baseline_finds_nothing(record: dict[str, Any]) -> None:
    for case in record["cases"]:
        case["accuracy"]["metrics"] = {"mAP@0.5": 0.0}
    assert set(by_subject(record)) == {"File size", "Live masks"}


def test_file_size(record: dict[str, Any]) -> None:
    assert by_subject(record)["File size"].text.startswith("stays at 1.21 MB in every case")
    record["cases"][2]["file_bytes"] = 605_000
    kept = "with at least 95 % of the unpruned mAP@0.5 kept."
    cases = {case["name"]: case for case in record["cases"]}
    assert by_subject(record)["File size"].text == f"from 1.21 MB down to 0.605 MB {kept}"
    cases["global L1 · conv · 0.95"]["file_bytes"] = 100_000  # keeps 0.4 %: no news
    assert by_subject(record)["File size"].text == f"from 1.21 MB down to 0.605 MB {kept}"
    record["cases"][2]["file_bytes"] = 1_210_000
    assert by_subject(record)["File size"] == Finding(
        "File size", "No smaller file keeps 95 % of the unpruned mAP@0.5.", "bad"
    )


def test_the_headline_is_a_usable_network_before_a_dead_one_that_is_faster(record: dict[str, Any]) -> None:
    cases = {case["name"]: case for case in record["cases"]}
    cases["global L1 · conv · 0.95"]["latency"] = ratio(0.3)
    cases["baseline"]["engine"] = ratio(0.6)
    cases["global L1 · conv · 0.5"]["engine"] = ratio(0.4)
    assert headline(read_record(record)) == Finding(
        "Speed",
        "2.5 times as fast on Sapwood's engine as the unpruned network in PyTorch, 0.7 points of mAP@0.5 lost, 56 % of "
        "the weights not zero.",
        "good",
    )
    cases["global L1 · conv · 0.5"]["engine"] = ratio(0.59)
    assert headline(read_record(record)).tone == "bad", "the engine is faster, not the network"


def test_what_the_engine_buys(record: dict[str, Any]) -> None:
    assert "On the sparse engine" not in by_subject(record)
    cases = {case["name"]: case for case in record["cases"]}
    cases["baseline"]["engine"] = ratio(0.8)
    cases["global L1 · conv · 0.5"]["engine"] = ratio(0.55)
    cases["global L1 · conv · 0.95"]["engine"] = ratio(0.12)
    found = by_subject(record)["On the sparse engine"]
    assert found.tone == "good"
    assert found.text.startswith("global L1 · conv · 0.5 (4")
    assert found.text.endswith(
        "takes 0.55× the time that the unpruned network takes in PyTorch, with 98 % of mAP@0.5 left; the unpruned "
        "network itself takes 0.80× there."
    )
    cases["structured L2 · conv · 0.1"] |= {"engine": ratio(0.01), "nonzeros": cases["baseline"]["nonzeros"]}
    assert by_subject(record)["On the sparse engine"] == found, "it is about zeros"
    cases["global L1 · conv · 0.5"]["engine"] = None
    found = by_subject(record)["On the sparse engine"]
    assert found.tone == "bad", "fast, and of no use"
    assert "takes 0.12× the time" in found.text
    cases["global L1 · conv · 0.95"]["engine"] = ratio(1.0)
    assert by_subject(record)["On the sparse engine"].tone == "plain"


def test_live_masks(record: dict[str, Any]) -> None:
    assert by_subject(record)["Live masks"].text.startswith("A live mask costs time on every pass: 1.31×")
    record["live_mask"] |= {"ratio": 1.02, "ratio_q25": 0.98, "ratio_q75": 1.05}
    assert by_subject(record)["Live masks"].text.startswith("A live mask costs no measurable time: 1.02×")
    record["live_mask"] |= {"ratio": 1.8, "ratio_q25": 1.2, "ratio_q75": 2.2}
    expected = "What a live mask costs cannot be told from noise: 1.80×, half of the rounds between 1.20 and 2.20."
    assert by_subject(record)["Live masks"].text == expected


def test_a_busy_machine_is_told(record: dict[str, Any]) -> None:
    assert "Timing noise" not in by_subject(record)
    for case in record["cases"][1:]:
        case["latency"] |= ratio(0.8, 0.15)
    assert by_subject(record)["Timing noise"].text.startswith(
        "The machine was busy: half of a typical case's rounds span 30 % of the unpruned network's time."
    )
    assert "do not make it faster" in headline(read_record(record)).text
