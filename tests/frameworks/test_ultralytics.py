"""Networks of Ultralytics: read, pruned, measured, given back, and trained at their new widths by itself."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import sapwood
from sapwood.cli import main
from sapwood.data import read_image, to_input
from sapwood.errors import ImageError, SpecError, TrainingError
from sapwood.export import export_ultralytics
from sapwood.graph import output_tensors, trace
from sapwood.models import UltralyticsNetwork, framework_of
from sapwood.models.state_dict import read_state
from sapwood.models.ultralytics import keep_widths
from sapwood.tasks import calibration_batches, decode, open_data, task_loss
from sapwood.types import ModelBundle, TaskSpec
from support.yolo_files import NAMES, SIZE, write_checkpoint, write_data

ultralytics = pytest.importorskip("ultralytics", reason="needs pip install sapwood[ultralytics]")
cfg = pytest.importorskip("ultralytics.cfg")
tasks = pytest.importorskip("ultralytics.nn.tasks")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that Ultralytics imports


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("dense") / "yolo11n.pt")


@pytest.fixture(scope="module")
def bundle(dense: Path) -> ModelBundle:
    return sapwood.load_model(str(dense))


@pytest.fixture(scope="module")
def pruned(bundle: ModelBundle) -> Any:
    return sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.5))


@pytest.fixture(scope="module")
def small(pruned: Any, bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.pt"
    export_ultralytics(pruned.model, bundle.example_inputs, path)
    return path


def same(one: Any, other: Any) -> bool:
    return all(map(torch.equal, output_tensors(one), output_tensors(other)))


def test_a_checkpoint_says_task_size_and_names(bundle: ModelBundle) -> None:
    task = bundle.task
    assert (task.kind, task.input_size, task.class_names) == ("detection", (SIZE, SIZE), ("round", "square"))
    assert all(parameter.requires_grad for name, parameter in bundle.model.named_parameters() if ".dfl." not in name)


@pytest.mark.parametrize(
    "spec", ["yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "yolov3-tiny"]
)
def test_what_is_decoded_is_what_ultralytics_decodes(spec: str, tmp_path: Path) -> None:
    model = sapwood.load_model(str(checkpoint_of(spec, tmp_path)))
    pictures = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        boxes, scores = decode(model.model(pictures), model.task.heads, model.task.input_size)
        own = model.model.network(pictures)[0].transpose(1, 2)
    centre, half = own[..., :2], own[..., 2:4] / 2
    torch.testing.assert_close(boxes, torch.cat((centre - half, centre + half), -1), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores, own[..., 4:])


def checkpoint_of(spec: str, folder: Path) -> Path:
    return write_checkpoint(folder / f"{spec}.pt", f"{spec}.yaml")


def expected_part(model: nn.Module, sparsity: float) -> float:
    """The part of the parameters that stays if every width but pictures and predictions is cut by ``sparsity``."""
    kept, whole = 0.0, 0
    for module in model.modules():
        for tensor in module.parameters(recurse=False):
            whole += tensor.numel()
            inner = isinstance(module, nn.Conv2d) and tensor.dim() == 4 and tensor.shape[1] not in (1, 3)
            kept += tensor.numel() * (1 - sparsity) ** (2 if inner else 1)
    return kept / whole


@pytest.mark.parametrize(
    "spec", ["yolov8n", "yolov10n", "yolo11n", "yolo26n", "yolov8n-seg", "yolo11n-pose", "yolo11n-obb"]
)
def test_all_but_the_predictions_is_pruned_and_comes_back(spec: str, tmp_path: Path) -> None:
    model = sapwood.load_model(str(checkpoint_of(spec, tmp_path)))
    result = sapwood.prune(
        model.model, model.example_inputs, target=sapwood.Target(sparsity=0.5), limits=sapwood.Limits(round_to=1)
    )  # widths this narrow have no multiples of 8
    left = sum(map(torch.numel, result.model.parameters())) / sum(map(torch.numel, model.model.parameters()))
    assert left < expected_part(model.model, 0.5) * 1.2
    assert {entry.reason.partition(" in ")[0].partition(":")[0] for entry in result.unpruned} <= {
        "is an output of the model",
        "is as large as an output, and dropped here",  # of the second head
        "meets a dimension of fixed size",
        "read by position",  # of key points
    }
    file = tmp_path / "small.pt"
    export_ultralytics(result.model, model.example_inputs, file)
    again = sapwood.load_model(str(file))
    assert same(again.model(model.example_inputs), result.model(model.example_inputs))
    sapwood.save(result, tmp_path / "small", source=model)
    assert same(sapwood.load(tmp_path / "small")(model.example_inputs), result.model(model.example_inputs))


@pytest.mark.parametrize("spec", ["yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo26n"])
def test_blocks_compute_the_same_by_the_method_that_exports_them(spec: str, tmp_path: Path) -> None:
    model = sapwood.load_model(str(checkpoint_of(spec, tmp_path)))
    result = sapwood.prune(
        model.model, model.example_inputs, target=sapwood.Target(sparsity=0.4), limits=sapwood.Limits(round_to=1)
    )
    assert result.notes == ()
    with torch.no_grad():
        wanted = result.model(model.example_inputs)
        split = [module for module in result.model.modules() if hasattr(module, "forward_split")]
        for module in split:
            module.forward = module.forward_split
        assert split
        assert same(result.model(model.example_inputs), wanted)


def test_yolo_exports_the_file(small: Path, bundle: ModelBundle) -> None:
    script = ultralytics.YOLO(str(small)).export(format="torchscript", imgsz=SIZE, device="cpu")
    own = ultralytics.YOLO(str(small)).model.eval()
    with torch.no_grad():
        found, wanted = torch.jit.load(script)(bundle.example_inputs), own(bundle.example_inputs)[0]
    torch.testing.assert_close(output_tensors(found)[0], wanted, rtol=1e-3, atol=1e-3)


def test_a_pruned_network_is_pruned_again(small: Path, tmp_path: Path) -> None:
    first = sapwood.load_model(str(small))
    second = sapwood.prune(
        first.model, first.example_inputs, target=sapwood.Target(sparsity=0.3), limits=sapwood.Limits(round_to=1)
    )
    file = tmp_path / "smaller.pt"
    export_ultralytics(second.model, first.example_inputs, file)
    assert same(sapwood.load_model(str(file)).model(first.example_inputs), second.model(first.example_inputs))
    assert len(second.model.plans) == 2


def test_every_batch_makes_the_same_calls(small: Path, bundle: ModelBundle) -> None:
    """Or reconstruction stops: the head keeps the places of a batch of one size, and makes them for the next."""
    pictures = torch.rand(3, 3, SIZE, SIZE)
    runs = [[call.op for call in trace(bundle.model, batch).calls] for batch in (pictures, pictures, pictures[:2])]
    assert runs[0] == runs[1] == runs[2]
    assert not ultralytics.YOLO(small).model.model[-1].dynamic


def test_yolo_takes_the_file(small: Path, pruned: Any, bundle: ModelBundle) -> None:
    own = ultralytics.YOLO(str(small)).model.eval()
    with torch.no_grad():
        found = own(bundle.example_inputs)[1]
        wanted = pruned.model(bundle.example_inputs)
    assert torch.equal(found["boxes"], wanted[0])
    assert torch.equal(found["scores"], wanted[1])


def test_the_file_holds_nothing_of_sapwoods(small: Path) -> None:
    names = torch.serialization.get_unsafe_globals_in_checkpoint(str(small))
    assert not [name for name in names if "sapwood" in name]


def train(path: Path, data: Path, folder: Path, *, epochs: int = 1, **options: Any) -> Any:
    model = ultralytics.YOLO(str(path))
    model.train(
        data=str(data / "data.yaml"), epochs=epochs, imgsz=SIZE, batch=4, workers=0, project=str(folder), name="run",
        exist_ok=True, plots=False, verbose=False, device="cpu", **options,
    )  # fmt: skip
    return model


def test_ultralytics_trains_the_pruned_widths(small: Path, data: Path, tmp_path: Path) -> None:
    train(small, data, tmp_path, trainer=keep_widths)
    before = sapwood.load_model(str(small))
    after = sapwood.load_model(str(tmp_path / "run" / "weights" / "last.pt"))
    shapes = [[tensor.shape for tensor in one.model.parameters()] for one in (before, after)]
    assert shapes[0] == shapes[1]
    assert len(after.source.plans) == 1
    assert not same(before.model(before.example_inputs), after.model(before.example_inputs))


def test_training_without_it_stops_and_says_what_to_do(small: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="keep_widths"):
        train(small, data, tmp_path)


def test_data_of_other_classes_are_named(small: Path, data: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((data / "data.yaml").read_text()) | {"names": {0: "a", 1: "b", 2: "c"}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(TrainingError, match="2 classes and the data 3"):
        train(small, tmp_path, tmp_path, trainer=keep_widths)


def test_the_loss_is_that_of_ultralytics(bundle: ModelBundle, data: Path) -> None:
    dataset = open_data(bundle, data / "data.yaml")
    (batch,) = calibration_batches(bundle, dataset, num_pictures=4, batch_size=4)
    loss = task_loss(bundle)(bundle.model, batch)
    network = bundle.model.network
    network.args = cfg.get_cfg()
    rows = [
        (place, label, box)
        for place, one in enumerate(batch.samples)
        for label, box in zip(one.labels, one.boxes, strict=True)
    ]
    boxes = torch.tensor(np.array([box for *_, box in rows])) / SIZE
    targets = {
        "img": batch.inputs,
        "batch_idx": torch.tensor([float(place) for place, *_ in rows]),
        "cls": torch.tensor([[float(label)] for _, label, _ in rows]),
        "bboxes": torch.cat(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1),
    }
    wanted = network.init_criterion()(network(batch.inputs), targets)[0].sum() / 4
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-4)
    loss.backward()


def run(*arguments: str | Path) -> int:
    """Runs a command, and returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_the_commands_take_it_and_give_it_back(
    dense: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shapes = tmp_path / "small", data / "data.yaml"
    assert run("prune", dense, "--sparsity", "0.3", "--round-to", "1", "-o", out) == 0
    capsys.readouterr()
    assert run("export", out, "--format", "ultralytics", "-o", tmp_path / "small.pt") == 0
    trains = f"YOLO('{tmp_path / 'small.pt'}').train(data='DATA.yaml', epochs=20, trainer=keep_widths)"
    assert trains in capsys.readouterr().out
    assert run("eval", out, "--data", shapes) == 0
    assert f"  or: sapwood export {out} --format ultralytics -o {out}.pt\n" in capsys.readouterr().out
    assert run("eval", tmp_path / "small.pt", "--data", shapes) == 0
    assert "--format ultralytics" not in capsys.readouterr().out  # it is such a file
    assert run("bench", dense, out, "--runtime", "torch") == 0
    assert run("eval", dense, "--data", shapes) == 0
    assert "mAP@0.5" in capsys.readouterr().out
    assert isinstance(sapwood.load(out), UltralyticsNetwork)
    for again in (out, tmp_path / "small.pt", out / "model.pt"):  # or latencies are of other pictures
        bundle = sapwood.load_model(str(again))
        assert tuple(bundle.example_inputs.shape) == (1, 3, *bundle.task.input_size) == (1, 3, SIZE, SIZE)
    assert json.loads((out / "model.plans.json").read_text())


@pytest.mark.parametrize("size", [(64, 64), (48, 100), (131, 70), (200, 333)])
def test_pictures_are_brought_to_the_size_as_ultralytics_does(size: tuple[int, int], tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    Image.fromarray(picture).save(tmp_path / "images" / "0.png")
    (tmp_path / "labels" / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    build = importlib.import_module("ultralytics.data.build").build_yolo_dataset
    settings = cfg.get_cfg(overrides={"imgsz": SIZE, "task": "detect", "rect": False})
    own = build(settings, str(tmp_path / "images"), 1, {"names": NAMES, "channels": 3}, mode="val", rect=False)[0]
    values, placement = to_input(picture, TaskSpec("detection", (SIZE, SIZE), resize="letterbox_yolo"))
    assert (values * 255 - own["img"]).abs().max() <= 1.0 + 1e-4  # OpenCV weighs neighbours in 2,048ths
    assert (values * 255 - own["img"]).abs().mean() < 0.1
    height, width = size
    box = placement.to_input(torch.tensor([width / 4, height / 4, 3 * width / 4, 3 * height / 4]))
    centre, whole = own["bboxes"][0, :2] * SIZE, own["bboxes"][0, 2:] * SIZE
    torch.testing.assert_close(box, torch.cat((centre - whole / 2, centre + whole / 2)), rtol=0.0, atol=0.51)


def test_figures_are_those_of_yolo_val(dense: Path, data: Path, tmp_path: Path) -> None:
    train(dense, data, tmp_path, epochs=60, trainer=keep_widths, val=False, optimizer="AdamW", lr0=0.01, mosaic=0.0)
    path = tmp_path / "run" / "weights" / "last.pt"
    bundle = sapwood.load_model(str(path))
    found = sapwood.evaluate(
        bundle, open_data(bundle, data / "data.yaml", split="train"), score_threshold=0.001, iou_threshold=0.7
    )
    own = ultralytics.YOLO(str(path)).val(
        data=str(data / "data.yaml"), split="train", imgsz=SIZE, rect=False, conf=0.001, iou=0.7, workers=0,
        plots=False, device="cpu", project=str(tmp_path), name="val", verbose=False,
    )  # fmt: skip
    assert found.metrics["mAP@0.5"] == pytest.approx(own.box.map50, abs=1e-3)
    assert found.metrics["mAP@[.5:.95]"] == pytest.approx(own.box.map, abs=1e-3)
    assert own.box.map50 > 0.0


class Strange:
    pass


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    path = tmp_path / "strange.pt"
    torch.save({"model": Strange()}, path)
    return path


def test_classes_of_other_packages_are_named(strange: Path) -> None:
    with pytest.raises(SpecError, match=r"test_ultralytics.*Strange; expected .* Nothing of it was executed"):
        sapwood.load_model(str(strange))
    assert run("eval", strange, "--data", "digits") == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"model": {"weight": torch.ones(1)}},
            r"holds tensors without their network \(weight\), which --weights takes",
        ),
        ({"a.weight": torch.ones(1)}, r"holds tensors without their network \(a.weight\), which --weights takes"),
        ({"a": 1}, "holds a; expected a checkpoint of Ultralytics"),
        ({}, "holds an empty dict; expected a checkpoint of Ultralytics"),
        ([1], "holds a list; expected a checkpoint of Ultralytics"),
        (torch.ones(1), "holds a Tensor; expected a checkpoint of Ultralytics"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3)),
            r"holds a module of torch\.nn\.modules\.container\.Sequential; .*other\.pt holds tensors by name, which go",
        ),
    ],
)
def test_other_files_are_named(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(SpecError, match=message):
        sapwood.load_model(str(path))


def test_files_of_other_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "yolov5s.pt"
    for name in ("models", "models.yolo"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    kind = type("DetectionModel", (nn.Module,), {"__module__": "models.yolo"})
    monkeypatch.setattr(sys.modules["models.yolo"], "DetectionModel", kind, raising=False)
    network = kind()
    network.model = nn.Sequential(nn.Conv2d(3, 4, 3))
    wanted = network.state_dict()
    for zipped in (True, False):
        torch.save({"epoch": -1, "model": network, "ema": None}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(
            SpecError, match=r"holds models\.yolo\.DetectionModel of the repositories of YOLOv5 or YOLOv7"
        ):
            sapwood.load_model(str(path))
    torch.save({"epoch": -1, "model": network, "ema": None}, path)
    with pytest.raises(
        SpecError, match=r"go beside a model: .* a function of yours that builds it \(file\.py:factory --w"
    ):
        sapwood.load_model(str(path))
    assert {name: tuple(one.shape) for name, one in read_state(path).items()} == {
        name: tuple(one.shape) for name, one in wanted.items()
    }
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SpecError, match=r"is a pointer of Git LFS and not the file .* and PyTorch only$"):
        sapwood.load_model(str(path))


def test_a_broken_picture_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics replaces Pillow's ``Image.open`` by one that runs pip where no decoder knows a file."""
    installed: list[object] = []
    monkeypatch.setattr("ultralytics.utils.checks.check_requirements", installed.append)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ImageError, match=r"broken\.png: cannot be read as a picture"):
        read_image(tmp_path / "broken.png")
    assert installed == []


def test_damaged_files_are_named(dense: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(dense.read_bytes()[:-4000])
    with pytest.raises(SpecError, match=r"damaged\.pt"):
        sapwood.load_model(str(path))
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(SpecError, match=r"damaged\.pt"):
        sapwood.load_model(str(path))


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"yolo11n\.pt: there is no such file; .* nothing is downloaded"):
        sapwood.load_model("ultralytics:yolo11n.pt")
    with pytest.raises(SpecError, match=r"neither a file nor a \.yaml that comes with Ultralytics"):
        sapwood.load_model("ultralytics:poetry.yaml")


@pytest.mark.parametrize("activation", ["__import__('os').getcwd()", "nn.SiLU(open('x'))"])
def test_a_yaml_is_not_executed(activation: str, tmp_path: Path) -> None:
    content = tasks.yaml_model_load("yolo11n.yaml") | {"activation": activation}
    (tmp_path / "yolo11n.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SpecError, match=r"the activation .* expected one like"):
        sapwood.load_model(f"ultralytics:{tmp_path / 'yolo11n.yaml'}")


def test_a_layer_that_is_none_is_named(tmp_path: Path) -> None:
    content = tasks.yaml_model_load("yolo11n.yaml")
    content["backbone"][0][2] = "load_checkpoint"
    (tmp_path / "yolo11n.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SpecError, match="load_checkpoint"):
        sapwood.load_model(f"ultralytics:{tmp_path / 'yolo11n.yaml'}")


def test_its_framework_owns_it(bundle: ModelBundle) -> None:
    assert framework_of(bundle.model).title == "Ultralytics"
