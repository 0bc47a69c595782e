"""The pages of `eval`, `mask`, `export`, `compile`, `train` and `detect`."""

from __future__ import annotations

from typing import Any

import pytest

from sapwood.errors import DataError
from sapwood.report import (
    render_agreement,
    render_compile,
    render_detect,
    render_evaluation,
    render_export,
    render_mask,
    render_train,
)
from sapwood.report.compiled import compiling_sheet
from sapwood.report.detected import detecting_sheet
from sapwood.report.evaluated import agreement_sheet, evaluation_sheet
from sapwood.report.exported import export_sheet
from sapwood.report.masked import masking_sheet
from sapwood.report.plots.epochs import epoch_plot
from sapwood.report.records import (
    AgreementRecord,
    Compiling,
    Detecting,
    EvaluationRecord,
    ExportRecord,
    MadeBy,
    Masking,
    TrainingRecord,
    make_part,
    read_compiling,
    read_detecting,
    read_masking,
    read_training,
)
from sapwood.report.sheet import Sheet
from sapwood.report.trained import training_sheet
from support.pages import outline, words
from support.runs import MADE
from support.sheets import AGREED, COMPILED, DETECTED, EVALUATED, EXPORTED, MASKED, TRAINED

BY = make_part(MadeBy, MADE)
TYPED = "sapwood run recipe.yaml -o out"


def test_texts_are_called_texts() -> None:
    text = words(render_evaluation(make_part(EvaluationRecord, {**EVALUATED, "unit": "texts"}), BY))
    assert " texts of coco val." in text
    assert "a text in ONNX Runtime: reading texts" in text
    assert "pictures" not in text


PHOTOS = {"found/dog.jpg": "data:image/jpeg;base64,/9j/"}


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
    sheet = masking_sheet(make_part(Masking, {**MASKED, "made": {**MADE, "then": ["sapwood eval masked"]}}))
    assert sheet.headline.text == "40 % of 100 numbers are zero, in 1 of 2 parameters."
    assert answers(sheet) == ["not measured", "Sapwood's engine", "not measured", "counted", ""]
    assert sheet.answers[3].more == "1 live mask; after remove as many zeros in plain weights"
    assert sheet.answers[4].commands == (TYPED, "sapwood eval masked")
    plot = sheet.sections[0].layers
    assert plot is not None
    assert [bar.height for bar in plot.bars] == [50.0, 0.0]
    assert sheet.sections[-1].lines == ("not masked: bn.weight: is no convolution",)


def test_masks_whose_weights_adapted_say_so() -> None:
    recovery = {"method": "reconstruct", "num_pictures": 64, "seconds": 2.0, "layers": []}
    sheet = masking_sheet(make_part(Masking, {**MASKED, "recovery": recovery}))
    adapted = "40 zeros, the weights that stay adapted to them with 64 pictures without labels"
    assert sheet.answers[2].more == f"accuracy: sapwood eval measures it; {adapted}"


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


BY_NOW = {**MADE, "then": ["sapwood bench 'my net'"]}
COMMANDS = (TYPED, "sapwood bench 'my net'")


def test_a_compiled_network_stands_beside_pytorch() -> None:
    sheet = compiling_sheet(make_part(Compiling, {**COMPILED, "made": BY_NOW}))
    assert sheet.headline.text == (
        "2.5 times as fast as in PyTorch: 4.00 ms a picture instead of 10.0 ms; 90 % of the weights are zero."
    )
    assert answers(sheet) == ["2.5×", "Sapwood's engine", "nothing", "20 rounds", ""]
    assert sheet.answers[0].tone == "good"
    assert sheet.answers[1].more == "A CPU, 1 thread"
    assert sheet.answers[3].more == (
        "in turns with PyTorch; half of them 2.0 to 2.6 times as fast; the machine was busy: differences below 30 % "
        "mean nothing, time again on a quiet one"
    )
    assert sheet.answers[4].commands == COMMANDS
    bars = sheet.sections[0].bars
    assert bars is not None
    assert [(bar.name, bar.value) for bar in bars.bars] == [("fc", "62 %"), ("conv1", "38 %")]
    plot = sheet.sections[1].layers
    assert plot is not None
    assert [(bar.height, bar.kind) for bar in plot.bars] == [(95.0, "conv"), (50.0, "linear")]


