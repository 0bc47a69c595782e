"""Blocks of transformers models, timm's and torchvision's removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sapwood
from sapwood.export import export_onnx
from sapwood.graph import output_tensors, run_model
from sapwood.removal import Blocks

transformers = pytest.importorskip("transformers", reason="needs pip install transformers")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
IDS = torch.randint(5, 90, (2, 9), generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def bert() -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, vocab_size=99, max_position_embeddings=64)
    return transformers.BertForSequenceClassification(config).eval()


def vit() -> Any:
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, image_size=16, patch_size=4)).eval()


def llama() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, vocab_size=99, max_position_embeddings=64, num_key_value_heads=2)
    return transformers.LlamaForCausalLM(config).eval()


MODELS = {"bert": (bert, {"input_ids": IDS}), "vit": (vit, {"pixel_values": PICTURES})}


@pytest.mark.parametrize("name", MODELS)
def test_attention_and_linear_layers_go_each_alone(name: str, tmp_path: Path) -> None:
    make, inputs = MODELS[name]
    model = make()
    blocks = Blocks(model, inputs)
    assert len(blocks.found) == 4
    assert not blocks.refused
    gone = (blocks.found[0].name, blocks.found[3].name)
    assert gone[0].endswith(".0.attention")
    result = sapwood.prune(model, inputs, depth=list(gone), target={"macs": 0.4})
    assert result.verification.passed
    assert result.removed_blocks == gone
    before, after = (sapwood.measure.count_macs(one, inputs).total for one in (model, result.model))
    assert after <= 0.4 * before
    sapwood.save(result, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=make())
    found, wanted = (output_tensors(run_model(one, inputs)) for one in (again, result.model))
    assert all(map(torch.equal, found, wanted))
    export_onnx(result.model, inputs, tmp_path / "small.onnx")  # compares what it wrote


def test_a_decoders_attention_stays_for_its_cache() -> None:
    blocks = Blocks(llama(), {"input_ids": IDS})
    assert [block.name for block in blocks.found] == ["model.layers.0.mlp", "model.layers.1.mlp"]
    why = blocks.refused["model.layers.0.self_attn"]
    assert why.startswith("what it makes is returned as well, as ")
    assert "layers.0.keys" in why
