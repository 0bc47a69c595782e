"""Options of configs that few have: cut so that the config says it, written, and loaded by transformers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sapwood
from sapwood import Limits, Target
from sapwood.export import export_transformers
from sapwood.graph import output_tensors, run_model
from support.hub_folders import BLOCKS, GROUPED, LENGTH, T5, TEXT, VOCABULARY, load

transformers = pytest.importorskip("transformers", reason="needs pip install sapwood[transformers]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

DECODER = {**GROUPED, "head_dim": 8}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LENGTH, "bos_token_id": 2,
        "eos_token_id": 3}  # fmt: skip
FALCON = {**TEXT, "multi_query": True}
PROJECTED = {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 16}
MIXED = {**DECODER, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LATENT = {
    **{"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 4},
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8},
}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "one key-value head": ("LlamaForCausalLM", "LlamaConfig", {**GROUPED, "num_key_value_heads": 1}),
    "biases, tied": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {**GROUPED, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "heads wider together than the stream": ("Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 16}),
    "sliding window": ("MistralForCausalLM", "MistralConfig", {**DECODER, "sliding_window": 4}),
    "gated, not tied": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "experts in one product": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**MIXED, "num_experts": 4}),
    "experts and latent attention": ("DeepseekV3ForCausalLM", "DeepseekV3Config", {**MIXED, **LATENT}),
    "embeddings scaled by their width": ("GemmaForCausalLM", "GemmaConfig", DECODER),
    "a part of each head is rotated": ("GPTNeoXForCausalLM", "GPTNeoXConfig", TEXT),
    "a part of each head is rotated, queries apart": ("StableLmForCausalLM", "StableLmConfig", GROUPED),
    "weights that are not transposed": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "a width of heads that nobody sets": ("FalconForCausalLM", "FalconConfig", FALCON),
    "embeddings of another width": ("OPTForCausalLM", "OPTConfig", PROJECTED),
    "embeddings of another width before": (
        "ElectraForSequenceClassification",
        "ElectraConfig",
        {**TEXT, "embedding_size": 16, "num_labels": 3},
    ),
    "positions that no file holds": (
        "MarianMTModel",
        "MarianConfig",
        {**BLOCKS, "max_position_embeddings": LENGTH, "share_encoder_decoder_embeddings": True},
    ),
    "a version that is a text": ("Phi3ForCausalLM", "Phi3Config", GROUPED),
    "a decoder that classifies": (
        "BartForSequenceClassification",
        "BartConfig",
        {**BLOCKS, "max_position_embeddings": LENGTH, "num_labels": 3},
    ),
    "places by another name": (
        "MptForCausalLM",
        "MptConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": LENGTH},
    ),
}
"""What is unusual -> class, class of its configuration, and what that is told."""


def values(model: Any, inputs: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        return output_tensors(run_model(model, inputs))


@pytest.mark.parametrize("name", MODELS)
def test_the_road_there_and_back(name: str, tmp_path: Path) -> None:
    kind, config, settings = MODELS[name]
    own = getattr(transformers, kind)
    torch.manual_seed(0)
    own(getattr(transformers, config)(**settings)).save_pretrained(tmp_path / "dense")
    bundle = load(tmp_path / "dense")
    inputs = bundle.example_inputs
    for as_config in (False, True):
        pruned = sapwood.prune(
            bundle.model, inputs, target=Target(sparsity=0.5), limits=Limits(as_config=as_config, round_to=1)
        )
        assert pruned.verification.passed
        sapwood.save(pruned, tmp_path / f"small-{as_config}", source=bundle)
        again = sapwood.load(tmp_path / f"small-{as_config}")
        for found, wanted in zip(values(again, inputs), values(pruned.model, inputs), strict=True):
            torch.testing.assert_close(found, wanted)
        loss = sum(one.square().mean() for one in output_tensors(run_model(again.train(), inputs)) if one.requires_grad)
        loss.backward()
    export_transformers(pruned.model, inputs, tmp_path / "folder")
    alone, told = own.from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(told.values())
    for found, wanted in zip(
        values(load(tmp_path / "folder").model, inputs), values(pruned.model, inputs), strict=True
    ):
        torch.testing.assert_close(found, wanted)  # tensors that lie elsewhere in memory may be summed in other vectors
    before, after = (sum(map(torch.numel, model.parameters())) for model in (bundle.model, alone))
    stays = [entry.reason for entry in pruned.unpruned if entry.reason.startswith("stays whole")]
    assert after < 0.75 * before or stays


def test_what_the_config_scales_stays_and_says_why() -> None:
    """Gemma multiplies its embeddings by the root of the hidden size; all else goes."""
    torch.manual_seed(0)
    model = transformers.GemmaForCausalLM(transformers.GemmaConfig(**DECODER)).eval()
    inputs = {"input_ids": torch.arange(5, 13)[None]}
    pruned = sapwood.prune(model, inputs, target=Target(sparsity=0.5), limits=Limits(as_config=True, round_to=1))
    assert (pruned.model.config.hidden_size, pruned.model.config.intermediate_size) == (32, 24)
    reasons = {entry.reason for entry in pruned.unpruned if entry.tensor == "model.embed_tokens.weight"}
    assert any(reason.startswith("stays whole: what the config builds differs") for reason in reasons)