def test_a_compiled_network_that_is_no_faster_is_no_good_news() -> None:
    slow = {**COMPILED["beside"], "ratio": 1.2, "ratio_q1": 1.15, "ratio_q3": 1.25}
    changed = {**COMPILED, "beside": slow, "steps": [], "in_pytorch": [], "tried_ms": {}, "run_by": "PyTorch"} | {
        "zeros": 0.0
    }
    sheet = compiling_sheet(make_part(Compiling, changed))
    assert sheet.headline.text.startswith("0.8 times as fast as in PyTorch")
    assert sheet.headline.text.endswith("; no weight is zero.")
    assert (sheet.headline.tone, sheet.answers[1].answer) == ("bad", "PyTorch")
    assert sheet.answers[3].more.endswith("times as fast")  # on a quiet machine nothing more is to be said
    assert [one.anchor for one in sheet.sections] == ["time", "operations"]


def test_training_says_how_good_how_long_whether_more_helps_and_how_sure() -> None:
    sheet = training_sheet(make_part(TrainingRecord, {**TRAINED, "made": BY_NOW}))
    assert sheet.headline.text == "mAP@0.5 is 0.300 ± 0.030 after 4 epochs."
    assert answers(sheet) == ["0.300", "4 min", "hardly", "± 3.0 points", ""]
    assert sheet.answers[1].more == "65.0 s an epoch; 3.00 pictures a second; A CPU, 1 thread"
    assert sheet.answers[2].more == "the best epoch was 3 of 4; what came after was no better"
    assert sheet.answers[4].commands == COMMANDS
    accuracy, loss = sheet.sections[0].curves
    assert (accuracy.metric, accuracy.baseline[1]) == ("mAP@0.5", "kept 0.300")
    assert [point.x for point in loss.lines[0].points] == [25.0, 50.0, 75.0, 100.0]
    assert loss.summary == "loss from 8.00 at epoch 1 to 2.50 at epoch 4"


def test_training_that_still_gets_better_says_so() -> None:
    rising = [{"epoch": one, "total": 1.0, "mAP@0.5": one / 10} for one in (1, 2)]
    sheet = training_sheet(make_part(TrainingRecord, {**TRAINED, "history": rising}))
    assert sheet.answers[2].answer == "perhaps"
    assert sheet.answers[2].more.startswith("the best epoch was 2 of 2: accuracy was still rising; the same command")


def test_epochs_of_gradual_pruning_compare_once_all_zeros_are_there() -> None:
    def sheet_of(zeros: tuple[float, ...], accuracies: tuple[float, ...]) -> Sheet:
        epochs = zip(zeros, accuracies, strict=True)
        history = [{"epoch": 1, "total": 1.0, "gradual_zeros": gone, "mAP@0.5": value} for gone, value in epochs]
        return training_sheet(make_part(TrainingRecord, {**TRAINED, "history": history, "epochs": len(history)}))

    sheet = sheet_of((0.3, 0.9, 0.9), (0.8, 0.2, 0.3))  # the first is of another network
    assert sheet.headline.text.endswith(" after 3 epochs, with 90 % zeros in the layers that were pruned.")
    assert (sheet.answers[2].answer, sheet.answers[2].more[:27]) == ("perhaps", "the best epoch was 3 of 3: ")
    table = sheet.sections[0].table
    assert table is not None
    place = [column.title for column in table.columns].index("zeros")
    assert [row[place] for row in table.rows] == ["30 %", "90 %", "90 %"]
    told = sheet_of((0.3, 0.6, 0.9), (0.8, 0.2, 0.3)).answers[2].more
    assert told == "accuracy was measured fewer than two times, once all zeros were there"


def test_training_that_finds_nothing_does_not_say_that_more_is_of_no_use() -> None:
    nothing = [{"epoch": one, "total": 1.0, "mAP@0.5": 0.0} for one in (1, 2)]
    answer = training_sheet(make_part(TrainingRecord, {**TRAINED, "history": nothing})).answers[2]
    assert (answer.answer, answer.more) == ("cannot be told", "the network finds nothing yet: every epoch has 0")


def test_training_without_measuring_has_no_accuracy() -> None:
    nothing = {"metrics": None, "primary": None, "interval": None, "per_class": {}, "history": [{"epoch": 1}]}
    sheet = training_sheet(make_part(TrainingRecord, {**TRAINED, **nothing, "epochs": 1}))
    assert sheet.headline.text == "Trained for 1 epoch; accuracy was not measured."
    assert answers(sheet) == ["not measured", "0 ms", "cannot be told", "no ± measured", ""]
    assert sheet.sections[0].curves == ()


