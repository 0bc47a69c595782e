"""Transformers models with fewer layers, as many as their config says: proven, and loaded by transformers alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood import Limits, Target
from sapwood.cli import main
from sapwood.errors import BudgetError, ConfigError
from sapwood.graph import find_blocks, plain_kernels, trace
from sapwood.models import config_layers, rebuilt
from sapwood.models.plan_json import plan_from_dict, plan_to_dict
from sapwood.pipeline import Deployment
from sapwood.removal import Layers
from sapwood.removal.blocks import MaskedBranches

transformers = pytest.importorskip("transformers", reason="needs pip install transformers")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

from support.config_models import CONFIGS, PICTURES, SIZES, Wrapped, dense, inputs, outputs  # noqa: E402
from support.fake_runtime import install, without_a_clock  # noqa: E402

AS_CONFIG = Limits(as_config=True)
COUNTS = {
    "CLIPModel": ["text_config.num_hidden_layers", "vision_config.num_hidden_layers"],
    "WhisperForConditionalGeneration": ["encoder_layers", "decoder_layers"],
    "T5ForConditionalGeneration": ["num_layers", "num_decoder_layers"],
}


def said(config: Any, field: str) -> int:
    for part in field.split("."):
        config = getattr(config, part)
    return int(config)


def vit(layers: int = 4) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A factory for the command line: the third layer does next to nothing."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(**{**SIZES, "num_hidden_layers": layers}, image_size=16, patch_size=4)
    model = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(1e-3 if ".layers.2." in name else 5.0)
    return model, {"pixel_values": PICTURES}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_layer_less_is_what_the_config_builds(name: str, tmp_path: Path) -> None:
    model = dense(name)
    layers = Layers(model, inputs(name))
    fields = [one.field for one in config_layers(model).counts]
    assert sorted(fields) == sorted(COUNTS.get(name, ["num_hidden_layers"]))
    lists = list(dict.fromkeys(layer.list for layer in layers.found))
    gone = [next(layer.name for layer in layers.found if layer.list == one) for one in lists]
    pruned = sapwood.prune(model, inputs(name), depth=gone, target=Target(macs=0.35), limits=AS_CONFIG)
    assert pruned.verification.passed
    assert pruned.removed_blocks == tuple(gone)
    assert all(said(pruned.model.config, one) == 1 and said(model.config, one) == 2 for one in fields)
    rebuilt(pruned.model)
    pruned.model.save_pretrained(tmp_path / "folder")
    again, told = getattr(transformers, name).from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(told.values())
    for found, wanted in zip(outputs(again, inputs(name)), outputs(pruned.model, inputs(name)), strict=True):
        assert torch.equal(found, wanted)
    sapwood.save(pruned, tmp_path / "small")
    same = sapwood.load(tmp_path / "small", model=dense(name))
    assert all(map(torch.equal, outputs(same, inputs(name)), outputs(pruned.model, inputs(name))))


@pytest.mark.parametrize("name", ["ViTForImageClassification", "LlamaForCausalLM", "WhisperForConditionalGeneration"])
def test_a_layer_that_norms_first_is_gone_where_its_branches_are_zero(name: str) -> None:
    model = dense(name).double()
    values = {key: one.double() if one.is_floating_point() else one for key, one in inputs(name).items()}
    gone = [layer.name for layer in Layers(model, values).found if layer.number == 0]
    pruned = sapwood.prune(model, values, depth=gone, limits=AS_CONFIG)
    graph = trace(model, values)
    off = {one.add: one.operand for one in find_blocks(graph) if any(f"{one.name}.".startswith(f"{n}.") for n in gone)}
    with torch.no_grad(), plain_kernels(model), plain_kernels(pruned.model):
        found = pruned.model(**values).logits
        with MaskedBranches(graph.calls, off):
            wanted = model(**values).logits
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, model(**values).logits, rtol=1e-3)


def test_the_layer_that_does_least_goes_first() -> None:
    model, values = vit()
    assert sapwood.prune(model, values, depth=1, limits=AS_CONFIG).removed_blocks == ("vit.layers.2",)


@pytest.mark.parametrize(("goal", "value"), [("macs", 0.5), ("params", 0.5)])
def test_layers_and_widths_share_one_budget(goal: str, value: float) -> None:
    model, values = vit()
    pruned = sapwood.prune(model, values, target={goal: value}, depth="auto", limits=AS_CONFIG)
    assert "vit.layers.2" in pruned.removed_blocks
    sizes = [
        sapwood.count_macs(one, values).total if goal == "macs" else sum(p.numel() for p in one.parameters())
        for one in (model, pruned.model)
    ]
    assert 0.8 * value * sizes[0] < sizes[1] <= value * sizes[0]
    assert len(pruned.model.vit.layers) == pruned.model.config.num_hidden_layers == 4 - len(pruned.removed_blocks)
    rebuilt(pruned.model)
    assert pruned.verification.passed
    assert {row.name for row in pruned.sensitivity.blocks} == {f"vit.layers.{number}" for number in range(4)}


def test_layers_alone_and_what_they_cannot_reach() -> None:
    model, values = vit()
    pruned = sapwood.prune(model, values, target={"macs": 0.6}, depth="only", limits=AS_CONFIG)
    assert "vit.layers.2" in pruned.removed_blocks
    assert pruned.model.config.hidden_size == 32
    with pytest.raises(
        BudgetError, match=r"without the 3 blocks that can go \d+ MACs stay \(0\.28.*\); expected at least that"
    ):
        sapwood.prune(model, values, target={"macs": 0.1}, depth="only", limits=AS_CONFIG)
    with pytest.raises(ConfigError, match=r"all 4 layers of vit\.layers would go; expected one at least to stay"):
        sapwood.prune(model, values, depth=4, limits=AS_CONFIG)


@pytest.mark.parametrize("depth", [False, "auto"])
def test_a_latency_is_met_with_what_the_config_says(
    depth: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_a_clock(monkeypatch, tmp_path)
    install(monkeypatch)
    torch.manual_seed(0)
    sizes = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 384}
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, image_size=64, patch_size=8)).eval()
    values = {"pixel_values": torch.randn(4, 3, 64, 64)}
    target = Target(latency=0.6, tolerance=0.2)
    place = Deployment("fake", threads=1)
    pruned = sapwood.prune(model, values, target=target, depth=depth, limits=AS_CONFIG, deployment=place)
    rebuilt(pruned.model)
    assert pruned.latency is not None
    assert pruned.latency.target == pytest.approx(0.6)
    assert pruned.latency.ratio < 0.8
    assert pruned.verification.passed


def test_a_name_that_must_stay_whole_is_followed_to_its_new_place() -> None:
    model, values = vit()
    sizes = {name: len(one) for name, one in model.state_dict().items() if name.startswith("vit.layers.3.")}
    kept = next(name for name, size in sizes.items() if size == 48) + "[0]"
    pruned = sapwood.prune(model, values, depth=["vit.layers.2"], target={"macs": 0.5}, limits=AS_CONFIG, ignore=[kept])
    assert pruned.model.config.intermediate_size == 48
    assert pruned.model.config.hidden_size < 32
    with pytest.raises(ConfigError, match=r"depth 'vit\.layers\.3': vit\.layers\.3 cannot go: ignored, as asked: vit"):
        sapwood.prune(model, values, depth=["vit.layers.3"], limits=AS_CONFIG, ignore=[kept])


def test_what_is_left_takes_over_the_work_of_a_layer_that_went() -> None:
    model, values = vit()
    pruned = sapwood.prune(model, values, depth=["vit.layers.1"], limits=AS_CONFIG)
    pictures = [{"pixel_values": one} for one in torch.randn(64, 3, 16, 16).split(16)]
    solved = sapwood.reconstruct(model, pruned.model, pruned.plan, pictures)
    assert any(".layers.1." in row.layer for row in solved.layers)  # which was the third
    others = {"pixel_values": torch.randn(32, 3, 16, 16)}
    wanted = outputs(model, others)[0]
    before, after = ((outputs(one, others)[0] - wanted).square().sum() for one in (pruned.model, solved.model))
    assert after < before


def test_an_optimizer_goes_on_with_the_layers_that_are_left() -> None:
    model, values = vit()
    optimizer = torch.optim.AdamW(model.parameters())
    model(**values).logits.square().mean().backward()
    optimizer.step()
    layer = model.vit.layers[3]
    wanted = optimizer.state[next(layer.parameters())]["exp_avg"].clone()
    pruned = sapwood.prune(model, values, depth=["vit.layers.2"], limits=AS_CONFIG)
    sapwood.carry_optimizer_(optimizer, model, pruned)
    assert set(optimizer.param_groups[0]["params"]) == set(pruned.model.parameters())
    assert torch.equal(optimizer.state[next(pruned.model.vit.layers[2].parameters())]["exp_avg"], wanted)


def test_a_plan_with_fewer_layers_is_written_and_read() -> None:
    model, values = vit()
    plan = sapwood.prune(model, values, depth=1, limits=AS_CONFIG).plan
    assert plan.shortened[0].kept == (0, 1, 3)
    assert plan_from_dict(json.loads(json.dumps(plan_to_dict(plan)))) == plan


def test_a_model_inside_another_loses_layers() -> None:
    pruned = sapwood.prune(Wrapped().eval(), PICTURES, depth=1, limits=AS_CONFIG)
    assert pruned.removed_blocks[0].startswith("net.vit.layers.")
    assert pruned.model.net.config.num_hidden_layers == 1


def test_other_models_have_no_config_that_counts_layers() -> None:
    with pytest.raises(ConfigError, match="as_config: a Sequential has no config that could say its widths; expected"):
        sapwood.prune(nn.Sequential(nn.Linear(4, 4)), torch.randn(1, 4), depth=1, limits=AS_CONFIG)


def test_t5_keeps_the_layers_whose_bias_all_others_take() -> None:
    layers = Layers(dense("T5ForConditionalGeneration"), inputs("T5ForConditionalGeneration"))
    assert [layer.name for layer in layers.found] == ["encoder.block.1", "decoder.block.1"]
    assert "relative_attention_bias" in layers.refused["encoder.block.0"]


def test_from_the_command_to_a_folder_that_a_process_without_sapwood_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec, small, folder = "test_layers:vit", tmp_path / "small", tmp_path / "folder"
    for arguments in (
        ["prune", spec, "--macs", "0.5", "--remove-blocks", "auto", "--as-config", "-o", str(small)],
        ["export", str(small), "--model-factory", spec, "--format", "transformers", "-o", str(folder)],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "vit.layers.2" in capsys.readouterr().out
    model = sapwood.load_saved(str(small), factory=vit).model
    code = f"""
import sys, torch
sys.modules["sapwood"] = None
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained({str(folder)!r})
print(model.config.num_hidden_layers, model(pixel_values=torch.tensor({PICTURES.tolist()})).logits.flatten().tolist())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert int(told[0]) == model.config.num_hidden_layers < 4
    wanted = outputs(model, {"pixel_values": PICTURES})[0]
    torch.testing.assert_close(torch.tensor(json.loads(told[1])), wanted.flatten())
