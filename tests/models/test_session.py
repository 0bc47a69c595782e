"""What pruning returned goes to a directory and comes back with the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import SavedModelError, SpecError
from sapwood.models import Plan, Shift, apply_plan, load_model, load_saved, save_model
from sapwood.models.darknet import DarknetNetwork, Header, parse_cfg

HALF = sapwood.Target(sparsity=0.5)


class Net(nn.Module):
    """Convolutions with a residual, attention with its temperature, a tied matrix, a tuple attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.inner = nn.Conv2d(16, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 96)
        self.out = nn.Linear(32, 16)
        self.head = nn.Linear(16, 5)
        self.register_buffer("scale", torch.linspace(0.5, 2, 16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x + self.bn(self.inner(x)).relu()
        x = self.norm(x.flatten(2).transpose(1, 2) * self.scale)
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        result: Tensor = self.head(self.out(mixed).mean(1))
        return result


def net() -> nn.Module:
    torch.manual_seed(3)
    model = Net()
    model.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model.eval()


def other_weights() -> nn.Module:
    model = net()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.conv.weight.requires_grad_(False)
    return model


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def pruned() -> Any:
    return sapwood.prune(net(), X, target=HALF)


def test_it_comes_back_with_the_same_bits(pruned: Any, tmp_path: Path) -> None:
    directory = sapwood.save(pruned, tmp_path / "small")
    assert sorted(path.name for path in directory.iterdir()) == ["model.safetensors", "plan.json"]
    dense = net()
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    for again in (sapwood.load(directory, model=other_weights), sapwood.load(directory, model=dense)):
        assert not again.training
        with torch.no_grad():
            assert torch.equal(again(X), pruned.model(X))
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
    frozen = sapwood.load(directory, model=other_weights).conv.weight
    assert not frozen.requires_grad


def test_the_file_can_be_read(pruned: Any, tmp_path: Path) -> None:
    text = (sapwood.save(pruned, tmp_path / "small") / "plan.json").read_text()
    content = json.loads(text)
    assert content["schema_version"] == 3
    assert content["verification"] == {
        "max_abs_error": pruned.verification.max_abs_error,
        "dtype": "float64",
        "passed": True,
        "pooled_norms": ["norm"],
        "distance_from_dense": pruned.verification.distance_from_dense,
    }
    assert content["unpruned"] == [
        {"tensor": entry.tensor, "dim": entry.dim, "reason": entry.reason} for entry in pruned.unpruned
    ]
    (plan,) = content["plans"]
    cut = plan["cuts"][0]
    assert f'"kept": [{", ".join(map(str, cut["kept"]))}]' in text
    assert {"module": "norm", "attribute": "normalized_shape", "before": {"tuple": [16]}, "after": {"tuple": [8]}} in (
        plan["attributes"]
    )


def test_the_plan_makes_the_model_again(pruned: Any, tmp_path: Path) -> None:
    assert pruned.plan.rescales, "the model has an attention temperature to keep"
    (plan,) = sapwood.load_plans(sapwood.save(pruned, tmp_path / "small"))
    assert replace(plan, aliases={}) == replace(pruned.plan, aliases={})
    again = apply_plan(net(), plan)
    for name, value in pruned.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    with torch.no_grad():
        assert torch.equal(again(X), pruned.model(X))


def test_what_is_pruned_again_is_chained(pruned: Any, tmp_path: Path) -> None:
    first = sapwood.save(pruned, tmp_path / "first")
    bundle = load_saved(first, factory=net)
    twice = sapwood.prune(bundle.model, X, target=HALF)
    second = sapwood.save(twice, tmp_path / "second", source=bundle)
    assert len(sapwood.load_plans(second)) == 2
    again = sapwood.load(second, model=net)
    with torch.no_grad():
        assert torch.equal(again(X), twice.model(X))
    third = save_model(load_saved(second, factory=net), tmp_path / "third")
    assert sapwood.load_plans(third) == sapwood.load_plans(second)


def test_types_come_back(pruned: Any, tmp_path: Path) -> None:
    pruned.model.to(torch.bfloat16)
    pruned.model.head.to(torch.float64)
    again = sapwood.load(sapwood.save(pruned, tmp_path / "small"), model=net)
    assert again.qkv.weight.dtype == torch.bfloat16
    assert again.head.weight.dtype == torch.float64


def test_example_inputs_are_of_the_type_of_the_model(tmp_path: Path) -> None:
    bundle = load_model("builtin:digits")
    doubled = replace(bundle, model=bundle.model.double())
    again = load_model(str(save_model(doubled, tmp_path / "double")))
    with torch.no_grad():
        found, wanted = again.model(again.example_inputs), bundle.model(bundle.example_inputs.double())  # type: ignore[union-attr]
    assert torch.equal(found[0], wanted[0])


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4, bias=False)
        self.last = nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.first(x))
        return result


