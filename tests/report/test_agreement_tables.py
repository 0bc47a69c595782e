"""Agreement on the page and on the console: of the cases of a comparison, and of a recovered network."""

from __future__ import annotations

from typing import Any

import pytest

from sapwood.report import case_agreement_table, prune_tables, records, render_compare, render_prune
from support.pruned import prune_record


def _estimate(value: float, reach: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


AGREEMENT: dict[str, Any] = {
    "against": "dense.cfg",
    "data": "coco val",
    "figure": "mAP@0.5",
    "networks": {"pruned": _estimate(0.5), "recovered": _estimate(0.8)},
    "differences": [{"network": "recovered", "other": "pruned", "estimate": _estimate(0.3)}],
    "num_images": 64,
    "num_found": 210,
}


def test_a_difference_is_told_from_either_side() -> None:
    found = records.make_part(records.MeasuredAgreement, AGREEMENT)
    assert found.over("pruned")["recovered"].value == 0.3
    turned = found.over("recovered")["pruned"]
    assert (turned.value, turned.low, turned.high) == pytest.approx((-0.3, -0.4, -0.2))


def test_cases_are_told_apart_from_the_one_that_agrees_most() -> None:
    table = case_agreement_table(records.make_part(records.MeasuredAgreement, AGREEMENT))
    assert [column.title for column in table.columns][4] == "over recovered"
    assert table.rows == (
        ("pruned", "0.500", "0.400", "0.600", "−0.300", "−0.400", "−0.200"),
        ("recovered", "0.800", "0.700", "0.900", "–", "–", "–"),
    )
    assert table.notes[0].startswith("64 pictures of coco val; differences are of the same samples of them")


def test_the_page_of_prune_has_it_where_it_was_measured() -> None:
    record = prune_record()
    assert 'id="agreement"' not in render_prune(record)
    measured = {**record, "agreement": AGREEMENT}
    page = render_prune(measured)
    assert 'id="agreement"' in page
    for text in ("recovered over pruned", "64 pictures of coco val", "mAP@0.5"):
        assert text in page
    tables = prune_tables(records.read_pruning(measured), layers=False)
    assert [table.label for table in tables].count("Agreement") == 1


def test_the_page_of_compare_has_it_where_it_was_measured(record: dict[str, Any]) -> None:
    assert 'id="agreement"' not in render_compare(record)
    page = render_compare({**record, "agreement": AGREEMENT})
    assert 'id="agreement"' in page
    assert "over recovered" in page
