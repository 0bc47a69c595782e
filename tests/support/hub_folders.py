"""Folders as Hugging Face's hub has them: tiny models with random weights, and a tokenizer of a few words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sapwood.models import load_model
from sapwood.types import ModelBundle

WORDS = "good bad film movie the a was is not very story plot actor great awful fine dull bright".split()
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = len(WORDS) + len(SPECIAL) + 1  # one token that no word has
LENGTH = 32
"""Tokens that a model reads at most."""

TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": LENGTH,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
BLOCKS = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "decoder_start_token_id": 3,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
GROUPED = {**TEXT, "num_key_value_heads": 2}
CLIP = {"text_config": {**TEXT}, "vision_config": VISION, "projection_dim": 16}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
WHISPER = {
    **BLOCKS,
    "num_mel_bins": 8,
    "max_source_positions": 20,
    "max_target_positions": 16,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", {**TEXT, "num_labels": 2}),
    "bert-mlm": ("BertForMaskedLM", "BertConfig", TEXT),
    "bert-body": ("BertModel", "BertConfig", TEXT),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", {**TEXT, "num_labels": 3, "type_vocab_size": 1}),
    "vit": ("ViTForImageClassification", "ViTConfig", {**VISION, "num_labels": 3}),
    "deit": ("DeiTForImageClassification", "DeiTConfig", {**VISION, "num_labels": 3}),
    "clip": ("CLIPModel", "CLIPConfig", CLIP),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4,
                                               "n_positions": LENGTH, "bos_token_id": 2, "eos_token_id": 3}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "mistral": ("MistralForCausalLM", "MistralConfig", GROUPED),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED),
    "qwen2-classifier": ("Qwen2ForSequenceClassification", "Qwen2Config", {**GROUPED, "num_labels": 3}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 8}),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "bart": ("BartForConditionalGeneration", "BartConfig", {**BLOCKS, "max_position_embeddings": LENGTH}),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", WHISPER),
}  # fmt: skip
"""Name -> class, class of its configuration, and what that is told."""


def make_model(name: str) -> Any:
    """Builds a tiny model of transformers, with the same random weights every time."""
    import transformers

    kind, config, settings = MODELS[name]
    torch.manual_seed(0)
    return getattr(transformers, kind)(getattr(transformers, config)(**settings)).eval()


def make_folder(folder: Path, name: str, *, change: Callable[[Any], None] | None = None, **how: Any) -> Path:
    """Writes a model with its tokenizer as ``save_pretrained`` does.

    Args:
        folder: Made anew.
        name: In :data:`MODELS`.
        change: Changes the model first.
        how: Arguments of ``save_pretrained``.
    """
    model = make_model(name)
    if change is not None:
        change(model)
    model.save_pretrained(folder, **how)
    if name not in ("vit", "deit", "whisper"):
        make_tokenizer().save_pretrained(folder)
    return folder


def make_tokenizer() -> Any:
    """Words apart at spaces, as BERT's tokenizer frames them."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    numbers = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **named)


def load(folder: Path) -> ModelBundle:
    """Such a folder as the loader reads it."""
    return load_model(f"transformers:{folder}")
