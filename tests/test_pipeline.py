"""``compare`` on small models made here: what the record says, what fails alone, and what a second run takes over."""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapwood import pipeline, tasks
from sapwood.cases import CaseRow, MaskRow, parse_cases
from sapwood.comparing import CompareSettings, compare, measuring, read_pictures
from sapwood.comparing import comparison as comparison_module
from sapwood.comparing.prepared import baseline_candidate, prepare
from sapwood.data import digits_dataset
from sapwood.errors import ConfigError, ImageError, MaskError, WeightsError
from sapwood.fingerprints import data_fingerprint, model_fingerprint
from sapwood.masks import MaskCase, apply_masks_
from sapwood.report import render_compare
from sapwood.types import (
    ClassificationDataset,
    ClassificationSample,
    Measurement,
    ModelBundle,
    ModelSource,
    TaskSpec,
    YoloHead,
)

QUICK = CompareSettings(latency_rounds=2, shown_score_threshold=0.01)
CASES = """
- {method: l1_unstructured, scope: global, layers: conv, sparsity: [0.5, 0.9]}
- {method: ln_structured, sparsity: 0.5}
"""
NAMES = ["baseline", "global L1 · conv · 0.5", "global L1 · conv · 0.9", "structured L2 · conv · 0.5"]


class TinyDetector(nn.Module):
    """Two convolutions and a head of one anchor, ten classes, on a 4 x 4 grid of 64 x 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 15, 3, stride=4, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.head(self.body(x)),)


def detector() -> ModelBundle:
    torch.manual_seed(0)
    head = YoloHead("yolo", anchors=((24.0, 24.0),), num_classes=10)
    task = TaskSpec("detection", (64, 64), tuple("0123456789"), heads=(head,))
    return ModelBundle(TinyDetector().eval(), torch.rand(1, 3, 64, 64), task, ModelSource("tiny:detector", "test"))


def classifier() -> ModelBundle:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)
    )
    task = TaskSpec("classification", (16, 16), tuple("abcdef"))
    return ModelBundle(model.eval(), torch.rand(1, 3, 16, 16), task, ModelSource("tiny:classifier", "test"))


def pictures_of_classes() -> ClassificationDataset:
    def load(label: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.full((20, 24, 3), 40 * label, np.uint8)

    samples = tuple(ClassificationSample(f"p{i}", i % 6, lambda i=i: load(i % 6)) for i in range(12))  # type: ignore[misc]
    return ClassificationDataset("flat", samples, tuple("abcdef"))


def dataset() -> Any:
    return digits_dataset("val", size=(64, 64), num_images=4)


@pytest.fixture(scope="module", autouse=True)
def only_new_garbage() -> Iterator[None]:
    """Each timing collects garbage first: what the tests before left behind is not looked through again for each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("compare")
    record = compare(detector(), dataset(), parse_cases(CASES, "cases.yaml"), out_dir=out, settings=QUICK, command="it")
    return record, out


