"""A model is copied, fitted to the data and initialised before it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.utils import prune

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.models import load_model
from sapwood.models.darknet import DarknetNetwork, parse_cfg
from sapwood.models.darknet_loader import CFG_NAME
from sapwood.tasks import decode
from sapwood.training.preparation import prepare
from sapwood.types import DetectionDataset, ModelBundle


def test_fresh_weights_follow_the_seed(detector: ModelBundle, digits: DetectionDataset) -> None:
    first, again, other = (prepare(detector, digits, TrainConfig(seed=seed)).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.0.conv.weight"], other["layers.0.conv.weight"])


def test_a_fresh_detector_sees_few_objects(detector: ModelBundle, digits: DetectionDataset) -> None:
    model = prepare(detector, digits, TrainConfig()).model
    assert isinstance(model, DarknetNetwork)
    with torch.no_grad():
        maps = model(torch.rand(2, 3, 64, 64))
    objectness = maps[0].view(2, 2, 15, 8, 8)[:, :, 4].sigmoid()
    assert objectness.median() < 0.05
    boxes, _ = decode(maps, model.heads, (64, 64))
    assert boxes.isfinite().all()


def test_weights_are_kept_where_they_came_from_a_file(detector: ModelBundle, digits: DetectionDataset) -> None:
    loaded = replace(detector, source=replace(detector.source, weights="tiny.weights"))
    for bundle, init in ((loaded, "auto"), (detector, "keep")):
        prepared = prepare(bundle, digits, TrainConfig.model_validate({"init": init}))
        assert prepared.model is not bundle.model
        own = bundle.model.state_dict()
        assert all(torch.equal(value, own[name]) for name, value in prepared.model.state_dict().items())


def test_trained_weights_without_a_file_are_never_thrown_away(detector: ModelBundle, digits: DetectionDataset) -> None:
    with torch.no_grad():
        detector.model.layers[1].bn.running_mean[0] = 0.25
    prepared = prepare(detector, digits, TrainConfig())
    own = detector.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in prepared.model.state_dict().items())


def test_fresh_weights_and_live_masks_do_not_go_together(detector: ModelBundle, digits: DetectionDataset) -> None:
    prune.l1_unstructured(detector.model.layers[1].conv, "weight", amount=0.5)
    with pytest.raises(TrainingError, match=r"init: fresh of a model with live masks; remove the masks first"):
        prepare(detector, digits, TrainConfig(init="fresh"))
    kept = prepare(detector, digits, TrainConfig()).model.layers[1].conv
    assert torch.equal(kept.weight_orig, detector.model.layers[1].conv.weight_orig)


def test_classes_size_and_anchors_follow_the_data(detector: ModelBundle, digits: DetectionDataset) -> None:
    fewer = replace(digits, class_names=("even", "odd", "none"))
    config = TrainConfig(num_classes="data", input_size=96, anchors="auto", init="keep")
    prepared = prepare(detector, fewer, config)
    assert prepared.task.class_names == ("even", "odd", "none")
    assert prepared.task.input_size == (96, 96)
    assert prepared.example_inputs.shape == (1, 3, 96, 96)  # type: ignore[union-attr]
    head = prepared.task.heads[0]
    assert head.num_classes == 3
    widths, heights = zip(*head.anchors, strict=True)
    assert max(widths) <= 96
    assert max(heights) <= 96
    assert head.anchors != detector.task.heads[0].anchors
    cfg = parse_cfg(prepared.source.files[CFG_NAME])
    assert DarknetNetwork(cfg).heads == prepared.task.heads
    own, before = prepared.model.state_dict(), detector.model.state_dict()
    assert torch.equal(own["layers.1.conv.weight"], before["layers.1.conv.weight"])
    assert own["layers.4.conv.weight"].shape[0] == 16


def test_the_way_to_resize_stays(detector: ModelBundle, digits: DetectionDataset) -> None:
    boxed = replace(detector, task=replace(detector.task, resize="letterbox"))
    assert prepare(boxed, digits, TrainConfig(input_size=96)).task.resize == "letterbox"


def test_masks_and_another_structure_do_not_go_together(detector: ModelBundle, digits: DetectionDataset) -> None:
    prune.l1_unstructured(detector.model.layers[1].conv, "weight", amount=0.5)
    with pytest.raises(
        TrainingError, match=r"a model with live masks cannot be fitted to other data; remove the masks"
    ):
        prepare(detector, digits, TrainConfig(input_size=96, init="keep"))


@pytest.mark.parametrize("name", ["yolov4-tiny.cfg", "yolov3-tiny.cfg", "yolo-fastest-1.1.cfg"])
def test_real_detectors_take_other_data(data_dir: Path, digits: DetectionDataset, name: str) -> None:
    bundle = load_model(str(data_dir / "detectors" / name))
    prepared = prepare(bundle, digits, TrainConfig(num_classes="data", input_size=64, anchors="auto"))
    maps = prepared.model(torch.rand(1, 3, 64, 64))
    heads = prepared.task.heads
    assert [raw.shape[1] for raw in maps] == [len(head.anchors) * 15 for head in heads]
    assert [len(head.anchors) for head in heads] == [len(head.anchors) for head in bundle.task.heads]
    coarse, fine = ([width * height for width, height in head.anchors] for head in heads)
    assert min(coarse) > max(fine)
