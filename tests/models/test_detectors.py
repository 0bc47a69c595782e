"""Detectors of torchvision: measured as torchvision does it, with its own loss, recovered by what their heads say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.detectors import DETECTORS, NAMES, SIZES, detector, write_coco
from torch import Tensor, nn

import sapwood
from sapwood.config import TrainConfig
from sapwood.errors import DataError, ExportError, ShapeError, SpecError, TrainingError, WeightsError
from sapwood.export import export_onnx
from sapwood.models import copy_model, framework_of, load_model
from sapwood.models.detectors.describing import class_labels, kind_of
from sapwood.pipeline import recover
from sapwood.recovery import DistillConfig
from sapwood.tasks import (
    calibration_batches,
    detect,
    divergence_from,
    evaluate,
    mean_average_precision,
    open_data,
    task_loss,
)
from sapwood.training import train
from sapwood.types import Detections, ListedHead, ModelBundle

KINDS = tuple(DETECTORS)
BOXES = ("faster", "retina", "fcos", "ssd")
"""Those that are trained with boxes alone."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("squares"))


def bundle_of(kind: str) -> ModelBundle:
    model = detector(kind)
    example = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    return replace(framework_of(model).bundle(model), example_inputs=([example],))


def alone_in_torchvision(model: nn.Module, picture: np.ndarray[Any, Any]) -> Detections:
    with torch.no_grad():
        (found,) = model([as_torchvision_takes(picture)])
    return Detections(found["boxes"], found["scores"], found["labels"] - 1)


