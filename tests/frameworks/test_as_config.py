"""Transformers models pruned so that their config says every width: ordinary folders, for transformers alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood import Deployment, Limits, Target
from sapwood.cli import main
from sapwood.errors import BudgetError, ConfigError, ExportError, SpecError
from sapwood.export import export_transformers
from sapwood.goals.bench import Bench
from sapwood.goals.layer_samples import layer_samples
from sapwood.models import config_fields, rebuilt
from sapwood.removal import Planner

transformers = pytest.importorskip("transformers", reason="needs pip install transformers")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

from support.config_models import CONFIGS, DECODER, IDS, PICTURES, Wrapped, dense, inputs, outputs  # noqa: E402
from support.fake_runtime import install, without_a_clock  # noqa: E402

HALVES = {
    "BertModel": {"intermediate_size": 24},
    "CLIPModel": {
        "text_config": {"hidden_size": 16, "intermediate_size": 24},
        "vision_config": {"hidden_size": 12, "intermediate_size": 20},
    },
    "WhisperForConditionalGeneration": {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 20},
    "T5ForConditionalGeneration": {"d_model": 16, "d_ff": 24, "d_kv": 4},
    **{name: {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
       for name in ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")},
}  # fmt: skip


def bert() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A factory for the command line."""
    return dense("BertForSequenceClassification"), {"input_ids": IDS}


