"""Tables for the console: what a reader finds in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sapwood.errors import DataError
from sapwood.masks import MaskCase, apply_masks_, masking_state, remove_masks_
from sapwood.report import compare_table, evaluation_table, masking_table
from sapwood.types import Evaluation
from support.pages import lines


def test_every_case_is_a_line_under_its_family(record: dict[str, Any]) -> None:
    found = lines(compare_table(record))
    assert found[0] == "yolov3-tiny.cfg on coco val, 64 pictures"
    assert "case zeros mAP@0.5 mAP@[.5:.95] params file MACs non-zero time half of the rounds" in found
    family = found.index("global L1 · conv")
    assert found[family + 3].startswith("0.7 55 % 0.167 −0.117 0.088 303 k 1.21 MB 2.78 G 1.25 G")
    assert any(line.startswith("baseline 0 % 0.284") and line.endswith("1.00× 41.0 ms") for line in found)
    assert any("time: ratio to the baseline's 41.0 ms, round by round" in line for line in found)


def test_times_on_the_engine_have_a_column_where_there_are_any(record: dict[str, Any]) -> None:
    record["cases"][1]["engine"] = {**record["cases"][1]["latency"], "ratio": 0.41}
    found = lines(compare_table(record))
    assert any(line.endswith("time half of the rounds engine") for line in found)
    assert any(line.startswith("baseline 0 % 0.284") and line.endswith("1.00× 41.0 ms –") for line in found)
    assert any(line.endswith("0.41×") for line in found)
    assert any("engine: the same on Sapwood's sparse engine" in line for line in found)


def test_failed_cases_give_their_reason(record: dict[str, Any]) -> None:
    failed = {"name": "mine", "kind": "mask", "family": "mine", "error": "MaskError: [red]no layer fits"}
    record["cases"].append(failed)
    assert "failed: MaskError: [red]no layer fits" in lines(compare_table(record))


def test_compare_table_without_times(record: dict[str, Any]) -> None:
    for case in record["cases"]:
        case["latency"] = None
    assert any(
        line.startswith("baseline 0 % 0.284") and line.endswith("2.78 G –") for line in lines(compare_table(record))
    )


def test_compare_table_refuses_other_records() -> None:
    with pytest.raises(DataError, match=r"record: schema is None; expected 'sapwood\.compare/1'"):
        compare_table({})


def test_evaluation_table() -> None:
    evaluation = Evaluation(
        primary="mAP@0.5",
        metrics={"mAP@0.5": 0.28431, "mAP@[.5:.95]": 0.152},
        per_class={"dog": 0.5, "[bold]cat": 0.0},
        num_images=64,
        seconds={"read": 1.0, "network": 8.0, "postprocess": 0.5, "score": 0.5},
        skipped=("broken.jpg: cannot be read",),
    )
    found = lines(evaluation_table(evaluation))
    assert "64 pictures" in found[1]
    assert {"mAP@0.5 0.284", "mAP@[.5:.95] 0.152", "dog 0.500", "[bold]cat 0.000"} <= set(found)
    text = " ".join(found)
    assert "10.0 s: reading pictures 10 %, network 80 %, boxes and NMS 5.0 %, scoring 5.0 %" in text
    assert "skipped: broken.jpg: cannot be read" in text


def test_evaluation_table_of_an_instant_run() -> None:
    found = lines(evaluation_table(Evaluation("top-1", {"top-1": 1.0}, {}, 1, {})))
    assert "top-1 1.000" in found


def test_masking_table() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    before = masking_state(model)
    apply_masks_(model, MaskCase("l1_unstructured", 0.5, layers=("conv",)))
    masked = masking_state(model)
    remove_masks_(model)
    found = lines(masking_table(before, masked, masking_state(model)))
    assert "0.weight 108 0 % weight 50 % weight_orig + weight_mask 50 % weight" in found
    assert "whole model 122 0 % 44 % 44 %" in found
    assert "live masks 0 1 0" in found
    assert not any(line.startswith("2.weight") for line in found)
