"""Models of transformers whose code reads its widths in ways of its own."""

from __future__ import annotations

import pytest
import torch

from sapwood.pipeline import Target, prune

transformers = pytest.importorskip("transformers", reason="needs pip install sapwood[transformers]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

TOKENS = {"input_ids": torch.arange(3, 11)[None]}


def test_heads_that_a_config_tells_while_it_runs_go() -> None:
    """Funnel's attention asks ``self.config.n_head``, which all of its layers share."""
    config = transformers.FunnelConfig(
        vocab_size=50, block_sizes=[1, 1], num_decoder_layers=1, d_model=16, n_head=4, d_head=4, d_inner=32
    )
    model = transformers.FunnelForSequenceClassification(config).eval()
    small = prune(model, TOKENS, target=Target(sparsity=0.5)).model
    heads = {layer.attention.r_w_bias.shape for block in small.funnel.encoder.blocks for layer in block}
    assert len(heads) == 1
    assert small.funnel.encoder.blocks[0][0].attention.q_head.weight.shape == (8, 8)
    assert (small.config.n_head * small.config.d_head, model.config.n_head * model.config.d_head) == (8, 16)


def test_the_last_channel_of_a_stream_is_one_like_any_other() -> None:
    """BART reads ``inputs_embeds[:, :, -1]`` for its shape."""
    config = transformers.BartConfig(
        vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=16,
    )  # fmt: skip
    model = transformers.BartForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[..., -1] *= 1e-3  # the last channel is the least
    pruned = prune(model, {**TOKENS, "decoder_input_ids": TOKENS["input_ids"]}, target=Target(sparsity=0.5))
    stream = [cut for cut in pruned.plan.cuts if cut.tensor == "model.shared.weight"]
    assert [(cut.dim, len(cut.kept)) for cut in stream] == [(1, 8)]
    assert 15 not in stream[0].kept


def test_wavlm_trains_after_pruning() -> None:
    """Its heads are gated by a parameter that a second run, as in training, reads again."""
    config = transformers.WavLMConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, conv_dim=(16, 16),
        conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, mask_time_length=2, mask_time_prob=0.3, num_buckets=16, max_bucket_distance=40,
    )  # fmt: skip
    sound = torch.randn(2, 800)
    model = prune(transformers.WavLMModel(config).eval(), sound, target=Target(sparsity=0.5)).model
    assert model.masked_spec_embed.shape == (16,)
    model.train()(sound).last_hidden_state.sum().backward()
    assert model.masked_spec_embed.grad.abs().sum() > 0
