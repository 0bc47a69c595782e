"""The second list of the zoo: models of four frameworks, and networks written as people write them.

Versions: transformers 5.24.0, ultralytics 8.4.190, timm 1.0.31, torchvision 0.29.1 (``benchmarks/frameworks.txt``).
Random weights, small sizes. Each entry says which layers' outputs are the model's (``heads``) and which read its input
(``stems``): of those one side stays, of all others half of both sides is expected to go.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo_models import SEED, randomise_norms_

TOKENS = 1000


@dataclass(frozen=True)
class Entry:
    """How a model is made and fed, and what of it is fixed.

    Args:
        make: Returns the model and its inputs.
        heads: Globs of layers whose output channels are fixed: the model's outputs.
        stems: Globs of layers whose input channels are fixed: the model's inputs.
        whole: Globs of layers of which nothing is expected to go (a fixed integral, positions).
        options: What is given to ``sapwood.prune`` besides the target.
    """

    make: Callable[[], tuple[nn.Module, Any]]
    heads: tuple[str, ...]
    stems: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def make(name: str) -> tuple[nn.Module, Any]:
    """Returns a model of the list in evaluation mode and its inputs; the same values in every process."""
    torch.manual_seed(SEED)
    model, inputs = ENTRIES[name].make()
    randomise_norms_(model)
    return model.eval(), inputs


def expected(entry: Entry, weights: Mapping[str, Tensor], times: Mapping[str, float]) -> float:
    """The fraction of the multiply-accumulates that is left when every width that is not fixed is halved."""
    dense = left = 0.0
    for name, weight in weights.items():
        work = times.get(name, 0.0) * weight.numel()
        dense += work
        if not _any(name, entry.whole):
            work *= 1.0 if _any(name, entry.heads) else 0.5
            depthwise = weight.dim() > 2 and weight.shape[1] == 1
            work *= 1.0 if depthwise or _any(name, entry.stems) else 0.5
        left += work
    return left / dense


def _any(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


# ---------------------------------------------------------------------------------------------------- transformers


def _tokens(length: int = 16) -> Tensor:
    return torch.randint(3, TOKENS, (1, length))


SIZED = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
TEXT = {"vocab_size": TOKENS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _hf(model: str, config: str, options: Mapping[str, Any], inputs: Callable[[], Any]) -> Callable[[], Any]:
    def make() -> tuple[nn.Module, Any]:
        import transformers as hf

        return getattr(hf, model)(getattr(hf, config)(**options)), inputs()

    return make


def _ids() -> Any:
    return {"input_ids": _tokens()}


def _pairs() -> Any:
    return {"input_ids": _tokens(), "decoder_input_ids": _tokens(8)}


def _pixels(size: int = 64) -> Callable[[], Any]:
    return lambda: {"pixel_values": torch.randn(1, 3, size, size)}


def _sound(length: int = 4000) -> Any:
    return {"input_values": torch.randn(1, length)}


QWEN = TEXT | SIZED | {"num_key_value_heads": 2, "head_dim": 32}
VISION = SIZED | {"image_size": 64, "patch_size": 16}
SEQ = {"d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
SEQ |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
WAV = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
WAV |= {"conv_dim": (32, 32), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_conv_pos_embedding_groups": 4}
WAV |= {"num_conv_pos_embeddings": 16, "num_feat_extract_layers": 2}


def _clip() -> tuple[nn.Module, Any]:
    import transformers as hf

    text = TEXT | SIZED | {"max_position_embeddings": 32}
    config = hf.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=64)
    return hf.CLIPModel(config), {"input_ids": _tokens(8), "pixel_values": torch.randn(1, 3, 64, 64)}


def _llava() -> tuple[nn.Module, Any]:
    import transformers as hf

    vision, text = hf.CLIPVisionConfig(**VISION), hf.LlamaConfig(**TEXT, **SIZED, use_cache=False)
    config = hf.LlavaConfig(vision_config=vision, text_config=text, image_token_id=5, vision_feature_layer=-1)
    tokens = torch.tensor([[1, *[5] * 16, 7, 8, 9]])
    return hf.LlavaForConditionalGeneration(config), {"input_ids": tokens, "pixel_values": torch.randn(1, 3, 64, 64)}


VOICE = {"vocab_size": 38, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
VOICE |= {"flow_size": 32, "spectrogram_bins": 33, "prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 2}
VOICE |= {"posterior_encoder_num_wavenet_layers": 2, "upsample_initial_channel": 32, "upsample_rates": [4, 4]}
VOICE |= {"upsample_kernel_sizes": [8, 8], "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}
VOICE |= {"wavenet_dilation_rate": 1, "duration_predictor_num_flows": 2}

CODEC = {"encoder_hidden_size": 16, "downsampling_ratios": [2, 4], "decoder_hidden_size": 64, "n_codebooks": 3}
CODEC |= {"codebook_size": 64, "codebook_dim": 8, "hidden_size": 64}

PERCEIVER = {"vocab_size": TOKENS, "d_model": 64, "d_latents": 128, "num_latents": 16, "num_blocks": 1}
PERCEIVER |= {"num_self_attends_per_block": 2, "num_self_attention_heads": 4, "num_cross_attention_heads": 4}
PERCEIVER |= {"max_position_embeddings": 64}

REFORMER = {"vocab_size": TOKENS, "hidden_size": 128, "num_attention_heads": 4, "attention_head_size": 32}
REFORMER |= {"feed_forward_size": 256, "attn_layers": ["local", "lsh"], "local_attn_chunk_length": 8}
REFORMER |= {"lsh_attn_chunk_length": 8, "num_buckets": 2, "axial_pos_embds": False, "is_decoder": False}

GPTJ = {"vocab_size": TOKENS, "n_embd": 128, "n_layer": 2, "n_head": 4, "rotary_dim": 16, "use_cache": False}
FALCON = {"vocab_size": TOKENS, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
MAMBA2 = {"vocab_size": TOKENS, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 16, "num_heads": 8}
MAMBA2 |= {"head_dim": 16, "n_groups": 1, "use_cache": False, "chunk_size": 8}


TRANSFORMERS: dict[str, Entry] = {
    "bert_base_model": Entry(
        _hf("BertModel", "BertConfig", TEXT | SIZED, _ids), ("pooler.dense",), options={"outputs": "pooler_output"}
    ),
    "qwen3_cache": Entry(_hf("Qwen3ForCausalLM", "Qwen3Config", QWEN, _ids), ("lm_head",)),
    "qwen3": Entry(_hf("Qwen3ForCausalLM", "Qwen3Config", QWEN | {"use_cache": False}, _ids), ("lm_head",)),
    "gemma3": Entry(_hf("Gemma3ForCausalLM", "Gemma3TextConfig", QWEN | {"use_cache": False}, _ids), ("lm_head",)),
    "mixtral": Entry(
        _hf("MixtralForCausalLM", "MixtralConfig", QWEN | {"use_cache": False, "num_local_experts": 4}, _ids),
        ("lm_head",),
    ),
    "gpt2_cache": Entry(
        _hf("GPT2LMHeadModel", "GPT2Config", {"vocab_size": TOKENS, "n_embd": 128, "n_layer": 2, "n_head": 4}, _ids),
        ("lm_head",),
    ),
    "deberta_v2": Entry(
        _hf(
            "DebertaV2ForSequenceClassification",
            "DebertaV2Config",
            TEXT | SIZED | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
            _ids,
        ),
        ("classifier",),
    ),
    "modernbert": Entry(
        _hf("ModernBertForMaskedLM", "ModernBertConfig", TEXT | SIZED | {"cls_token_id": 1, "sep_token_id": 2}, _ids),
        ("decoder",),
    ),
    "t5": Entry(
        _hf(
            "T5ForConditionalGeneration",
            "T5Config",
            {"vocab_size": TOKENS, "d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 4},
            _pairs,
        ),
        ("lm_head",),
    ),
    "bart": Entry(_hf("BartForConditionalGeneration", "BartConfig", TEXT | SEQ, _pairs), ("lm_head",)),
    "whisper": Entry(
        _hf(
            "WhisperForConditionalGeneration",
            "WhisperConfig",
            TEXT | SEQ | {"num_mel_bins": 16, "max_source_positions": 32, "decoder_start_token_id": 1},
            lambda: {"input_features": torch.randn(1, 16, 64), "decoder_input_ids": _tokens(8)},
        ),
        ("proj_out",),
        ("model.encoder.conv1",),
    ),
    "mamba": Entry(
        _hf(
            "MambaForCausalLM",
            "MambaConfig",
            {"vocab_size": TOKENS, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "use_cache": False},
            _ids,
        ),
        ("lm_head",),
    ),
    "clip": Entry(_clip, ("text_projection", "visual_projection"), ("vision_model.embeddings.patch_embedding",)),
    "siglip_cls": Entry(
        _hf("SiglipForImageClassification", "SiglipConfig", {"vision_config": VISION, "num_labels": 10}, _pixels()),
        ("classifier",),
        ("*patch_embedding",),
    ),
    "dinov2": Entry(
        _hf("Dinov2ForImageClassification", "Dinov2Config", VISION | {"num_labels": 10}, _pixels()),
        ("classifier",),
        ("*projection",),
    ),
    "segformer": Entry(
        _hf("SegformerForSemanticSegmentation", "SegformerConfig", {}, _pixels(64)),
        ("decode_head.classifier",),
        ("segformer.encoder.patch_embeddings.0.proj", "segformer.encoder.stages.0.patch_embeddings.proj"),
    ),
    "wav2vec2": Entry(
        _hf("Wav2Vec2ForCTC", "Wav2Vec2Config", WAV | {"vocab_size": 32}, _sound),
        ("lm_head",),
        ("*conv_layers.0.conv",),
    ),
    "electra": Entry(
        _hf("ElectraForSequenceClassification", "ElectraConfig", TEXT | SIZED | {"embedding_size": 64}, _ids),
        ("classifier.out_proj",),
    ),
    "xlnet": Entry(
        _hf(
            "XLNetForSequenceClassification",
            "XLNetConfig",
            {"vocab_size": TOKENS, "d_model": 128, "n_layer": 2, "n_head": 4, "d_inner": 256},
            _ids,
        ),
        ("logits_proj",),
    ),
    "gpt_neox": Entry(
        _hf("GPTNeoXForCausalLM", "GPTNeoXConfig", TEXT | SIZED | {"use_cache": False}, _ids), ("lm_head",)
    ),
    "qwen2_moe": Entry(
        _hf(
            "Qwen2MoeForCausalLM",
            "Qwen2MoeConfig",
            QWEN
            | {"use_cache": False, "num_experts": 4, "num_experts_per_tok": 2}
            | {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 64},
            _ids,
        ),
        ("lm_head", "*.gate", "*.shared_expert_gate"),
    ),
    "gemma2": Entry(_hf("Gemma2ForCausalLM", "Gemma2Config", QWEN | {"use_cache": False}, _ids), ("lm_head",)),
    "convnext": Entry(
        _hf(
            "ConvNextForImageClassification",
            "ConvNextConfig",
            {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1], "num_labels": 10, "image_size": 64},
            _pixels(),
        ),
        ("classifier",),
        ("convnext.embeddings.patch_embeddings",),
    ),
    "dinov3": Entry(  # what it returns is the sum of all layers
        _hf("DINOv3ViTModel", "DINOv3ViTConfig", VISION, _pixels()),
        ("*patch_embeddings", "*o_proj", "*down_proj"),
        ("*patch_embeddings", "*q_proj", "*k_proj", "*v_proj", "*up_proj"),
        options={"outputs": "pooler_output"},
    ),
    "roformer": Entry(
        _hf("RoFormerForSequenceClassification", "RoFormerConfig", TEXT | SIZED | {"embedding_size": 128}, _ids),
        ("classifier.out_proj",),
    ),
    "longformer": Entry(
        _hf("LongformerForSequenceClassification", "LongformerConfig", TEXT | SIZED | {"attention_window": 8}, _ids),
        ("classifier.out_proj",),
    ),
    "reformer": Entry(
        _hf("ReformerForSequenceClassification", "ReformerConfig", REFORMER, _ids), ("classifier.out_proj",)
    ),
    "gptj": Entry(_hf("GPTJForCausalLM", "GPTJConfig", GPTJ, _ids), ("lm_head",)),
    "falcon": Entry(_hf("FalconForCausalLM", "FalconConfig", FALCON | {"use_cache": False}, _ids), ("lm_head",)),
    "cohere": Entry(_hf("CohereForCausalLM", "CohereConfig", TEXT | SIZED | {"use_cache": False}, _ids), ("lm_head",)),
    "mamba2": Entry(_hf("Mamba2ForCausalLM", "Mamba2Config", MAMBA2, _ids), ("lm_head",)),
    "perceiver": Entry(
        _hf("PerceiverForSequenceClassification", "PerceiverConfig", PERCEIVER, lambda: {"inputs": _tokens()}),
        ("*final_layer",),
    ),
    "fnet": Entry(  # a transform along the channels of the sum of all layers
        _hf("FNetForSequenceClassification", "FNetConfig", TEXT | SIZED, _ids),
        ("classifier", "fnet.embeddings.projection", "*.output.dense"),
        ("*.intermediate.dense", "fnet.pooler.dense"),
    ),
    "llava": Entry(_llava, ("lm_head",), ("*patch_embedding",)),
    "dac": Entry(
        _hf("DacModel", "DacConfig", CODEC, lambda: {"input_values": torch.randn(1, 1, 512)}),
        ("decoder.conv2",),
        ("encoder.conv1",),
        options={"outputs": "audio_values"},
    ),
    "vits": Entry(
        _hf("VitsModel", "VitsConfig", VOICE, lambda: {"input_ids": torch.randint(1, 38, (1, 12))}),
        ("decoder.conv_post",),
        options={"outputs": "waveform"},
    ),
    "swin": Entry(
        _hf(
            "SwinForImageClassification",
            "SwinConfig",
            {"image_size": 64, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4]}
            | {"window_size": 4, "num_labels": 10},
            _pixels(),
        ),
        ("classifier",),
        ("*patch_embeddings.projection",),
    ),
}


# ---------------------------------------------------------------------------------------------------- ultralytics


def _yolo(name: str, size: int = 128) -> Callable[[], Any]:
    def make() -> tuple[nn.Module, Any]:
        import ultralytics

        family = ultralytics.RTDETR if name.startswith("rtdetr") else ultralytics.YOLO
        return family(f"{name}.yaml").model.eval(), torch.rand(1, 3, size, size)

    return make


DETECT = ("model.*.cv2.?.2", "model.*.cv3.?.2", "model.*.one2one_cv2.?.2", "model.*.one2one_cv3.?.2")
STEM = ("model.0.conv",)
DFL = ("*.dfl.conv",)
ULTRALYTICS: dict[str, Entry] = {
    name: Entry(_yolo(name), DETECT + extra, STEM, DFL)
    for name, extra in (
        ("yolov5n", ()),
        ("yolov8n", ()),
        ("yolov8n-seg", ("model.22.cv4.?.2", "model.22.proto.cv3.conv")),
        ("yolov8n-pose", ("model.22.cv4.?.2",)),
        ("yolov9t", ()),
        ("yolov10n", ()),
        ("yolo11n", ()),
        ("yolo12n", ()),
        ("yolo26n", ()),
    )
}
ULTRALYTICS["rtdetr-l"] = Entry(
    _yolo("rtdetr-l", 128),
    ("model.28.dec_score_head.*", "model.28.enc_score_head", "*bbox_head.layers.2", "*bbox_head.?.layers.2"),
    ("model.0.stem1.conv", "model.28.query_pos_head.layers.0"),
    ("*sampling_offsets", "*attention_weights"),
)


# ---------------------------------------------------------------------------------------- timm and torchvision


def _timm(name: str, size: int = 224, **options: Any) -> Callable[[], Any]:
    def make() -> tuple[nn.Module, Any]:
        import timm

        return timm.create_model(name, pretrained=False, **options), torch.randn(1, 3, size, size)

    return make


def _run_before(make: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> tuple[nn.Module, Any]:
        model, inputs = make()
        with torch.no_grad():
            model.eval()(inputs)
        return model, inputs

    return made


TIMM: dict[str, Entry] = {
    "eca_nfnet_l0": Entry(_timm("eca_nfnet_l0"), ("head.fc",), ("stem.conv1",), ("*.attn.conv", "*.attn_last.conv")),
    "regnetz_b16": Entry(_timm("regnetz_b16"), ("head.fc",), ("stem.conv",)),
    "dpn48b": Entry(_timm("dpn48b"), ("classifier",), ("features.conv1_1.conv",)),
    "convit_tiny": Entry(_run_before(_timm("convit_tiny")), ("head",), ("patch_embed.proj", "*.pos_proj")),
    "volo_d1_224": Entry(_timm("volo_d1_224"), ("head", "aux_head"), ("patch_embed.conv.0",)),
    "gcvit_xxtiny": Entry(_timm("gcvit_xxtiny"), ("head.fc",), ("stem.conv1",)),
    "mobileone_s0": Entry(_timm("mobileone_s0"), ("head.fc",), ("stem.*",)),
    "coat_tiny": Entry(_timm("coat_tiny"), ("head",), ("patch_embed1.proj",)),
    "naflexvit_base_patch16_gap": Entry(_timm("naflexvit_base_patch16_gap"), ("head",), ("embeds.proj",)),
    "hieradet_small": Entry(_timm("hieradet_small", num_classes=10), ("head.fc",), ("patch_embed.proj",)),
}


def _detection(name: str) -> Callable[[], Any]:
    def make() -> tuple[nn.Module, Any]:
        from torchvision import models

        options = {"weights": None, "weights_backbone": None, "min_size": 320, "max_size": 320}
        return models.get_model(name, **options), ([torch.rand(3, 320, 320)],)

    return make


def _raft() -> tuple[nn.Module, Any]:
    from torchvision.models.optical_flow import raft_small

    return raft_small(weights=None), (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))


def _shuffle() -> tuple[nn.Module, Any]:
    from torchvision import models

    return models.shufflenet_v2_x1_0(weights=None), torch.randn(1, 3, 224, 224)


BOXES = ("roi_heads.box_predictor.*", "rpn.head.cls_logits", "rpn.head.bbox_pred")
TORCHVISION: dict[str, Entry] = {
    "raft_small": Entry(
        _raft, ("flow_head.conv2", "update_block.flow_head.conv2"), ("*encoder.convnormrelu.0", "*convflow1")
    ),
    "maskrcnn_resnet50_fpn": Entry(
        _detection("maskrcnn_resnet50_fpn"),
        (*BOXES, "roi_heads.mask_predictor.mask_fcn_logits"),
        ("backbone.body.conv1",),
    ),
    "keypointrcnn_resnet50_fpn": Entry(
        _detection("keypointrcnn_resnet50_fpn"),
        (*BOXES, "roi_heads.keypoint_predictor.kps_score_lowres"),
        ("backbone.body.conv1",),
    ),
    "fcos_resnet50_fpn": Entry(
        _detection("fcos_resnet50_fpn"),
        ("head.classification_head.cls_logits", "head.regression_head.bbox_reg", "head.regression_head.bbox_ctrness"),
        ("backbone.body.conv1",),
    ),
    "shufflenet_v2_x1_0": Entry(_shuffle, ("fc",), ("conv1.0",)),
}


# --------------------------------------------------------------------------------------- as people write them


class OwnAttention(nn.Module):
    """Self-attention as tutorials write it: the divisor is a tensor made of the width."""

    def __init__(self, dim: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(-2, -1) / torch.sqrt(torch.tensor(k.size(-1), dtype=q.dtype))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, -1))


class OwnTransformer(nn.Module):
    """Two layers of own attention behind learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS, 64)
        self.positions = nn.Parameter(torch.randn(1, 32, 64))
        self.attention = nn.ModuleList(OwnAttention() for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(4))
        self.up = nn.ModuleList(nn.Linear(64, 128) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(128, 64) for _ in range(2))
        self.head = nn.Linear(64, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.positions[:, : tokens.shape[1]]
        for n in range(2):
            x = x + self.attention[n](self.norms[2 * n](x))
            x = x + self.down[n](F.gelu(self.up[n](self.norms[2 * n + 1](x))))
        return self.head(x.mean(1))  # type: ignore[no-any-return]


class Temporal(nn.Module):
    """A temporal convolution whose weights are normalised."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.first = norm(nn.Conv1d(4, 32, 3, padding=1))
        self.second = norm(nn.Conv1d(32, 32, 3, padding=1))
        self.third = norm(nn.Conv1d(32, 32, 3, padding=1))
        self.head = nn.Conv1d(32, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.head(x + F.relu(self.third(F.relu(self.second(x)))))  # type: ignore[no-any-return]


class Discriminator(nn.Sequential):
    """A discriminator with spectral normalisation."""

    def __init__(self) -> None:
        norm = nn.utils.parametrizations.spectral_norm
        super().__init__(
            norm(nn.Conv2d(3, 32, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(32, 64, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 1, 4),
        )


class Variational(nn.Module):
    """An autoencoder that draws its code, in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
        self.mean, self.log = nn.Conv2d(64, 32, 1), nn.Conv2d(64, 32, 1)
        self.decode = nn.Sequential(nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.encode(x)
        mean, log = self.mean(h), self.log(h)
        return self.decode(mean + torch.randn_like(mean) * (0.5 * log).exp())  # type: ignore[no-any-return]


class GraphNetwork(nn.Module):
    """Messages added up at the nodes they reach, then attention over edges."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 5)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            h = layer(x)
            x = F.relu(h + h.new_zeros(h.shape).index_add(0, edges[1], h[edges[0]]))
        return self.head(x)  # type: ignore[no-any-return]


class Tagger(nn.Module):
    """An LSTM with a first state of zeros, as tutorials write it."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed = nn.Embedding(TOKENS, 32)
        self.rnn = nn.LSTM(32, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        h0 = torch.zeros(1, tokens.size(0), self.hidden)
        return self.head(self.rnn(self.embed(tokens), (h0, h0))[0])  # type: ignore[no-any-return]


class Denoiser(nn.Module):
    """A small U-Net of a diffusion model, with an embedding of time."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64))
        self.down, self.middle = nn.Conv2d(3, 64, 3, 1, 1), nn.Conv2d(64, 64, 3, 2, 1)
        self.up, self.head = nn.ConvTranspose2d(64, 64, 2, 2), nn.Conv2d(128, 3, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = 16
        angles = t[:, None].float() * torch.exp(-math.log(1e4) * torch.arange(half, device=t.device) / half)
        time = self.time(torch.cat([angles.sin(), angles.cos()], -1).to(self.time[0].weight.dtype))
        down = F.silu(self.down(x) + time[:, :, None, None])
        return self.head(torch.cat([self.up(F.silu(self.middle(down))), down], 1))  # type: ignore[no-any-return]


class Captioner(nn.Module):
    """An image encoder and PyTorch's own decoder, which attends to two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Conv2d(3, 64, 8, 8)
        self.embed = nn.Embedding(TOKENS, 64)
        layer = nn.TransformerDecoderLayer(64, 4, 128, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)
        self.head = nn.Linear(64, TOKENS)

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        memory = self.pixels(pixels).flatten(2).transpose(1, 2)
        return self.head(self.decoder(self.embed(tokens), memory))  # type: ignore[no-any-return]


class Pillars(nn.Module):
    """Features of pillars scattered into a map by position."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Linear(9, 32)
        self.neck = nn.Sequential(nn.BatchNorm2d(32), nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 6, 1))

    def forward(self, points: Tensor, where: Tensor) -> Tensor:
        features = F.relu(self.points(points)).max(1).values
        canvas = torch.zeros(features.shape[1], 256, dtype=points.dtype)
        canvas[:, where] = features.t()
        return self.neck(canvas.view(1, -1, 16, 16))  # type: ignore[no-any-return]


def _own(model: type[nn.Module], *inputs: Any) -> Callable[[], Any]:
    return lambda: (model(), tuple(make() for make in inputs))


OWN: dict[str, Entry] = {
    "transformer": Entry(_own(OwnTransformer, _tokens), ("head",)),
    "tcn_weight_norm": Entry(_own(Temporal, lambda: torch.randn(1, 4, 32)), ("head",), ("first",)),
    "discriminator": Entry(_own(Discriminator, lambda: torch.randn(1, 3, 16, 16)), ("4",), ("0",)),
    "vae": Entry(_own(Variational, lambda: torch.randn(1, 3, 16, 16)), ("decode.2",), ("encode.0",)),
    "gnn_index_add": Entry(
        _own(GraphNetwork, lambda: torch.randn(20, 16), lambda: torch.randint(0, 20, (2, 60))), ("head",), ("first",)
    ),
    "lstm_tagger": Entry(_own(Tagger, _tokens), ("head",)),
    "denoiser": Entry(
        _own(Denoiser, lambda: torch.randn(1, 3, 16, 16), lambda: torch.tensor([7])), ("head",), ("down", "time.0")
    ),
    "captioner": Entry(_own(Captioner, lambda: torch.randn(1, 3, 32, 32), _tokens), ("head",), ("pixels",)),
    "pillars": Entry(
        _own(Pillars, lambda: torch.randn(40, 8, 9), lambda: torch.randperm(256)[:40]), ("neck.3",), ("points",)
    ),
}

ENTRIES: dict[str, Entry] = {
    f"{family}:{name}": entry
    for family, entries in (
        ("hf", TRANSFORMERS),
        ("ul", ULTRALYTICS),
        ("timm", TIMM),
        ("tv", TORCHVISION),
        ("own", OWN),
    )
    for name, entry in entries.items()
}
"""Every model of the list, by family and name."""