def as_torchvision_takes(picture: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("kind", KINDS)
def test_their_head_says_the_task(kind: str) -> None:
    task = bundle_of(kind).task
    assert (task.kind, task.heads, task.input_size) == ("detection", (ListedHead(3, (1, 2, 3)),), (64, 64))
    assert task.resize == ("stretch" if kind == "ssd" else "letterbox")


@pytest.mark.parametrize("kind", KINDS)
def test_each_picture_is_looked_at_as_it_is(kind: str, data: Path) -> None:
    bundle = bundle_of(kind)
    pictures = [sample.load() for sample in open_data(bundle, data).samples]
    assert {picture.shape[:2] for picture in pictures} == set(SIZES)
    found = detect(bundle, pictures, score_threshold=0.0)
    for own, picture in zip(found, pictures, strict=True):
        other = alone_in_torchvision(bundle.model, picture)
        known = other.labels >= 0  # a RetinaNet scores a class 0, which no data set has
        assert torch.equal(own.boxes, other.boxes[known])
        assert torch.equal(own.labels, other.labels[known])
    assert sum(len(one.boxes) for one in found) > 0


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_size_of_a_batch_changes_no_figure(batch_size: int, data: Path) -> None:
    bundle = bundle_of("faster")
    dataset = open_data(bundle, data)
    seen: list[tuple[int, int]] = []
    found = evaluate(bundle, dataset, batch_size=batch_size, progress=lambda *done: seen.append(done))
    alone = [alone_in_torchvision(bundle.model, sample.load()) for sample in dataset.samples]
    wanted = mean_average_precision(alone, dataset)
    assert found.metrics == {"mAP@0.5": wanted.map_50, "mAP@[.5:.95]": wanted.map_50_95}
    assert 0 < wanted.map_50 < 1
    assert (found.num_images, seen) == (4, [(1, 4), (2, 4), (3, 4), (4, 4)])


def test_labels_are_those_of_coco_where_a_detector_has_as_many() -> None:
    labels = class_labels(91)
    assert (labels[:3], labels[11], labels[-1], len(labels)) == ((1, 2, 3), 13, 90, 80)


class _Lists(nn.Module):
    """Returns what it was given."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found

    def forward(self, pictures: Tensor) -> Any:
        return self.found


def listing(found: Any) -> ModelBundle:
    return replace(
        bundle_of("ssd"), model=_Lists(found), task=replace(bundle_of("ssd").task, heads=(ListedHead(2, (1, 13)),))
    )


def test_labels_that_no_class_has_are_left_out() -> None:
    boxes = torch.arange(16.0).reshape(4, 4)
    found = {"boxes": boxes, "scores": torch.tensor([0.2, 0.9, 0.5, 0.1]), "labels": torch.tensor([13, 12, 1, 1])}
    (own,) = detect(listing([found]), [np.zeros((8, 8, 3), np.uint8)], score_threshold=0.15)
    wanted = Detections(boxes[[2, 0]], torch.tensor([0.5, 0.2]), torch.tensor([0, 1]))
    assert all(torch.equal(*pair) for pair in zip(vars(own).values(), vars(wanted).values(), strict=True))


def test_other_outputs_are_refused() -> None:
    picture = [np.zeros((8, 8, 3), np.uint8)]
    with pytest.raises(ShapeError, match=r"returns a dict with boxes, scores, labels a picture; got Tensor"):
        detect(listing(torch.zeros(1, 2)), picture)
    found = {"boxes": torch.zeros(1, 4), "scores": torch.tensor([float("nan")]), "labels": torch.ones(1).long()}
    with pytest.raises(WeightsError, match=r"output 1 of the model holds 1 NaN"):
        detect(listing([found]), picture)
    with pytest.raises(sapwood.errors.ConfigError, match=r"score_threshold is in \[0, 1\]; got 2"):
        detect(listing([found]), picture, score_threshold=2)


def test_data_of_other_classes_is_refused(data: Path) -> None:
    bundle = bundle_of("ssd")
    four = replace(bundle, task=replace(bundle.task, heads=(ListedHead(4, (1, 2, 3, 4)),)))
    with pytest.raises(DataError, match=r"instances_val has 3 classes and the model scores 4; expected as many"):
        evaluate(four, open_data(bundle, data))


@pytest.mark.parametrize("kind", BOXES)
def test_the_loss_is_torchvisions(kind: str, data: Path) -> None:
    bundle = bundle_of(kind)
    (batch,) = calibration_batches(bundle, open_data(bundle, data), batch_size=4)
    before = {name: value.clone() for name, value in bundle.model.state_dict().items()}
    state = torch.get_rng_state()
    loss = task_loss(bundle)(bundle.model, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in bundle.model.state_dict().items())
    assert not any(module.training for module in bundle.model.modules())

    twin = copy_model(bundle.model).train()
    for module in twin.modules():
        module.training = module.training and not isinstance(module, nn.BatchNorm2d)
    targets = [
        {"boxes": place.to_input(torch.from_numpy(sample.boxes)), "labels": torch.from_numpy(sample.labels) + 1}
        for sample, place in zip(batch.samples, batch.placements, strict=True)
    ]
    torch.manual_seed(0)
    assert torch.allclose(
        loss, sum(twin(list(batch.inputs), targets).values()), rtol=1e-6
    )  # the boxes are rounded once


def test_masks_and_key_points_need_labels_that_no_data_set_here_has(data: Path) -> None:
    for kind in ("mask", "keypoint"):
        bundle = bundle_of(kind)
        assert not framework_of(bundle.model).has_loss(bundle.model)
        with pytest.raises(TrainingError, match=r"RCNN of torchvision detection is not trained with boxes alone"):
            train(bundle, open_data(bundle, data), config=TrainConfig(epochs=1, batch_size=2), run_dir=data / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_has_the_same_tensors_and_goes_back(kind: str) -> None:
    model = detector(kind)
    framework = framework_of(model)
    view = framework.comparable(model)
    assert framework_of(view) is framework
    assert framework.comparable(view) is view
    assert all(one is other for one, other in zip(view.parameters(), model.parameters(), strict=True))
    assert list(view.state_dict()) == list(model.state_dict())
    twin = copy_model(view)
    back = framework.plain(twin)
    assert back is twin
    assert type(back) is type(model)
    assert type(model) is not type(view)
    with torch.no_grad():
        parts = view(torch.rand(2, 3, 64, 64))
    assert all(part.shape[0] == 2 for part in parts)
    assert len(parts) == {"faster": 4, "mask": 6, "keypoint": 6}.get(kind, 2)
    assert all(((part >= 0) & (part <= 1)).all() for part in parts[::2])


def test_a_view_says_what_the_boxes_are_chosen_from() -> None:
    model = detector("ssd")
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores, numbers = framework_of(model).comparable(model)(picture)
        (found,) = model(picture)
    anchors = model.anchor_generator(_Images(picture), [torch.zeros(1, 8, 4, 4)])  # type: ignore[operator]
    boxes = model.box_coder.decode_single(numbers[0], anchors[0]).clamp(0, 64)  # type: ignore[operator, union-attr]
    label, best = int(found["labels"][0]), float(found["scores"][0])
    place = int(scores[0, :, label - 1].argmax())
    assert float(scores[0, place, label - 1]) == best == float(scores.max())
    assert torch.equal(boxes[place], found["boxes"][0])


class _Images:
    """What torchvision hands to its anchors."""

    def __init__(self, tensors: Tensor) -> None:
        self.tensors = tensors
        self.image_sizes = [(64, 64)]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in {"ssd", "faster"} else pytest.mark.slow) for kind in KINDS],
)
def test_pruned_and_recovered_without_labels(kind: str, data: Path) -> None:
    bundle = bundle_of(kind)
    batches = list(calibration_batches(bundle, open_data(bundle, data), batch_size=3))
    measure = divergence_from(bundle, batches)
    assert measure(bundle.model) == 0.0
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.4))
    inputs = [batch.inputs for batch in batches]
    assert [len(batch) for batch in inputs] == [3, 1]  # and such a network makes calls for each of a batch
    recovered = recover(bundle, pruned, inputs, "distill", config=DistillConfig(steps=2, batch_size=2))
    assert measure(recovered.model) < 0.7 * measure(pruned.model)
    assert type(recovered.model) is type(bundle.model)
    assert kind_of(recovered.model) == kind_of(bundle.model)
    assert set(recovered.model([torch.rand(3, 50, 70)])[0]) >= {"boxes", "scores", "labels"}


def test_it_learns_by_its_own_loss(data: Path, tmp_path: Path) -> None:
    bundle = bundle_of("ssd")
    dataset = open_data(bundle, data, split="train")
    (batch,) = calibration_batches(bundle, dataset, batch_size=4)
    config = TrainConfig(
        epochs=6, batch_size=4, lr=0.02, ema_decay=0, warmup_epochs=0, eval_every=6, precision="float32"
    )
    trained = train(bundle, dataset, val_dataset=dataset, config=config, run_dir=tmp_path / "run")
    loss = task_loss(bundle)
    with torch.no_grad():
        assert float(loss(trained.bundle.model, batch)) < 0.7 * float(loss(bundle.model, batch))
    assert type(trained.bundle.model) is type(bundle.model)


def test_a_teacher_is_refused_with_what_does_the_same(data: Path, tmp_path: Path) -> None:
    bundle = bundle_of("ssd")
    dataset = open_data(bundle, data, split="train")
    with pytest.raises(TrainingError, match=r"a SSD returns losses while it is trained, .*prune --recover distill"):
        train(
            bundle, dataset, val_dataset=dataset, config=TrainConfig(epochs=1), run_dir=tmp_path / "run", teacher=bundle
        )


def test_a_head_that_says_no_classes_is_no_task() -> None:
    model = detector("faster")
    model.roi_heads.box_predictor = nn.Identity()  # type: ignore[union-attr]
    assert framework_of(model).bundle(model).task.kind == "none"
    assert not framework_of(model).has_loss(model)


def test_onnx_files_find_the_same_boxes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    bundle = bundle_of("ssd")
    exported = export_onnx(bundle.model, bundle.example_inputs, tmp_path / "net.onnx")
    assert exported.max_relative_error < 1e-5
    assert len(exported.outputs) == 3
    with pytest.raises(ExportError, match=r"SSD takes single pictures; expected no dynamic batch"):
        export_onnx(bundle.model, bundle.example_inputs, tmp_path / "net.onnx", dynamic_batch=True)


SMALLEST = "torchvision:ssdlite320_mobilenet_v3_large"


@pytest.mark.slow
def test_classes_are_those_of_weights_or_of_names(tmp_path: Path) -> None:
    (tmp_path / "own.names").write_text("\n".join(NAMES))
    bundle = load_model(SMALLEST, names=tmp_path / "own.names")
    assert (bundle.task.class_names, bundle.task.heads[0].num_classes, bundle.task.input_size) == (NAMES, 3, (320, 320))
    torch.save({"model": bundle.model.state_dict()}, tmp_path / "own.pth")
    again = load_model(SMALLEST, weights=tmp_path / "own.pth")
    assert (again.task.class_names, again.task.heads) == (("class0", "class1", "class2"), (ListedHead(3, (1, 2, 3)),))
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in bundle.model.state_dict().items())
    (tmp_path / "two.names").write_text("a\nb")
    with pytest.raises(SpecError, match=r"two.names: 2 class names; expected 3, one a class of the model"):
        load_model(SMALLEST, weights=tmp_path / "own.pth", names=tmp_path / "two.names")
    with pytest.raises(WeightsError, match=r"own.pth: lacks backbone.body.0.0.weight, .*; expected the \d+ tensors"):
        load_model("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", weights=tmp_path / "own.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "maskrcnn_resnet50_fpn",
        "keypointrcnn_resnet50_fpn",
        "retinanet_resnet50_fpn",
        "fcos_resnet50_fpn",
        "ssd300_vgg16",
        "ssdlite320_mobilenet_v3_large",
    ],
)
def test_each_of_torchvisions_detectors_is_built_for_the_classes_of_its_weights(name: str, tmp_path: Path) -> None:
    spec = f"torchvision:{name}"
    usual = load_model(spec)
    assert usual.task.heads[0].num_classes == (1 if "keypoint" in name else 80)
    (tmp_path / "own.names").write_text("\n".join(NAMES))
    torch.save(load_model(spec, names=tmp_path / "own.names").model.state_dict(), tmp_path / "own.pth")
    assert load_model(spec, weights=tmp_path / "own.pth").task.heads == (ListedHead(3, (1, 2, 3)),)
