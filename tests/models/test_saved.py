"""Saved models come back as they were, and damaged ones are named."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

from sapwood.errors import SavedModelError, SpecError
from sapwood.models import copy_model, live_masks, load_model, load_saved, save_model
from sapwood.models.darknet import DarknetNetwork, Header, write_weights
from sapwood.types import ModelBundle, ModelSource, TaskSpec


@pytest.fixture
def detector(detector_text: str, tmp_path: Path) -> ModelBundle:
    path = tmp_path / "net.cfg"
    path.write_bytes(detector_text.replace("\n", "\r\n").encode())
    (tmp_path / "net.names").write_text("cat\ndog\n")
    bundle = load_model(str(path))
    assert isinstance(bundle.model, DarknetNetwork)
    bundle.model.header = Header(0, 2, 5, 12345678901)
    return bundle


def bundle_of(model: nn.Module) -> ModelBundle:
    return ModelBundle(model, torch.zeros(1, 3), TaskSpec("none"), ModelSource("made here", "session"))


def test_types_that_safetensors_does_not_know_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def early(tensors: Any, metadata: Any) -> bytes:
        raise KeyError(torch.complex64)

    monkeypatch.setattr("sapwood.models.saved_format.safetensors.torch.save", early)
    model = nn.Linear(2, 2, dtype=torch.complex64)
    bundle = ModelBundle(model, (), TaskSpec("none"), ModelSource("a:b", "factory"))
    with pytest.raises(SavedModelError, match=r"^weight: this release of safetensors cannot hold torch.complex64; exp"):
        save_model(bundle, tmp_path / "m")


def test_a_darknet_network_comes_back_without_its_files(detector: ModelBundle, tmp_path: Path) -> None:
    directory = save_model(detector, tmp_path / "saved", record={"sparsity": 0.5})
    (tmp_path / "net.cfg").unlink()
    again = load_model(str(directory))
    assert sorted(path.name for path in directory.iterdir()) == ["model.cfg", "model.safetensors", "plan.json"]
    assert again.task == detector.task
    assert again.source == detector.source
    assert not again.model.training
    assert isinstance(again.model, DarknetNetwork)
    assert isinstance(detector.model, DarknetNetwork)
    first = write_weights(tmp_path / "a.weights", detector.model).read_bytes()
    assert write_weights(tmp_path / "b.weights", again.model).read_bytes() == first
    assert json.loads((directory / "plan.json").read_text())["record"] == {"sparsity": 0.5}
    with torch.no_grad():
        assert torch.equal(again.model(detector.example_inputs)[0], detector.model(detector.example_inputs)[0])


def test_live_masks_come_back_live(detector: ModelBundle, tmp_path: Path) -> None:
    assert isinstance(detector.model, DarknetNetwork)
    first = detector.model.layers[0]
    prune.l1_unstructured(first.conv, "weight", 0.3)
    prune.random_structured(first.conv, "weight", amount=2, dim=0)
    prune.random_unstructured(first.bn, "bias", amount=3)
    directory = save_model(detector, tmp_path / "saved")
    again = load_saved(directory)
    assert isinstance(again.model, DarknetNetwork)
    assert live_masks(again.model) == live_masks(detector.model) == ("layers.0.conv.weight", "layers.0.bn.bias")
    for name, tensor in detector.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name
    x = torch.rand(2, 3, 32, 32)
    expected = detector.model(x)[0].detach()
    assert torch.equal(again.model(x)[0], expected)
    for twin in (copy_model(again.model), copy.deepcopy(again.model)):
        prune.remove(twin.layers[0].conv, "weight")
        assert torch.equal(twin(x)[0], expected)
    again.model(x)[0].sum().backward()
    conv = again.model.layers[0].conv
    assert conv.weight_orig.grad is not None
    assert not bool(conv.weight_orig.grad[conv.weight_mask == 0].any())


def test_saving_again_what_was_loaded_gives_the_same(detector: ModelBundle, tmp_path: Path) -> None:
    first = save_model(detector, tmp_path / "first")
    second = save_model(load_saved(first), tmp_path / "second")
    assert {path.name for path in first.iterdir()} >= {"model.safetensors", "plan.json", "model.cfg"}
    for path in first.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes(), path.name


class Tied(nn.Module):
    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 3, bias=False)
        self.out = nn.Linear(3, 3, bias=False)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(self.embed(x))
        return result


@pytest.mark.parametrize("tied", [True, False])
def test_shared_tensors_are_stored_once_and_shared_again(tied: bool, tmp_path: Path) -> None:
    directory = save_model(bundle_of(Tied()), tmp_path / "saved")
    assert list(safetensors.torch.load_file(directory / "model.safetensors")) == ["embed.weight"]
    again = load_saved(directory, factory=lambda: Tied(tied=tied)).model
    assert again.out.weight is again.embed.weight


def test_views_and_odd_layouts_are_stored(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    model.weight = nn.Parameter(torch.arange(64.0).view(8, 8)[:4, 1:5].t())
    model.register_buffer("none", torch.zeros(0))
    model.register_buffer("halves", torch.ones(3, dtype=torch.bfloat16))
    directory = save_model(bundle_of(model), tmp_path / "saved")
    again = load_saved(directory, factory=lambda: copy.deepcopy(model)).model
    assert torch.equal(again.weight, model.weight)  # type: ignore[arg-type]
    assert again.halves.dtype == torch.bfloat16  # type: ignore[union-attr]


def test_a_factory_spec_loads_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_for_saving.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    bundle = load_model("made_for_saving:net")
    prune.l1_unstructured(bundle.model, "weight", amount=2)  # a mask at the root of the model
    again = load_saved(save_model(bundle, tmp_path / "saved"))
    assert live_masks(again.model) == ("weight",)
    assert torch.equal(again.model.weight, bundle.model.weight)  # type: ignore[arg-type]


def test_torchvision_with_other_classes_comes_back(tmp_path: Path) -> None:
    bundle = load_model("torchvision:squeezenet1_1")
    bundle.model.classifier[1] = nn.Conv2d(512, 4, 1)  # type: ignore[index,operator]
    bundle = replace(bundle, task=replace(bundle.task, class_names=("a", "b", "c", "d")))
    prune.l1_unstructured(bundle.model.classifier[1], "weight", 0.5)  # type: ignore[index]
    again = load_saved(save_model(bundle, tmp_path / "saved"))
    assert again.task.class_names == ("a", "b", "c", "d")
    with torch.no_grad():
        assert torch.equal(again.model(bundle.example_inputs), bundle.model.eval()(bundle.example_inputs))


def test_models_from_a_session_need_their_factory(tmp_path: Path) -> None:
    directory = save_model(bundle_of(nn.Linear(3, 2)), tmp_path / "saved")
    with pytest.raises(
        SavedModelError, match=r"a model of kind 'session'; expected load_saved\(directory, factory=...\)"
    ):
        load_saved(directory)
    with pytest.raises(SavedModelError, match=r"weight has shape \(2, 3\); expected \(5, 3\); is it another model"):
        load_saved(directory, factory=lambda: nn.Linear(3, 5))
    with pytest.raises(SpecError, match=r"factory returned a int"):
        load_saved(directory, factory=lambda: 3)


class WithExtraState(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"step": 3}


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(SavedModelError, match=r"the state of _extra_state is a dict; expected tensors only"):
        save_model(bundle_of(WithExtraState(3, 2)), tmp_path / "saved")
    for record in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises(SavedModelError, match=r"the record cannot be written: .*; expected what JSON holds"):
            save_model(bundle_of(nn.Linear(3, 2)), tmp_path / "saved", record=record)
    assert not (tmp_path / "saved").exists()
    outside = replace(bundle_of(nn.Linear(3, 2)), source=ModelSource("x", "y", None, {"../x": ""}))
    with pytest.raises(SavedModelError, match=r"'../x' is no name for a file beside plan.json"):
        save_model(outside, tmp_path / "saved")


def test_a_failed_save_leaves_the_previous_one(detector: ModelBundle, tmp_path: Path) -> None:
    directory = save_model(detector, tmp_path / "saved")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(SavedModelError):
        save_model(detector, directory, record={"x": float("inf")})
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def edit_plan(directory: Path, **changes: Any) -> None:
    path = directory / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES = {
    "no plan": (lambda d: (d / "plan.json").unlink(), r"plan.json: no such file; expected a saved model"),
    "cut plan": (lambda d: (d / "plan.json").write_text('{"schema'), r"plan.json:1: is not JSON \(Unterminated string"),
    "binary plan": (lambda d: (d / "plan.json").write_bytes(b"\xff\xfe"), r"plan.json: is not UTF-8 text \(byte 0\)"),
    "a list": (
        lambda d: (d / "plan.json").write_text("[]"),
        r"plan.json: has no schema_version; expected what sapwood.save",
    ),
    "newer": (lambda d: edit_plan(d, schema_version=4), r"plan.json: schema version 4; expected 1 to 3"),
    "bad task": (
        lambda d: edit_plan(d, task={"kind": "poetry"}),
        r"plan.json: task.kind: unknown task 'poetry'; expected none or one of: causal_lm, classification, detection, "
        r"masked_lm, text_classification\. A package",
    ),
    "task that is no text": (
        lambda d: edit_plan(d, task={"kind": 5}),
        r"plan.json: task.kind: Input should be a valid string",
    ),
    "task of many letters": (
        lambda d: edit_plan(d, task={"kind": "x" * 9000}),
        r"plan.json: task.kind: unknown task 'x+\.\.\.",
    ),
    "unknown key": (lambda d: edit_plan(d, extra=1), r"plan.json: extra: Extra inputs are not permitted"),
    "unknown mask": (
        lambda d: edit_plan(d, masks=["layers.0.conv.weight"]),
        r"model.safetensors: lacks layers.0.conv.weight_mask, which plan.json names as a live mask",
    ),
    "unknown alias": (
        lambda d: edit_plan(d, aliases={"a": "b"}),
        r"model.safetensors: lacks b, which plan.json names as the tensor of a",
    ),
    "outside": (
        lambda d: edit_plan(d, source={"spec": "x", "kind": "darknet", "weights": None, "files": ["../net.cfg"]}),
        r"'../net.cfg' is no name for a file beside plan.json",
    ),
    "no cfg": (lambda d: (d / "model.cfg").unlink(), r"model.cfg: no such file; expected a saved model"),
    "other cfg": (
        lambda d: (d / "model.cfg").write_text((d / "model.cfg").read_text().replace("filters=4", "filters=8")),
        r"model.safetensors: layers.2.conv.weight has shape \(4, 4, 3, 3\); expected \(8, 4, 3, 3\); is it another",
    ),
    "bad cfg": (
        lambda d: (d / "model.cfg").write_text("[net]\n[rnn]\n"),
        r"its source .*net.cfg cannot be built: <text>:2: \[rnn\]: this kind of layer is not supported",
    ),
    "no weights": (
        lambda d: (d / "model.safetensors").unlink(),
        r"model.safetensors: no such file; expected the weights",
    ),
    "cut weights": (
        lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:-4]),
        r"model.safetensors: is damaged, or something else \(SafetensorError: .*\); expected the weights",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_directories_are_named(name: str, detector: ModelBundle, tmp_path: Path) -> None:
    directory = save_model(detector, tmp_path / "saved")
    damage, message = DAMAGES[name]
    damage(directory)
    with pytest.raises(SavedModelError, match=message):
        load_model(str(directory))


def test_a_saved_model_brings_its_weights(detector: ModelBundle, tmp_path: Path) -> None:
    directory = save_model(detector, tmp_path / "saved")
    with pytest.raises(SpecError, match=r"is a saved model, which has its weights; expected no other weights"):
        load_model(str(directory), weights="x.weights")
    (tmp_path / "two").write_text("ash\noak\n")
    assert load_model(str(directory), names=tmp_path / "two").task.class_names == ("ash", "oak")
    with pytest.raises(SavedModelError, match=r"nothing/plan.json: no such file"):
        load_saved(tmp_path / "nothing")
