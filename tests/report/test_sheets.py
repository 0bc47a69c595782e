"""The pages of `eval`, `mask` and `export`."""

from __future__ import annotations

from typing import Any

import pytest

from sapwood.errors import DataError
from sapwood.report import render_agreement, render_evaluation, render_export, render_mask
from sapwood.report.evaluated import agreement_sheet, evaluation_sheet
from sapwood.report.exported import export_sheet
from sapwood.report.masked import masking_sheet
from sapwood.report.records import (
    AgreementRecord,
    EvaluationRecord,
    ExportRecord,
    MadeBy,
    Masking,
    make_part,
    read_masking,
)
from sapwood.report.sheet import Sheet
from support.pages import outline, words
from support.runs import MADE
from support.sheets import AGREED, EVALUATED, EXPORTED, MASKED

BY = make_part(MadeBy, MADE)
TYPED = "sapwood run recipe.yaml -o out"


def answers(sheet: Sheet) -> list[str]:
    return [one.answer for one in sheet.answers]


def test_an_evaluation_says_how_good_how_long_where_weak_and_how_sure() -> None:
    sheet = evaluation_sheet(make_part(EvaluationRecord, EVALUATED), BY, ("sapwood prune net.cfg -o small",))
    assert sheet.headline.text == "mAP@0.5 is 0.300 ± 0.030 on 50 pictures of coco val."
    assert answers(sheet) == ["0.300", "80.0 ms", "0.050", "± 3.0 points", ""]
    assert sheet.answers[0].more == "mAP@0.5; mAP@[.5:.95] 0.150"
    assert sheet.answers[1].more.startswith("a picture in ONNX Runtime: reading pictures 20.0 ms, network 60.0 ms; ")
    assert sheet.answers[2].more == "class cup; then cat (0.300), dog (0.400)"
    assert sheet.answers[3].more == "95 of 100 samples of 50 pictures; 1 were left out"
    assert sheet.answers[4].commands == (TYPED, "sapwood prune net.cfg -o small")
    bars = sheet.sections[0].bars
    assert bars is not None
    assert [bar.name for bar in bars.bars] == ["zebra", "dog", "cat", "cup"]


def test_an_evaluation_without_samples_and_classes_has_neither() -> None:
    sheet = evaluation_sheet(make_part(EvaluationRecord, {**EVALUATED, "interval": None, "per_class": {}}), None)
    assert sheet.headline.text == "mAP@0.5 is 0.300 on 50 pictures of coco val."
    assert answers(sheet) == ["0.300", "80.0 ms", "", "no ± measured", ""]
    assert [one.anchor for one in sheet.sections] == ["figures", "skipped"]


def test_agreement_is_about_the_network_that_agrees_most() -> None:
    sheet = agreement_sheet(make_part(AgreementRecord, AGREED), BY)
    assert sheet.headline.text == "big agrees with dense by 0.900 ± 0.050 (top-1)."
    assert answers(sheet) == ["not measured", "PyTorch", "10 %", "± 5.0 points", ""]
    bars = sheet.sections[0].bars
    assert bars is not None
    assert [(bar.name, bar.low < bar.width < bar.high) for bar in bars.bars] == [("small", True), ("big", True)]


def test_masks_are_counted_and_nothing_is_called_faster() -> None:
    sheet = masking_sheet(make_part(Masking, {**MASKED, "made": MADE}))
    assert sheet.headline.text == "40 % of 100 numbers are zero, in 1 of 2 parameters."
    assert answers(sheet) == ["not measured", "Sapwood's engine", "not measured", "counted", ""]
    assert sheet.answers[3].more == "1 live mask; after remove as many zeros in plain weights"
    assert sheet.answers[4].commands == (TYPED, "sapwood eval masked --data DIR")
    plot = sheet.sections[0].layers
    assert plot is not None
    assert [bar.height for bar in plot.bars] == [50.0, 0.0]
    assert sheet.sections[-1].lines == ("not masked: bn.weight: is no convolution",)


def test_masks_to_a_latency_say_how_much_faster_and_whether_that_was_asked_for() -> None:
    layer = {"name": "a", "num_params": 80, "sparsity": 0.5, "dense_ms": 8.0, "masked_ms": 3.0, "loss": 0.1}
    times = {"target": 0.5, "ratio": 0.4, "ratio_q1": 0.4, "ratio_q3": 0.4, "dense_ms": 10.0, "pruned_ms": 4.0}
    where = {"runtime": "sapwood", "threads": 2, "batch": 1}
    latency = {**times, "layers": [layer], "figure": "divergence", "met": False, "conditions": where}
    sheet = masking_sheet(make_part(Masking, {**MASKED, "mask_latency": latency}))
    assert answers(sheet)[:2] == ["2.5×", "Sapwood's engine"]
    assert sheet.answers[0].tone == "bad"
    assert sheet.answers[1].more == "2 threads"


def test_a_record_of_masks_is_read_back() -> None:
    record = make_part(Masking, {**MASKED, "made": MADE})
    assert read_masking(record.plain()) == record
    assert render_mask(record.plain()) == render_mask(record)
    with pytest.raises(DataError, match=r"record: schema is 'sapwood.prune/1'; expected 'sapwood.mask/1'"):
        render_mask({**record.plain(), "schema": "sapwood.prune/1"})


def test_an_exported_file_says_what_runs_it_and_how_far_it_is_from_the_model() -> None:
    sheet = export_sheet(make_part(ExportRecord, EXPORTED), BY, ("sapwood bench net.cfg",))
    assert sheet.headline.text == "net.onnx: 2.50 MB that ONNX Runtime runs, and gives what the model gives."
    assert answers(sheet) == ["not measured", "ONNX Runtime", "nothing", "read back", ""]
    assert sheet.answers[3].more == "and run: outputs differ by 2.0e-07 of the largest one, of at most 1e-05"
    table = sheet.sections[1].table
    assert table is not None
    assert table.rows == (("Inputs", "image"), ("Outputs", "boxes"), ("Opset", "18"))


@pytest.mark.parametrize(
    ("judged", "answer", "more"),
    [
        ({}, "20 %", "agrees with float32 by 80 % on 9 pictures"),
        (
            {"metric": "top-1", "float32": 0.75, "accuracy": 0.73},
            "2.0 points",
            "top-1 0.750 → 0.730; agrees with float32 by 80 % on 9 pictures",
        ),
    ],
)
def test_int8_says_what_it_costs(judged: dict[str, Any], answer: str, more: str) -> None:
    details = {"int8": {"agreement": 0.8, "num_measured": 9, **judged}}
    lost = export_sheet(make_part(ExportRecord, {**EXPORTED, "details": details}), None).answers[2]
    assert (lost.answer, lost.more) == (answer, more)


@pytest.mark.parametrize(
    ("page", "parts"),
    [
        (lambda: render_evaluation(make_part(EvaluationRecord, EVALUATED), BY), ("class by class", "coco val", TYPED)),
        (lambda: render_agreement(make_part(AgreementRecord, AGREED), BY), ("network by network", "coco val")),
        (
            lambda: render_mask({**MASKED, "made": MADE}),
            ("where the zeros are", "is no convolution", "l1_unstructured"),
        ),
        (lambda: render_export(make_part(ExportRecord, EXPORTED), BY), ("net.onnx", "opset", "2026-11-28")),
    ],
    ids=["eval", "against", "mask", "export"],
)
def test_pages_are_one_file_and_say_command_and_machine(page: Any, parts: tuple[str, ...]) -> None:
    text = words(page()).lower()
    assert outline(page()).links == []
    for part in (*parts, "a cpu"):
        assert part.lower() in text