def test_a_bias_that_the_plan_made_is_there(tmp_path: Path) -> None:
    dense = Plain().eval()
    plan = Plan(shifts=(Shift("last.bias", (0.1, 1 / 3)),))
    bundle = sapwood.types.ModelBundle(
        apply_plan(dense, plan), (), sapwood.types.TaskSpec("none"), sapwood.types.ModelSource("x", "session")
    )
    again = sapwood.load(save_model(bundle, tmp_path / "saved", plan=plan), model=Plain)
    assert torch.equal(again.last.bias, torch.tensor([0.1, 1 / 3]))
    assert dense.last.bias is None


def test_masks_in_front_of_a_plan_come_back(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    nn.utils.prune.l1_unstructured(model[0], "weight", 0.5)
    pruned = sapwood.prune(model, torch.randn(1, 4), target=HALF)

    def factory() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    x = torch.randn(3, 4)
    assert (pruned.model[0].out_features, pruned.model[2].in_features) == (4, 4)  # type: ignore[index]
    live = sapwood.load(sapwood.save(pruned, tmp_path / "live"), model=factory)
    assert sapwood.models.live_masks(live) == ("0.weight",)
    assert torch.equal(live(x), pruned.model(x))
    bundle = load_saved(tmp_path / "live", factory=factory)
    nn.utils.prune.remove(bundle.model[0], "weight")  # type: ignore[index]
    again = sapwood.prune(bundle.model, torch.randn(1, 4), target=HALF)
    chained = sapwood.load(sapwood.save(again, tmp_path / "again", source=bundle), model=factory)
    assert torch.equal(chained(x), again.model(x))
    nn.utils.prune.remove(pruned.model[0], "weight")
    removed = sapwood.load(sapwood.save(pruned, tmp_path / "removed"), model=factory)
    assert sapwood.models.live_masks(removed) == ()
    assert torch.equal(removed(x), pruned.model(x))


FRESH = """
import sys, torch, sapwood, sapwood.models
spec = sys.argv[3]
factory = sapwood.models.find_factory(spec) if spec == "made_to_prune:net" else None
bundle = sapwood.load_model(sys.argv[1], factory=factory)
with torch.no_grad():
    result = bundle.model(bundle.example_inputs)
torch.save([result] if isinstance(result, torch.Tensor) else list(result), sys.argv[2])
"""


def fresh_outputs(directory: Path, out: Path, spec: str) -> list[Tensor]:
    """What the saved model gives in another process, which is told the factory, if one made it."""
    subprocess.run([sys.executable, "-c", FRESH, str(directory), str(out), spec], check=True, cwd=directory.parent)
    loaded: list[Tensor] = torch.load(out, weights_only=True)
    return loaded


FACTORY = "import torch\nfrom torch import nn\ndef net():\n" + (
    "    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))\n"
    "    return model, torch.ones(1, 3, 8, 8)\n"
)


@pytest.mark.parametrize(
    "spec", ["torchvision:resnet18", "made_to_prune:net", "builtin:digits", "timm:mobilenetv3_small_050"]
)
def test_a_model_of_a_spec_loads_by_itself(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if spec.startswith("timm:"):
        pytest.importorskip("timm")
    (tmp_path / "made_to_prune.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    bundle = load_model(spec)
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=HALF)
    directory = sapwood.save(pruned, tmp_path / "small", source=bundle)
    with torch.no_grad():
        wanted = pruned.model(bundle.example_inputs)
    found = fresh_outputs(directory, tmp_path / "out.pt", spec)
    for one, other in zip(found, [wanted] if isinstance(wanted, Tensor) else wanted, strict=True):
        assert torch.equal(one, other)
    assert load_model(str(directory)).task == bundle.task


def test_a_darknet_network_needs_no_source(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text)).eval()
    x = torch.rand(1, 3, 32, 32)
    pruned = sapwood.prune(network, x, target=HALF)
    directory = sapwood.save(pruned, tmp_path / "small")
    assert parse_cfg(directory / "model.cfg").layers[0].integer("filters") == 4
    again = load_model(str(directory))
    assert again.task.kind == "detection"
    by_plan = sapwood.load(directory, model=lambda: DarknetNetwork(parse_cfg(detector_text)))
    assert isinstance(by_plan, DarknetNetwork)
    assert by_plan.cfg == again.model.cfg
    with torch.no_grad():
        assert torch.equal(again.model(x)[0], pruned.model(x)[0])
        assert torch.equal(by_plan(x)[0], pruned.model(x)[0])


def edit_plan(directory: Path, **changes: Any) -> None:
    path = directory / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_does_not_fit_is_named(pruned: Any, tmp_path: Path) -> None:
    directory = sapwood.save(pruned, tmp_path / "small")
    with pytest.raises(SavedModelError, match=r"a model of kind 'session'; expected .*sapwood.load\(directory, model="):
        sapwood.load(directory)
    with pytest.raises(
        SavedModelError, match=r"plan.json: does not fit what a Net of a session builds: the plan names"
    ):
        sapwood.load(directory, model=Plain)
    with pytest.raises(
        SavedModelError, match=r"does not fit .*: the plan scales row 63 of qkv.weight, which has 48; is it"
    ):
        sapwood.load(directory, model=pruned.model)
    with pytest.raises(SpecError, match=r"model is a str; expected the dense model, or a function that makes it"):
        sapwood.load(directory, model="net")  # type: ignore[arg-type]
    (plan,) = json.loads((directory / "plan.json").read_text())["plans"]
    edit_plan(directory, plans=[{**plan, "cuts": plan["cuts"][1:]}])
    with pytest.raises(
        SavedModelError, match=r"model.safetensors: \S+ has shape \(.*\); expected \(.*\); is it another"
    ):
        sapwood.load(directory, model=net)
    edit_plan(directory, plans=[{**plan, "cuts": [{**plan["cuts"][0], "kept": [3, 3]}]}])
    with pytest.raises(SavedModelError, match=r"plan.json: plans.0.cuts.0.kept: Value error, expected indices from 0"):
        sapwood.load_plans(directory)


def test_the_first_version_still_loads(tmp_path: Path) -> None:
    directory = save_model(load_model("builtin:digits"), tmp_path / "saved")
    path = directory / "plan.json"
    content = json.loads(path.read_text())
    for key in ("plans", "verification", "unpruned", "framework"):
        del content[key]
    path.write_text(json.dumps({**content, "schema_version": 1, "darknet_header": None}))
    assert load_model(str(directory)).source.plans == ()


def test_the_header_of_the_second_version_still_loads(detector_text: str, tmp_path: Path) -> None:
    network = DarknetNetwork(parse_cfg(detector_text)).eval()
    network.header = Header(0, 2, 5, 77)
    directory = sapwood.save(sapwood.prune(network, torch.rand(1, 3, 32, 32), target=HALF), tmp_path / "small")
    path = directory / "plan.json"
    content = json.loads(path.read_text())
    assert content.pop("framework") == {"header": [0, 2, 5, 77]}
    path.write_text(json.dumps({**content, "schema_version": 2, "darknet_header": [0, 2, 5, 78]}))
    again = load_model(str(directory)).model
    assert isinstance(again, DarknetNetwork)
    assert again.header == Header(0, 2, 5, 78)
    path.write_text(json.dumps({**content, "framework": {"header": [0, 2, 5, -1]}}))
    with pytest.raises(SavedModelError, match=r"framework.header is \[0, 2, 5, -1\]; expected three numbers of a vers"):
        load_model(str(directory))


class Versioned(nn.Linear):
    """Refuses a state of another version than its own, as torchvision's MNASNet does."""

    _version: Any = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version") != self._version:
            raise ValueError(f"version {local_metadata.get('version')}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


@pytest.mark.parametrize("version", [2, "0.0.5"])  # transformers' Phi-3 calls its own by a text
def test_modules_are_told_the_version_of_their_state(
    version: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Versioned, "_version", version)
    model = nn.Sequential(Versioned(4, 8), nn.ReLU(), Versioned(8, 2)).eval()
    x = torch.randn(3, 4)
    pruned = sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5))
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=lambda: nn.Sequential(Versioned(4, 8), nn.ReLU(), Versioned(8, 2)))
    assert torch.equal(again(x), pruned.model(x))