def test_a_long_line_has_fewer_marks_and_keeps_its_last_one() -> None:
    plot = epoch_plot({"loss": [(one, 1.0) for one in range(1, 301)]}, (1.0, "last"))
    assert plot is not None
    (line,) = plot.lines
    assert (len(line.points), len(line.segments), line.points[-1].x) == (75, 299, 100.0)


def test_detections_are_told_by_class_and_are_no_measure() -> None:
    sheet = detecting_sheet(make_part(Detecting, {**DETECTED, "made": BY_NOW}), PHOTOS)
    assert sheet.headline.text == "3 objects on 1 of 2 pictures."
    assert answers(sheet) == ["3", "250 ms", "below 0.25", "not measured", ""]
    assert sheet.answers[0].more == "dog 2, truck 1"
    assert (
        sheet.answers[1].more
        == "a picture at 416 × 192 in PyTorch, the first one slower than the others; A CPU, 1 thread"
    )
    assert sheet.answers[3].more.startswith("scores from 0.30 to 0.81; ")
    assert sheet.answers[4].commands == COMMANDS
    assert [(photo.name, photo.caption) for photo in sheet.sections[0].photos] == [
        ("dog.jpg", "dog 0.81, dog 0.30, truck 0.55")
    ]
    assert sheet.sections[0].text == "The first 1 of 2; the others are in the folder."
    table = sheet.sections[1].table
    assert table is not None
    assert table.rows == (("dog", "2", "1", "0.81", "0.30"), ("truck", "1", "1", "0.55", "0.55"))


def test_a_network_that_finds_nothing_says_so() -> None:
    sheet = detecting_sheet(make_part(Detecting, {**DETECTED, "images": DETECTED["images"][1:], "seconds": None}), {})
    assert sheet.headline.text == "Nothing found on 1 picture."
    assert answers(sheet) == ["0", "not measured", "below 0.25", "not measured", ""]
    assert [one.anchor for one in sheet.sections] == ["all"]


@pytest.mark.parametrize(
    ("read", "render", "kind", "values"),
    [
        (read_compiling, render_compile, Compiling, COMPILED),
        (read_training, render_train, TrainingRecord, TRAINED),
        (read_detecting, render_detect, Detecting, DETECTED),
    ],
)
def test_records_are_read_back(read: Any, render: Any, kind: Any, values: dict[str, Any]) -> None:
    record = make_part(kind, {**values, "made": BY_NOW})
    assert read(record.plain()) == record
    assert render(record.plain()) == render(record)
    with pytest.raises(DataError, match=rf"record: schema is 'sapwood.run/1'; expected '{values['schema']}'"):
        render({**record.plain(), "schema": "sapwood.run/1"})


@pytest.mark.parametrize(
    ("page", "parts"),
    [
        (lambda: render_evaluation(make_part(EvaluationRecord, EVALUATED), BY), ("class by class", "coco val", TYPED)),
        (lambda: render_agreement(make_part(AgreementRecord, AGREED), BY), ("network by network", "coco val")),
        (
            lambda: render_mask({**MASKED, "made": MADE}),
            ("where the zeros are", "is no convolution", "l1_unstructured"),
        ),
        (lambda: render_compile({**COMPILED, "made": MADE}), ("where the time goes", "aten.cumsum", "net.py:7")),
        (lambda: render_train({**TRAINED, "made": MADE}), ("epoch by epoch", "class by class", "a.jpg: is empty")),
        (lambda: render_detect({**DETECTED, "made": MADE}, PHOTOS), ("the pictures", "dog 0.81", "470, 80, 690, 170")),
        (lambda: render_export(make_part(ExportRecord, EXPORTED), BY), ("net.onnx", "opset", "2026-11-28")),
    ],
    ids=["eval", "against", "mask", "compile", "train", "detect", "export"],
)
def test_pages_are_one_file_and_say_command_and_machine(page: Any, parts: tuple[str, ...]) -> None:
    text = words(page()).lower()
    assert [link for link in outline(page()).links if not link.startswith("data:")] == []
    for part in (*parts, "a cpu"):
        assert part.lower() in text
