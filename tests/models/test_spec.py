"""Every kind of model specification, and what is said of those that name nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sapwood.errors import CfgError, MissingDependencyError, SpecError, WeightsError
from sapwood.models import load_model
from sapwood.models.darknet import DarknetNetwork, parse_cfg, write_weights

FACTORY = """
import torch
from torch import nn
from sapwood.types import ModelBundle, ModelSource, TaskSpec

def plain():
    return nn.Linear(3, 2)

def pair():
    return nn.Linear(3, 2), torch.zeros(1, 3)

def bundle():
    return ModelBundle(nn.Linear(3, 2), torch.zeros(1, 3), TaskSpec("none", (1, 3)), ModelSource("", ""))

class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)

def number():
    return 3

def broken():
    raise ValueError("no luck")

constant = 3
made = Net()
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory."""
    name = "factories_for_sapwood"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    (tmp_path / "broken_for_sapwood.py").write_text("import a_module_that_does_not_exist\n")
    monkeypatch.chdir(tmp_path)
    for module in (name, "broken_for_sapwood"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return name


@pytest.fixture
def cfg_path(detector_text: str, tmp_path: Path) -> Path:
    path = tmp_path / "net.cfg"
    path.write_text(detector_text)
    return path


def test_a_darknet_detector(cfg_path: Path, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(cfg_path))
    weights = write_weights(tmp_path / "net.weights", network)
    bundle = load_model(str(cfg_path), weights=weights)
    assert isinstance(bundle.model, DarknetNetwork)
    assert not bundle.model.training
    assert (bundle.task.kind, bundle.task.input_size, bundle.task.resize) == ("detection", (32, 32), "stretch")
    assert (bundle.task.mean, bundle.task.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert bundle.task.heads == network.heads
    assert bundle.task.class_names == ("class0", "class1")
    assert (bundle.source.kind, bundle.source.spec, bundle.source.weights) == ("darknet", str(cfg_path), str(weights))
    assert bundle.source.files == {"model.cfg": cfg_path.read_text()}
    assert torch.equal(bundle.model.layers[0].conv.weight, network.layers[0].conv.weight)
    example = bundle.example_inputs
    assert isinstance(example, torch.Tensor)
    assert tuple(example.shape) == (1, 3, 32, 32)
    again = load_model(str(cfg_path)).example_inputs
    assert isinstance(again, torch.Tensor)
    assert torch.equal(example, again)


def test_letter_box_and_classifiers(detector_text: str, classifier_text: str, tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_text(detector_text.replace("width", "letter_box=1\nwidth", 1))
    assert load_model(str(path)).task.resize == "letterbox"
    path.write_text(classifier_text)
    task = load_model(str(path)).task
    assert (task.kind, task.resize, task.outputs, len(task.class_names)) == (
        "classification",
        "center_crop",
        "probabilities",
        5,
    )
    path.write_text(classifier_text.replace("[softmax]\ngroups=1\n", ""))
    assert load_model(str(path)).task.outputs == "logits"
    path.write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=1\n")
    assert load_model(str(path)).task.kind == "none"


def test_class_names_come_from_a_fitting_file(cfg_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.names").write_text("one\ntwo\nthree\n")
    assert load_model(str(cfg_path)).task.class_names == ("class0", "class1")
    (tmp_path / "b.names").write_text("cat\ndog\n\n")
    assert load_model(str(cfg_path)).task.class_names == ("cat", "dog")
    (tmp_path / "net.names").write_text("ash\noak\n")
    assert load_model(str(cfg_path)).task.class_names == ("ash", "oak")
    (tmp_path / "given.txt").write_text("x\r\ny\r\n")
    assert load_model(str(cfg_path), names=tmp_path / "given.txt").task.class_names == ("x", "y")
    with pytest.raises(SpecError, match=r"a.names: 3 class names; expected 2, one a class of the model"):
        load_model(str(cfg_path), names=tmp_path / "a.names")
    with pytest.raises(SpecError, match=r"none: no such file; expected a file of class"):
        load_model(str(cfg_path), names=tmp_path / "none")


def test_class_names_of_another_encoding_keep_their_bytes(cfg_path: Path, tmp_path: Path) -> None:
    (tmp_path / "gbk").write_bytes("人\r\ncar\r\n".encode("gbk"))
    with pytest.warns(UserWarning, match=r"gbk: is not UTF-8 text; its other bytes are written as \\xc4"):
        bundle = load_model(str(cfg_path), names=tmp_path / "gbk")
    assert bundle.task.class_names == (r"\xc8\xcb", "car")
    (tmp_path / "wide").write_bytes("ash\noak\n".encode("utf-16"))
    with pytest.warns(UserWarning, match="wide"), pytest.raises(SpecError, match="3 class names; expected 2"):
        load_model(str(cfg_path), names=tmp_path / "wide")


def test_a_published_detector_sees_the_dog(data_dir: Path) -> None:
    folder = data_dir / "detectors"
    bundle = load_model(str(folder / "yolov3-tiny.cfg"), weights=folder / "yolov3-tiny.weights")
    picture = Image.open(data_dir / "images" / "dog.jpg").convert("RGB").resize((416, 416), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        maps = bundle.model(x)
    found = {}
    for raw in maps:
        part = raw.view(3, 85, *raw.shape[2:])
        scores = part[:, 4:5].sigmoid() * part[:, 5:].sigmoid()
        for _, label, row, column in (scores > 0.25).nonzero().tolist():
            found[bundle.task.class_names[label]] = (row / part.shape[2], column / part.shape[3])
    # where the dog, the bicycle and the truck stand in the picture: rows and columns as fractions
    for name, row, column in (("dog", 0.65, 0.3), ("bicycle", 0.5, 0.45), ("truck", 0.2, 0.75)):
        assert abs(found[name][0] - row) < 0.15, found
        assert abs(found[name][1] - column) < 0.15, found


def test_a_published_detector_loads_fast(data_dir: Path) -> None:
    folder = data_dir / "detectors"
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        load_model(str(folder / "yolov3-tiny.cfg"), weights=folder / "yolov3-tiny.weights")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_torchvision(tmp_path: Path) -> None:
    bundle = load_model("torchvision:squeezenet1_1")
    assert (bundle.task.kind, bundle.task.input_size, bundle.task.resize) == (
        "classification",
        (224, 224),
        "center_crop",
    )
    assert bundle.task.mean == (0.485, 0.456, 0.406)
    assert bundle.task.class_names[0] == "tench"
    state = dict(bundle.model.state_dict())
    state["classifier.1.weight"], state["classifier.1.bias"] = torch.zeros(7, 512, 1, 1), torch.zeros(7)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "tuned.pth")
    tuned = load_model("torchvision:squeezenet1_1", weights=tmp_path / "tuned.pth")
    assert tuned.task.class_names == tuple(f"class{index}" for index in range(7))
    assert torch.equal(tuned.model.state_dict()["features.0.weight"], state["features.0.weight"])
    with torch.no_grad():
        assert tuple(tuned.model(tuned.example_inputs).shape) == (1, 7)
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other.pth: lacks features.0.weight, .* and has unknown fc.weight"):
        load_model("torchvision:squeezenet1_1", weights=tmp_path / "other.pth")


@pytest.mark.slow
def test_torchvision_models_of_other_tasks_run() -> None:
    detector = load_model("torchvision:ssdlite320_mobilenet_v3_large")
    assert (detector.task.kind, detector.task.input_size) == ("detection", (320, 320))
    assert isinstance(detector.example_inputs, tuple)
    with torch.no_grad():
        (found,) = detector.model(*detector.example_inputs)
    assert set(found) == {"boxes", "scores", "labels"}
    segmenter = load_model("torchvision:lraspp_mobilenet_v3_large")
    with torch.no_grad():
        assert tuple(segmenter.model(segmenter.example_inputs)["out"].shape) == (1, 21, 224, 224)


def test_other_torchvision_models_are_refused() -> None:
    with pytest.raises(SpecError, match=r"torchvision has no model 'resnet51'; expected .* \(alike: .*resnet50"):
        load_model("torchvision:resnet51")
    with pytest.raises(SpecError, match=r"torchvision:r3d_18 is a video model; expected one for classification, "):
        load_model("torchvision:r3d_18")


def test_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    bundle = load_model("timm:resnet10t")
    assert bundle.task.kind == "classification"
    assert tuple(bundle.example_inputs.shape)[2:] == bundle.task.input_size  # type: ignore[union-attr]
    state = dict(bundle.model.state_dict())
    state["fc.weight"], state["fc.bias"] = torch.zeros(4, state["fc.weight"].shape[1]), torch.zeros(4)
    torch.save(state, tmp_path / "tuned.pth")
    tuned = load_model("timm:resnet10t", weights=tmp_path / "tuned.pth")
    assert len(tuned.task.class_names) == 4
    with pytest.raises(
        SpecError, match=r"timm has no model 'resnet51'; expected a name it lists \(alike: resnet51q, resnet50, "
    ):
        load_model("timm:resnet51")
    with pytest.raises(SpecError, match=r"has no model 'hf-hub:x/y' of its own; .*: nothing is downloaded"):
        load_model("timm:hf-hub:x/y")
    with pytest.raises(WeightsError, match=r"tuned.pth: lacks stem\..*; expected the \d+ tensors of the"):
        load_model("timm:test_convnext", weights=tmp_path / "tuned.pth")
    with monkeypatch.context() as patch:
        import timm.data

        patch.delattr(timm.data, "resolve_model_data_config")
        with pytest.raises(MissingDependencyError, match=r"timm [\d.]+ is too old .*; expected 1.0.12 or later"):
            load_model("timm:resnet10t")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        MissingDependencyError, match=r"timm is not installed or not whole .*pip install sapwood\[zoo\]"
    ):
        load_model("timm:resnet10t")


def test_factories(factories: str, tmp_path: Path) -> None:
    assert load_model(f"{factories}:plain").example_inputs == ()
    assert load_model(f"{factories}:Net").source.kind == "factory"
    pair = load_model(f"{factories}:pair")
    assert isinstance(pair.example_inputs, torch.Tensor)
    assert tuple(pair.example_inputs.shape) == (1, 3)
    bundle = load_model(f"{factories}:bundle")
    assert bundle.task.input_size == (1, 3)
    assert bundle.source.spec == f"{factories}:bundle"
    state = nn.Linear(3, 2).state_dict()
    torch.save(state, tmp_path / "linear.pth")
    (tmp_path / "names").write_text("a\nb\n")
    loaded = load_model(f"{factories}:plain", weights=tmp_path / "linear.pth", names=tmp_path / "names")
    assert torch.equal(loaded.model.weight, state["weight"])  # type: ignore[arg-type]
    assert loaded.task.class_names == ("a", "b")
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("factories_for_sapwood:nothing", r"factories_for_sapwood has no 'nothing'; expected a function or a class"),
        ("factories_for_sapwood:constant", r"is a int itself; expected a function or a class to call without"),
        ("factories_for_sapwood:made", r"is a module \(Net\) itself; expected a function or a class to call without"),
        ("factories_for_sapwood:number", r"returned a int; expected a torch.nn.Module, a pair of it and its example"),
        ("factories_for_sapwood:broken", r"factories_for_sapwood:broken failed: ValueError: no luck"),
        ("no_such_module:f", r"no_such_module:f: no module 'no_such_module'; expected one that Python finds from "),
        ("broken_for_sapwood:f", r"broken_for_sapwood:f: no module 'a_module_that_does_not_exist'"),
    ],
)
def test_factories_that_cannot_be_used(factories: str, spec: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_model(spec)


FILE_OF_A_FACTORY = """
from dataclasses import dataclass
from beside_it import LAYERS
import torch