@pytest.fixture(autouse=True)
def _quick_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak memory, which collects garbage for long, is really measured for ``finished`` alone."""
    monkeypatch.setattr(measuring, "peak_memory", lambda fn: Measurement(1.0, "bytes"))


def case(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(found for found in record["cases"] if found["name"] == name)


def test_record_has_every_case_with_every_figure(finished: tuple[dict[str, Any], Path]) -> None:
    record, _ = finished
    assert [found["name"] for found in record["cases"]] == NAMES
    for found in record["cases"]:
        assert found["error"] is None
        assert set(found["accuracy"]["metrics"]) == {"mAP@0.5", "mAP@[.5:.95]"}
        assert len(found["pictures"]) == 3
        assert found["latency"]["median_ms"] > 0.0
        # a process that has freed enough before needs none on top; how much is seen is tested in tests/measure
        assert sys.platform != "linux" or found["peak_memory_bytes"] >= 0
        assert found["macs"]["total"] == case(record, "baseline")["macs"]["total"]
        assert found["params"] == sum(layer["numel"] for layer in found["layers"])
        assert found["params"] - found["nonzeros"] == sum(layer["zeros"] for layer in found["layers"])
    assert case(record, "baseline")["latency"]["ratio"] == 1.0
    assert record["live_mask"]["case"] == NAMES[1]
    assert record["conditions"]["rounds"] == 2
    assert record["command"] == "it"


def test_zeros_are_those_that_were_asked_for(finished: tuple[dict[str, Any], Path]) -> None:
    record, _ = finished
    for name, sparsity in ((NAMES[1], 0.5), (NAMES[2], 0.9)):
        convs = [layer for layer in case(record, name)["layers"] if layer["kind"] == "conv"]
        numel = sum(layer["numel"] for layer in convs)
        assert sum(layer["zeros"] for layer in convs) == round(sparsity * numel)
    dense = case(record, "baseline")
    assert case(record, NAMES[2])["macs"]["nonzero"] < 0.5 * dense["macs"]["nonzero"]
    assert case(record, NAMES[2])["file_bytes"] == dense["file_bytes"]


def test_files_are_written_and_build_the_page_again(finished: tuple[dict[str, Any], Path]) -> None:
    record, out = finished
    stored = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    assert stored == record
    assert (out / "report.html").read_text(encoding="utf-8") == render_compare(stored)
    assert len(list((out / "cases").iterdir())) == len(NAMES)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    bundle = detector()
    before = {name: tensor.clone() for name, tensor in bundle.model.state_dict().items()}
    compare(bundle, dataset(), parse_cases(CASES, "c"), out_dir=tmp_path, settings=QUICK, pictures={})
    after = bundle.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_case_that_fails_leaves_the_others(tmp_path: Path) -> None:
    rows = parse_cases("- {method: l1_unstructured, layers: linear, sparsity: 0.5}\n" + CASES, "cases.yaml")
    record = compare(detector(), dataset(), rows, out_dir=tmp_path, settings=QUICK, pictures={})
    failed = case(record, "per-layer L1 · linear · 0.5")
    assert failed["error"].startswith("MaskError: layers linear: no parameter of TinyDetector fits")
    assert failed["accuracy"] is None
    assert [found["error"] for found in record["cases"] if found is not failed] == [None] * len(NAMES)


def test_a_baseline_that_fails_stops_the_comparison(tmp_path: Path) -> None:
    bundle = detector()
    with torch.no_grad():
        next(bundle.model.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="NaN or infinity in body"):
        compare(bundle, dataset(), parse_cases(CASES, "c"), out_dir=tmp_path, settings=QUICK, pictures={})


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("- {method: movement, sparsity: 0.5}", ConfigError, r"^cases\.yaml line 1 \(row 1\): unknown mask method"),
        ("- {method: l1_unstructured}", ConfigError, r"^cases\.yaml line 1 \(row 1\): sparsity: got None"),
        (
            "- {method: ln_structured, scope: global, sparsity: 0.5}",
            ConfigError,
            r"^cases\.yaml line 1 \(row 1\): scope 'global' with ln_structured",
        ),
        ("- {method: custom_from_mask, mask_file: none.npz}", MaskError, r"\(row 1\): none\.npz: nothing there"),
    ],
)
def test_rows_that_cannot_work_are_refused_before_anything_is_measured(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        compare(detector(), dataset(), parse_cases(text, "cases.yaml"), out_dir=tmp_path / "out", settings=QUICK)
    assert not (tmp_path / "out").exists()


def test_output_folder_must_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file: a file; expected a folder"):
        compare(detector(), dataset(), (), out_dir=tmp_path / "file")


class Stop(KeyboardInterrupt):
    """Ctrl-C at a chosen moment."""


def count_measured(monkeypatch: pytest.MonkeyPatch, stop_at: str | None = None) -> list[str]:
    """Names the cases that are measured from now on; Ctrl-C at one of them."""
    measured: list[str] = []
    measure_case = comparison_module.measure_case

    def counted(row: CaseRow, *args: Any) -> Any:
        if row.name == stop_at:
            raise Stop
        measured.append(row.name)
        return measure_case(row, *args)

    monkeypatch.setattr(comparison_module, "measure_case", counted)
    return measured


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = parse_cases(CASES, "cases.yaml")
    with monkeypatch.context() as patch:
        first = count_measured(patch, stop_at=NAMES[2])
        with pytest.raises(Stop):
            compare(detector(), dataset(), rows, out_dir=tmp_path, settings=QUICK, pictures={})
    assert first == NAMES[:2]
    assert not (tmp_path / "compare.json").exists()
    second = count_measured(monkeypatch)
    record = compare(detector(), dataset(), rows, out_dir=tmp_path, settings=QUICK, pictures={})
    assert second == NAMES[2:]
    assert [found["name"] for found in record["cases"]] == NAMES
    assert all(found["latency"] is not None for found in record["cases"])


@pytest.mark.slow
def test_a_damaged_result_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(detector(), dataset(), (), out_dir=tmp_path, settings=QUICK, pictures={})
    (file,) = (tmp_path / "cases").iterdir()
    whole = file.read_text()
    measured = count_measured(monkeypatch)
    for text in (whole[:100], "", "[" * 100_000, "[]", "5", whole.replace('"params":', '"params": -')):
        file.write_text(text)
        with pytest.warns(UserWarning, match=rf"{file.name}.*; expected a finished case; baseline is measured again"):
            compare(detector(), dataset(), (), out_dir=tmp_path, settings=QUICK, pictures={})
        assert measured == ["baseline"]
        measured.clear()
    compare(detector(), dataset(), (), out_dir=tmp_path, settings=QUICK, pictures={})
    assert measured == []


def other_weights(bundle: ModelBundle) -> ModelBundle:
    with torch.no_grad():
        bundle.model.head.bias[0] += 1.0  # type: ignore[union-attr, operator, index]
    return bundle


@pytest.mark.parametrize(
    "changed",
    [
        {"bundle": other_weights(detector())},
        {"bundle": replace(detector(), task=replace(detector().task, resize="letterbox"))},
        {"dataset": digits_dataset("val", size=(64, 64), num_images=3)},
        {"dataset": digits_dataset("val", size=(64, 64), num_images=4, seed=1)},
        {"settings": replace(QUICK, iou_threshold=0.6)},
        {"pictures": {"black": np.zeros((8, 8, 3), np.uint8)}},
    ],
    ids=["weights", "task", "fewer pictures", "other pictures", "settings", "shown pictures"],
)
def test_results_of_other_conditions_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    arguments: dict[str, Any] = {"bundle": detector(), "dataset": dataset(), "cases": (), "out_dir": tmp_path}
    arguments |= {"settings": replace(QUICK, latency_rounds=0), "pictures": {}}
    compare(**arguments)
    measured = count_measured(monkeypatch)
    compare(**arguments)
    assert measured == []
    compare(**{**arguments, **changed})
    assert measured == ["baseline"]


@pytest.mark.slow
def test_a_new_name_is_not_a_new_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = MaskRow(method="l1_unstructured", sparsity=0.5)
    compare(detector(), dataset(), [row], out_dir=tmp_path, settings=QUICK, pictures={})
    measured = count_measured(monkeypatch)
    renamed = row.model_copy(update={"name": "mine"})
    record = compare(detector(), dataset(), [renamed], out_dir=tmp_path, settings=QUICK, pictures={})
    assert measured == []
    assert [found["name"] for found in record["cases"]] == ["baseline", "mine"]


def test_classifiers_take_the_same_road(tmp_path: Path) -> None:
    rows = parse_cases("- {method: l1_unstructured, layers: [conv, linear], sparsity: 0.5}", "c")
    record = compare(classifier(), pictures_of_classes(), rows, out_dir=tmp_path, settings=QUICK)
    assert set(record["cases"][1]["accuracy"]["metrics"]) == {"top-1", "top-5"}
    found = record["cases"][0]["pictures"][0]["found"]
    assert len(found) == 5
    assert [entry["box"] for entry in found] == [None] * 5
    assert [entry["score"] for entry in found] == sorted((entry["score"] for entry in found), reverse=True)
    picture = torch.zeros(1, 3, 16, 16)
    expected = classifier().model(picture).softmax(1).topk(5)
    assert [entry["score"] for entry in found] == pytest.approx(expected.values[0].tolist(), abs=1e-4)
    assert [entry["class"] for entry in found] == ["abcdef"[index] for index in expected.indices[0].tolist()]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "top-1" in page
    wanted = tasks.agreement(classifier(), {"masked": _masked_classifier(rows[0])}, pictures_of_classes())
    agreement = record["agreement"]
    assert (agreement["figure"], agreement["num_images"]) == ("top-1", 12)
    assert list(agreement["networks"]) == [record["cases"][1]["name"]]
    assert agreement["networks"][record["cases"][1]["name"]] == asdict(wanted.networks["masked"])
    assert 'id="agreement"' in page


def _masked_classifier(row: CaseRow) -> ModelBundle:
    return row.prepare()(classifier(), None).bundle


def test_differences_in_agreement_are_of_the_same_pictures(tmp_path: Path) -> None:
    rows = parse_cases("- {method: l1_unstructured, layers: [conv, linear], sparsity: [0.3, 0.9]}", "c")
    settings = replace(QUICK, latency_rounds=0, agreement_pictures=8)
    compare_them = partial(compare, classifier(), pictures_of_classes(), rows, out_dir=tmp_path, pictures={})
    record = compare_them(settings=settings)
    agreement = record["agreement"]
    assert agreement["num_images"] == 8
    ((name, value), (other, beside)) = ((name, one["value"]) for name, one in agreement["networks"].items())
    (pair,) = agreement["differences"]
    assert {pair["network"], pair["other"]} == {name, other}
    apart = value - beside if pair["network"] == name else beside - value
    assert pair["estimate"]["value"] == pytest.approx(apart)
    assert pair["estimate"]["low"] <= pair["estimate"]["value"] <= pair["estimate"]["high"]
    assert compare_them(settings=settings)["agreement"] == agreement
    assert compare_them(settings=replace(settings, agreement_pictures=0))["agreement"] is None


def test_why_agreement_was_not_measured_stands_among_the_conditions(tmp_path: Path) -> None:
    rows = parse_cases("- {method: l1_unstructured, sparsity: 0.5}", "c")
    bundle = detector()
    with torch.no_grad():
        bundle.model.head.bias.fill_(-20.0)  # type: ignore[union-attr, operator]
    settings = replace(QUICK, latency_rounds=0)
    record = compare(bundle, dataset(), rows, out_dir=tmp_path, settings=settings, pictures={})
    assert record["agreement"] is None
    assert re.match("not measured: .* finds nothing with a score above 0.3", record["conditions"]["agreement"])


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    compare(
        detector(),
        dataset(),
        parse_cases(CASES, "c"),
        out_dir=tmp_path,
        settings=QUICK,
        pictures={},
        progress=lambda done, total: told.append((done, total)),
    )
    # pictures, those that cases are compared with the baseline on, then rounds in PyTorch, on the engine and deployed
    assert {total for _, total in told} == {4 * 5 + 4 * 4 + 3 * (2 * 4)}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (60, 60)


def test_no_rounds_no_times(tmp_path: Path) -> None:
    record = compare(
        detector(), dataset(), (), out_dir=tmp_path, settings=CompareSettings(latency_rounds=0), pictures={}
    )
    assert record["cases"][0]["latency"] is None
    assert record["live_mask"] is None
    assert record["conditions"]["torch"] == torch.__version__


def test_threads_are_as_before_afterwards(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    settings = replace(QUICK, threads=before + 1)
    record = compare(detector(), dataset(), (), out_dir=tmp_path, settings=settings, pictures={})
    assert record["conditions"]["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_masks_of_the_given_model_are_made_permanent_in_the_baseline() -> None:
    bundle = detector()
    apply_masks_(bundle.model, MaskCase("l1_unstructured", 0.5, layers=("conv",)))
    candidate = baseline_candidate(bundle)
    assert candidate.notes == ("2 live masks of the given model were made permanent",)
    assert "head.weight" in candidate.bundle.model.state_dict()
    assert "head.weight_orig" in bundle.model.state_dict()


def test_candidates_share_nothing_with_the_dense_model() -> None:
    bundle = detector()
    (make,) = prepare([MaskRow(method="l1_unstructured", sparsity=0.5)])
    candidate = make(bundle)
    dense = {tensor.data_ptr() for tensor in bundle.model.state_dict().values()}
    assert not dense & {tensor.data_ptr() for tensor in candidate.bundle.model.state_dict().values()}
    assert candidate.with_live_masks is not None
    live = candidate.with_live_masks()
    assert "head.weight_mask" in live.state_dict()
    assert torch.equal(live(bundle.example_inputs)[0], candidate.bundle.model(bundle.example_inputs)[0])


def test_skipped_parameters_are_noted() -> None:
    bundle = detector()
    bundle.model.body[1] = nn.BatchNorm2d(8, affine=False)  # type: ignore[index, operator]
    (make,) = prepare([MaskRow(method="l1_unstructured", sparsity=0.5, layers=("conv", "bn"))])
    assert make(bundle).notes == ("body.1.weight: the layer has none", "body.1.bias: the layer has none")


def test_fingerprints_follow_weights_structure_and_pictures() -> None:
    assert model_fingerprint(detector()) == model_fingerprint(detector())
    assert model_fingerprint(detector()) != model_fingerprint(other_weights(detector()))
    assert data_fingerprint(dataset()) == data_fingerprint(dataset())
    first = dataset()
    relabelled = replace(
        first, samples=(replace(first.samples[0], labels=first.samples[0].labels + 1), *first.samples[1:])
    )
    assert data_fingerprint(first) != data_fingerprint(relabelled)
    repainted = replace(first, samples=(replace(first.samples[0], load=first.samples[1].load), *first.samples[1:]))
    assert data_fingerprint(first) != data_fingerprint(repainted)


def test_pictures_are_read_under_names_of_their_own(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "other").mkdir()
    for path in (tmp_path / "a.png", tmp_path / "other" / "a.png"):
        Image.new("RGB", (3, 2)).save(path)
    names = list(read_pictures([tmp_path / "a.png", tmp_path / "other" / "a.png"]))
    assert names == ["a.png", str(tmp_path / "other" / "a.png")]
    with pytest.raises(ImageError, match=r"none\.png"):
        read_pictures([tmp_path / "none.png"])


def test_public_names() -> None:
    assert set(pipeline.__all__) <= set(dir(pipeline))


@pytest.mark.slow
def test_real_detector_against_the_published_shape(data_dir: Path, tmp_path: Path) -> None:
    from sapwood.data import open_detection
    from sapwood.models import load_model

    detectors = data_dir / "detectors"
    bundle = load_model(str(detectors / "yolo-fastest-1.1.cfg"), weights=detectors / "yolo-fastest-1.1.weights")
    coco = open_detection(str(data_dir / "coco"), split="val", class_names=bundle.task.class_names)
    few = replace(coco, samples=coco.samples[:6])
    rows = parse_cases("- {method: ln_structured, sparsity: 0.4}", "cases.yaml")
    pictures = read_pictures([data_dir / "images" / "dog.jpg"])
    settings = CompareSettings(latency_rounds=1)
    record = compare(bundle, few, rows, out_dir=tmp_path, pictures=pictures, settings=settings)
    dense, structured = record["cases"]
    found = {entry["class"] for entry in dense["pictures"][0]["found"]}
    assert {"dog", "bicycle"} <= found
    assert found & {"car", "truck"}
    assert dense["accuracy"]["metrics"]["mAP@0.5"] > 0.2
    assert structured["accuracy"]["metrics"]["mAP@0.5"] < 0.05