def prune(name: str, target: Target | None = None, **limits: Any) -> Any:
    return sapwood.prune(
        dense(name), inputs(name), target=target or Target(sparsity=0.5), limits=Limits(as_config=True, **limits)
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_the_folder_is_loaded_by_transformers_alone_and_computes_the_same(name: str, tmp_path: Path) -> None:
    pruned = prune(name)
    assert pruned.verification.passed
    pruned.model.save_pretrained(tmp_path)
    again, told = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(told.values())
    for found, wanted in zip(outputs(again, inputs(name)), outputs(pruned.model, inputs(name)), strict=True):
        assert torch.equal(found, wanted)
    said = json.loads((tmp_path / "config.json").read_text())
    for field, value in HALVES.get(name, {"hidden_size": 16, "intermediate_size": 24}).items():
        assert {key: said[field][key] for key in value} == value if isinstance(value, dict) else said[field] == value


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_heads_go_and_the_config_counts_them(name: str) -> None:
    pruned = prune(name, whole_heads=True)
    assert pruned.verification.passed
    rebuilt(pruned.model)
    heads = ("num_attention_heads", "num_heads", "encoder_attention_heads")
    config = pruned.model.config.vision_config if name == "CLIPModel" else pruned.model.config
    wanted = {"BertModel": 4}.get(name, 2)  # its last state is an output, so what makes it stays as wide
    assert next(getattr(config, one) for one in heads if hasattr(config, one)) == wanted


@pytest.mark.parametrize("name", ["ViTForImageClassification", "LlamaForCausalLM", "T5ForConditionalGeneration"])
@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_budget_is_kept_with_widths_that_the_config_can_say(name: str, kept: float) -> None:
    pruned = prune(name, Target(macs=kept))
    before, after = (sapwood.count_macs(one, inputs(name)).total for one in (dense(name), pruned.model))
    assert after <= kept * before
    assert rebuilt(pruned.model) is not pruned.model


def test_the_dense_model_and_its_config_are_as_they_were() -> None:
    model, values = bert()
    before = {**model.config.to_dict()}
    pruned = sapwood.prune(model, values, target=Target(sparsity=0.5), limits=Limits(as_config=True))
    assert model.config.to_dict() == before
    assert pruned.model.config.hidden_size == 16
    assert pruned.model.bert.config is pruned.model.config  # as in the dense one


def test_positions_that_the_config_works_out_keep_the_width_of_a_head() -> None:
    pruned = prune("LlamaForCausalLM")
    assert pruned.model.config.head_dim == 8
    reasons = {entry.reason for entry in pruned.unpruned}
    assert "stays whole: model.rotary_emb.inv_freq is worked out from the config, as for any width" in reasons


def test_what_is_an_output_holds_all_that_the_same_number_says() -> None:
    reasons = {(entry.tensor, entry.dim): entry.reason for entry in prune("BertModel").unpruned}
    said = reasons["encoder.layer.0.attention.self.query.weight", 0]
    assert re.fullmatch(r"stays whole: the config says one hidden_size, also for \S+, which stays", said)


@pytest.mark.parametrize("sparsity", [0.2, 0.35, 0.6, 0.8])
def test_the_hidden_size_is_a_multiple_of_the_heads_where_the_config_asks_for_it(sparsity: float) -> None:
    config = prune("LlamaForCausalLM", Target(sparsity=sparsity)).model.config
    assert config.hidden_size % config.num_attention_heads == 0
    config.validate()


def test_heads_divide_a_hidden_size_that_stays() -> None:
    config = transformers.LlamaConfig(**{**DECODER, "num_attention_heads": 8, "num_key_value_heads": 8}, head_dim=8)
    torch.manual_seed(0)
    model = transformers.LlamaModel(config).eval()  # its last state is an output
    limits = Limits(as_config=True, whole_heads=True)
    pruned = sapwood.prune(model, {"input_ids": IDS}, target=Target(sparsity=0.4), limits=limits)
    assert (pruned.model.config.hidden_size, pruned.model.config.num_attention_heads) == (32, 4)


def test_every_layer_keeps_the_same_though_their_weights_differ() -> None:
    model, values = bert()
    with torch.no_grad():
        model.bert.encoder.layer[1].intermediate.dense.weight[8:] *= 1e-3  # worth next to nothing
    pruned = sapwood.prune(model, values, target=Target(params=0.6), limits=Limits(as_config=True)).model
    rows = {layer.intermediate.dense.weight.shape for layer in pruned.bert.encoder.layer}
    assert len(rows) == 1
    free = sapwood.prune(model, values, target=Target(params=0.6)).model
    assert len({layer.intermediate.dense.weight.shape for layer in free.bert.encoder.layer}) == 2


def test_a_model_inside_another_is_written_alone(tmp_path: Path) -> None:
    pruned = sapwood.prune(
        Wrapped().eval(), PICTURES, target=Target(sparsity=0.5), limits=Limits(as_config=True)
    )  # fmt: skip
    pruned.model.files = {"preprocessor_config.json": "{}", "notes.md": ""}  # as a loader keeps them
    written = export_transformers(pruned.model, PICTURES, tmp_path / "folder")
    assert written.max_relative_error == 0.0
    names = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert [file.name for file in written.files] == names
    assert transformers.AutoConfig.from_pretrained(tmp_path / "folder").hidden_size == 16


def test_what_the_config_cannot_say_is_refused(tmp_path: Path) -> None:
    model, values = bert()
    limits = Limits(bounds={"*layer.0.intermediate.dense": (0.5, 0.5), "*layer.1.intermediate.dense": (1.0, 1.0)})
    uneven = sapwood.prune(model, values, target=Target(sparsity=0.2), limits=limits)
    expected = r"builds another model: bert\.embeddings.* has shape .*; expected one that was pruned with --as-config"
    with pytest.raises(ExportError, match=expected):
        export_transformers(uneven.model, values, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    with pytest.raises(BudgetError, match="no allowed widths cost so little"):
        prune("BertModel", Target(macs=0.2))


def test_other_models_have_no_config(tmp_path: Path) -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.randn(1, 4)
    with pytest.raises(ConfigError, match="as_config: a Sequential has no config that could say its widths; expected"):
        sapwood.prune(net, x, target=Target(sparsity=0.5), limits=Limits(as_config=True))
    with pytest.raises(SpecError, match="a Sequential cannot be written as a folder of transformers; expected its"):
        export_transformers(net, x, tmp_path / "folder")


def test_a_model_that_its_config_does_not_build_is_named() -> None:
    model, values = bert()
    model.bert.pooler.dense = nn.Linear(32, 32, bias=False)
    expected = r"the config of this BertForSequenceClassification builds another model: bert\.pooler\.dense\.bias has"
    with pytest.raises(ConfigError, match=expected):
        sapwood.prune(model, values, target=Target(sparsity=0.5), limits=Limits(as_config=True))


def test_numbers_are_found_by_doubling_them() -> None:
    fields = config_fields(dense("Qwen3ForCausalLM"))
    rows = "model.layers.0.self_attn.{}_proj.weight"
    assert fields.dims[rows.format("q"), 0] == ("num_attention_heads", "head_dim")
    assert fields.dims[rows.format("v"), 0] == ("num_key_value_heads", "head_dim")
    assert fields.dims["model.layers.1.self_attn.q_norm.weight", 0] == ("head_dim",)
    assert "model.rotary_emb.inv_freq" in fields.computed


def test_from_the_command_to_a_folder_that_a_process_without_sapwood_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec, small, folder = "test_as_config:bert", tmp_path / "small", tmp_path / "folder"
    for arguments in (
        ["prune", spec, "--sparsity", "0.5", "--as-config", "-o", str(small)],
        ["export", str(small), "--model-factory", spec, "--format", "transformers", "-o", str(folder)],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    told = capsys.readouterr()
    assert "check: differs from the PyTorch model by 0.0e+00" in told.out
    assert "it/s" not in told.err  # transformers' own progress
    code = f"""
import sys, torch
sys.modules["sapwood"] = None
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained({str(folder)!r})
print(model.config.hidden_size, model(input_ids=torch.tensor({IDS.tolist()})).logits.flatten().tolist())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(" ", 1)
    wanted = outputs(sapwood.load_saved(str(small), factory=bert).model, {"input_ids": IDS})[0]
    assert said[0] == "16"
    torch.testing.assert_close(torch.tensor(json.loads(said[1])), wanted.flatten())


@pytest.mark.parametrize(("limits", "told"), [(Limits(), True), (Limits(as_config=True), False)])
def test_a_folder_that_loads_nowhere_is_told_of(limits: Limits, told: bool) -> None:
    model = transformers.BertModel(CONFIGS["BertModel"]()).eval()
    pruned = sapwood.prune(model, IDS, target=Target(sparsity=0.5), limits=limits)
    assert any("save_pretrained writes of it loads nowhere" in note for note in pruned.notes) is told


def test_what_widths_that_no_config_says_meet_holds_nothing_that_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To learn what layers cost, networks of any widths are timed; their heads meet shapes in the code."""
    without_a_clock(monkeypatch, tmp_path)
    install(monkeypatch)
    config = transformers.DeiTConfig(
        hidden_size=48, num_attention_heads=3, num_hidden_layers=2, intermediate_size=64, image_size=32, patch_size=8
    )
    torch.manual_seed(0)
    model, pictures = (
        transformers.DeiTForImageClassification(config).eval(),
        {"pixel_values": torch.randn(1, 3, 32, 32)},
    )
    planner = Planner(model, pictures, fields=config_fields(model))
    before = [(group.name, group.num_channels) for group in planner.analysis().groups]
    layer_samples(planner, model, Bench(pictures, Deployment("fake", 1)))
    assert [(group.name, group.num_channels) for group in planner.analysis().groups] == before