class OnAGraph(nn.Module):
    """Sums over the neighbours of each of seven nodes."""

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 16), nn.Linear(16, 3)
        near = torch.eye(7) + torch.eye(7).roll(1, 0)
        self.register_buffer("near", near.to_sparse(), persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.b(torch.sparse.mm(self.near, self.a(x).relu()))
        return result


def test_a_sparse_matrix_is_made_anew_or_refused(tmp_path: Path) -> None:
    x = torch.randn(7, 5)
    pruned = sapwood.prune(OnAGraph(persistent=False).eval(), x, target=HALF)
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=lambda: OnAGraph(persistent=False))
    assert torch.equal(again(x), pruned.model(x))
    with pytest.raises(SavedModelError, match="near is a sparse tensor; expected dense ones, or a buffer that is made"):
        sapwood.save(sapwood.prune(OnAGraph(persistent=True).eval(), x, target=HALF), tmp_path / "other")


class Remembering(nn.Module):
    """Makes a number on its first call, or while it trains, that no constructor makes again."""

    def __init__(self, *, crashes: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.gain: Tensor | None = None if crashes else torch.ones(())

    def forward(self, x: Tensor) -> Tensor:
        if self.gain is None:
            raise ValueError("calibrate first")
        return self.second((self.first(x) * self.gain).relu())


REMEMBERING = {
    "does not compute what the saved one does": False,
    "does not run: ValueError: calibrate first": True,
}


@pytest.mark.parametrize("message", REMEMBERING)
def test_a_model_that_would_not_come_back_is_not_saved(message: str, tmp_path: Path) -> None:
    crashes = REMEMBERING[message]
    model, x = Remembering(crashes=crashes).eval(), torch.randn(2, 4)
    model.gain = torch.tensor(3.0)
    pruned = sapwood.prune(model, x, target=HALF)
    (tmp_path / "small").mkdir()
    why = "of what its modules remember these differ: gain; nothing is written"
    with pytest.raises(SavedModelError, match=f"^the model that is loaded again {message}; {why}$"):
        sapwood.save(pruned, tmp_path / "small", model=lambda: Remembering(crashes=crashes), example_inputs=x)
    assert not list((tmp_path / "small").iterdir())
    state = torch.random.get_rng_state()
    sapwood.save(pruned, tmp_path / "small", model=model, example_inputs=x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(sapwood.load(tmp_path / "small", model)(x), pruned.model(x))


def test_a_source_that_can_be_built_is_built_and_run(detector_text: str, tmp_path: Path) -> None:
    """What `sapwood prune` saves is checked without being asked."""
    network, x = DarknetNetwork(parse_cfg(detector_text)).eval(), torch.rand(1, 3, 32, 32)
    pruned = sapwood.prune(network, x, target=HALF)
    sapwood.save(pruned, tmp_path / "right", example_inputs=x)
    pruned.model.register_forward_hook(lambda module, inputs, maps: tuple(one + 1.0 for one in maps))
    with pytest.raises(SavedModelError, match=r"does not compute what the saved one does.*; nothing is written"):
        sapwood.save(pruned, tmp_path / "wrong", example_inputs=x)
    assert not (tmp_path / "wrong").exists()


def test_what_cannot_be_compared_is_saved(tmp_path: Path) -> None:
    """No factory, no inputs, or results that differ from run to run by themselves."""

    class Counting(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counting.calls += 1
            return super().forward(x) * Counting.calls

    model, x = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)).eval(), torch.randn(2, 4)
    pruned = sapwood.prune(model, x, target=HALF)
    sapwood.save(pruned, tmp_path / "a")
    sapwood.save(pruned, tmp_path / "b", model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)))
    pruned.model[1].__class__ = Counting
    sapwood.save(pruned, tmp_path / "c", model=model, example_inputs=x)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}
