"""Exported files say how they are used: what is in them is enough for a program without Sapwood to draw boxes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sapwood
from sapwood.data import digits_dataset
from sapwood.export import EXPORTERS, ExportOptions, export_onnx, export_openvino
from sapwood.export.metadata import metadata_of
from sapwood.types import AnchorFreeHead, ModelBundle, TaskSpec, YoloHead

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "draw_boxes.py"


@pytest.fixture(scope="module")
def digits() -> ModelBundle:
    return sapwood.load_model("builtin:digits")


@pytest.fixture(scope="module")
def exported(digits: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    EXPORTERS["onnx"].export(digits.model, digits.example_inputs, path, ExportOptions(task=digits.task))
    return path


def told_by_onnx(path: Path) -> dict[str, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(session.get_modelmeta().custom_metadata_map)


def test_a_detector_tells_names_strides_anchors_size_and_normalisation(digits: ModelBundle, exported: Path) -> None:
    told = told_by_onnx(exported)
    assert told["task"] == "detection"
    assert json.loads(told["names"]) == list(digits.task.class_names)
    given = json.loads(told["input"])
    assert (given["name"], tuple(given["size"]), given["resize"]) == ("images", digits.task.input_size, "stretch")
    assert (given["scale"], given["mean"], given["std"]) == (1 / 255, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    outputs = json.loads(told["outputs"])
    with torch.no_grad():
        maps = digits.model(digits.example_inputs)
    for one, head, raw in zip(outputs, digits.task.heads, maps, strict=True):
        assert isinstance(head, YoloHead)
        assert one["stride"] == [digits.task.input_size[0] / raw.shape[2], digits.task.input_size[1] / raw.shape[3]]
        assert one["anchors"] == [list(anchor) for anchor in head.anchors]
        assert (one["num_classes"], one["scale_x_y"]) == (head.num_classes, head.scale_x_y)


def test_openvino_files_tell_the_same(digits: ModelBundle, exported: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "digits.xml"
    export_openvino(digits.model, digits.example_inputs, path, task=digits.task)
    model = openvino.Core().read_model(path)
    for name, value in told_by_onnx(exported).items():
        assert model.get_rt_info(["sapwood", name]).astype(str) == value


def test_a_model_that_nobody_described_tells_nothing(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    export_onnx(nn.Linear(3, 2), torch.rand(1, 3), tmp_path / "net.onnx")
    assert told_by_onnx(tmp_path / "net.onnx") == {}


def test_anchors_in_cells_are_told_in_pixels() -> None:
    head = YoloHead("region", ((1.5, 2.0),), 3, softmax=True)
    task = TaskSpec("detection", (64, 96), ("a", "b", "c"), heads=(head,))
    (one,) = json.loads(metadata_of(task, ["out"], [[1, 8, 2, 4]], ["images"])["outputs"])
    assert (one["stride"], one["anchors"], one["softmax"]) == ([32.0, 24.0], [[36.0, 64.0]], True)


def test_detectors_without_anchors_and_classifiers_tell_what_comes_out() -> None:
    head = AnchorFreeHead(3, (8, 16), bins=16)
    task = TaskSpec("detection", (64, 64), ("a", "b", "c"), heads=(head,))
    first, second = json.loads(metadata_of(task, ["boxes", "scores"], [[1, 64, 80], [1, 3, 80]], ["images"])["outputs"])
    assert (first["kind"], first["bins"], first["strides"]) == ("distances", 16, [8, 16])
    assert (second["kind"], second["num_classes"], second["nms"]) == ("class logits", 3, True)
    task = TaskSpec("classification", (64, 64), ("a", "b"), outputs="probabilities")
    (one,) = json.loads(metadata_of(task, ["out"], [[1, 2]], ["images"])["outputs"])
    assert one == {"name": "out", "kind": "probabilities"}


def test_the_example_draws_the_boxes_that_sapwood_finds(digits: ModelBundle, exported: Path, tmp_path: Path) -> None:
    picture = digits_dataset("test", num_images=1).samples[0].load()
    height, width = picture.shape[:2]
    given, drawn = tmp_path / "given.ppm", tmp_path / "drawn.ppm"
    given.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + picture.tobytes())
    ran = subprocess.run([sys.executable, EXAMPLE, exported, given, drawn], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    printed = [line.split() for line in ran.stdout.splitlines()]
    (wanted,) = sapwood.detect(digits, [picture], score_threshold=0.25, iou_threshold=0.45)
    assert len(wanted.labels) > 1
    names = [digits.task.class_names[label] for label in wanted.labels.tolist()]
    found = sorted((line[0], *(int(edge) for edge in line[2:])) for line in printed)
    known = sorted((name, *map(round, box)) for name, box in zip(names, wanted.boxes.tolist(), strict=True))
    assert [one[0] for one in found] == [one[0] for one in known]
    apart = [
        abs(edge - other)
        for one, two in zip(found, known, strict=True)
        for edge, other in zip(one[1:], two[1:], strict=True)
    ]
    assert max(apart) <= 3, "pixels: the example takes the nearest pixel, and cuts fractions off"
    pixels = np.frombuffer(drawn.read_bytes()[-3 * width * height :], np.uint8).reshape(height, width, 3)
    assert (pixels == (255, 0, 0)).all(-1).sum() > 40
