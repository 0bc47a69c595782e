"""Small models of transformers by the names of their classes, with inputs; what a config says of them is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sapwood.graph import output_tensors, run_model

transformers: Any = pytest.importorskip("transformers", reason="needs sapwood[transformers]")

IDS = torch.randint(5, 90, (2, 9), generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
WORDS = {"vocab_size": 99, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 98, "pad_token_id": 0}
PATCHES = {"image_size": 16, "patch_size": 4}
DECODER = {**SIZES, **WORDS, "num_key_value_heads": 2}


def _clip() -> Any:
    return transformers.CLIPConfig(
        text_config={**SIZES, **WORDS},
        vision_config={**SIZES, **PATCHES, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40},
        projection_dim=20,
    )


def _whisper() -> Any:
    return transformers.WhisperConfig(
        **{"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40},
        **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_source_positions": 10, "vocab_size": 99},
        **{"max_target_positions": 20, "num_mel_bins": 8, "decoder_start_token_id": 3, "pad_token_id": 0},
        **{"bos_token_id": 1, "eos_token_id": 2},
    )


def _t5() -> Any:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    return transformers.T5Config(vocab_size=99, pad_token_id=0, decoder_start_token_id=0, **sizes)


CONFIGS: dict[str, Any] = {
    "BertForSequenceClassification": lambda: transformers.BertConfig(**SIZES, **WORDS),
    "BertModel": lambda: transformers.BertConfig(**SIZES, **WORDS),
    "RobertaForSequenceClassification": lambda: transformers.RobertaConfig(**SIZES, **WORDS),
    "ViTForImageClassification": lambda: transformers.ViTConfig(**SIZES, **PATCHES),
    "DeiTForImageClassification": lambda: transformers.DeiTConfig(**SIZES, **PATCHES),
    "CLIPModel": _clip,
    "LlamaForCausalLM": lambda: transformers.LlamaConfig(**DECODER),
    "MistralForCausalLM": lambda: transformers.MistralConfig(**DECODER, head_dim=8),
    "Qwen2ForCausalLM": lambda: transformers.Qwen2Config(**DECODER),
    "Qwen3ForCausalLM": lambda: transformers.Qwen3Config(**DECODER, head_dim=8),
    "WhisperForConditionalGeneration": _whisper,
    "T5ForConditionalGeneration": _t5,
}
INPUTS: dict[str, dict[str, torch.Tensor]] = {
    "ViTForImageClassification": {"pixel_values": PICTURES},
    "DeiTForImageClassification": {"pixel_values": PICTURES},
    "CLIPModel": {"input_ids": torch.cat([IDS, torch.full((2, 1), 98)], 1), "pixel_values": PICTURES},
    "WhisperForConditionalGeneration": {
        "input_features": torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(0)),
        "decoder_input_ids": IDS,
    },
    "T5ForConditionalGeneration": {"input_ids": IDS, "decoder_input_ids": IDS},
}


def dense(name: str) -> Any:
    torch.manual_seed(0)
    return getattr(transformers, name)(CONFIGS[name]()).eval()


def inputs(name: str) -> dict[str, torch.Tensor]:
    return INPUTS.get(name, {"input_ids": IDS})


def outputs(model: nn.Module, values: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return output_tensors(run_model(model, values))


class Wrapped(nn.Module):
    """A model of transformers inside another."""

    def __init__(self) -> None:
        super().__init__()
        self.net = dense("ViTForImageClassification")

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return self.net(pixel_values=pixel_values).logits.softmax(-1)
