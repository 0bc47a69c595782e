"""Low rank in networks of timm, transformers and Ultralytics: layers are two, or it is said why they are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood.cli import main
from sapwood.errors import ConfigError


@torch.no_grad()
def of_low_rank(model: nn.Module) -> nn.Module:
    """Singular values that fall, as those of trained networks do."""
    for parameter in model.parameters():
        if parameter.dim() > 1 and min(parameter.flatten(1).shape) > 32:
            left, values, right = torch.linalg.svd(parameter.flatten(1), full_matrices=False)
            values = values * torch.exp(-torch.arange(len(values)) / (0.1 * len(values)))
            parameter.copy_((left * values @ right).reshape(parameter.shape))
    return model.eval()


def factored(model: nn.Module, inputs: Any) -> list[str]:
    found = sapwood.prune(of_low_rank(model), inputs, target={"macs": 0.6}, low_rank=True)
    assert found.verification.passed
    assert sapwood.count_macs(found.model, inputs).total <= 0.601 * sapwood.count_macs(model, inputs).total
    return [one.module for one in found.plan.factored]


def test_timm() -> None:
    timm = pytest.importorskip("timm")
    names = factored(timm.create_model("deit_tiny_patch16_224"), torch.randn(1, 3, 224, 224))
    assert {"blocks.0.attn.qkv", "blocks.0.mlp.fc1"} <= set(names)


def test_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
    names = factored(transformers.LlamaForCausalLM(config), {"input_ids": torch.randint(0, 90, (2, 12))})
    assert "model.layers.0.mlp.up_proj" in names


def test_gpt2s_own_kind_of_layer_is_named() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=100, n_positions=16, n_embd=64, n_layer=1, n_head=4)
    model = of_low_rank(transformers.GPT2ForSequenceClassification(config))
    model.config.pad_token_id = 0
    found = sapwood.prune(model, {"input_ids": torch.randint(1, 90, (2, 12))}, target={"macs": 0.6}, low_rank=True)
    names = [f"transformer.h.0.{one}" for one in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
    assert f"{', '.join(names)} cannot be two: it is a Conv1D" in found.notes


def test_ultralytics_is_refused_by_name(tmp_path: Any) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    ultralytics.YOLO("yolov8n.yaml").save(tmp_path / "net.pt")
    bundle = sapwood.load_model(str(tmp_path / "net.pt"))
    why = "files of Ultralytics have no word for a layer that is two"
    with pytest.raises(ConfigError, match=rf"no layer can be two \(network\.model\.0\.conv and \d+ more: {why}\);"):
        sapwood.prune(bundle, target={"macs": 0.6}, low_rank=True)


def test_the_command_refuses_ultralytics_before_it_reads_a_picture(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    ultralytics.YOLO("yolov8n.yaml").save(tmp_path / "net.pt")
    nowhere = ["--data", str(tmp_path / "no-pictures")]
    with pytest.raises(SystemExit) as ended:
        main(["prune", str(tmp_path / "net.pt"), "--macs", "0.6", "--low-rank", *nowhere])
    assert ended.value.code == 2
    assert "files of Ultralytics have no word for a layer that is two" in " ".join(capsys.readouterr().err.split())