@dataclass
class Sizes:
    wide: int = LAYERS

def mine():
    import found_late
    return torch.nn.Sequential(torch.nn.Linear(4, Sizes().wide), torch.nn.Linear(Sizes().wide, 2)), torch.ones(1, 4)
"""


@pytest.mark.parametrize("folder", ["", "my nets"])
def test_a_factory_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    for name, text in {"net.py": FILE_OF_A_FACTORY, "beside_it.py": "LAYERS = 7", "found_late.py": ""}.items():
        (place / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for name in ("beside_it", "found_late"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec, before = str(Path(folder) / "net.py:mine"), list(sys.path)
    first, second = load_model(spec), load_model(spec)
    assert first.source.spec == spec
    assert first.model[0].weight.shape == (7, 4)
    assert type(first.model) is type(second.model)
    assert sys.path == before
    with pytest.raises(SpecError, match=r"net.py has no 'yours'; expected a function or a class"):
        load_model(str(Path(folder) / "net.py:yours"))


def test_a_file_that_is_not_there_has_no_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"absent.py:f: no file absent.py; expected one that Python finds from"):
        load_model("absent.py:f")
    with pytest.raises(SpecError, match=r"far/absent.py: no such file; expected one of Python that has the factory"):
        load_model("far/absent.py:f")


@pytest.mark.parametrize("spec", ["", "resnet50", "nothing/here", "model.weights", "a:b:c", "net.py:a:b"])
def test_other_specifications_are_refused(spec: str) -> None:
    with pytest.raises(
        SpecError,
        match=r"names no model; expected one of: .*net.cfg, package.module:factory, file.py:factory, a directory",
    ):
        load_model(spec)


@pytest.mark.parametrize("spec", ["mine.py", "mine"])
def test_a_file_of_python_without_its_function_is_asked_about(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("raise SystemError('nobody asked for this to be run')")
    with pytest.raises(SpecError, match=r"names no model; .*; did you mean mine.py:FUNCTION, of which mine.py has the"):
        load_model(spec)


def test_an_absent_cfg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"none.cfg: no such file; expected a Darknet .cfg file"):
        load_model(str(tmp_path / "none.cfg"))
