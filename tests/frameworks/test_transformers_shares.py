"""Caches, cross attention and decoders leave nothing whole: half of every width inside goes where half is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from support.hub_folders import LENGTH, VOCABULARY, make_model

pytest.importorskip("transformers", reason="needs pip install sapwood[transformers]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

FIXED: dict[str, tuple[int, ...]] = {
    "lm_head": (0,),  # the vocabulary
    "proj_out": (0,),
    "text_projection": (0,),  # outputs of the model
    "visual_projection": (0,),
    "model.encoder.conv1": (1,),  # bands of sound
    "vision_model.embeddings.patch_embedding": (1,),  # colours
}
"""Dimensions that are none of the widths inside."""


def tokens(length: int = 8) -> Tensor:
    return torch.randint(5, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(0))


def inputs(name: str) -> dict[str, Tensor]:
    """What each reads; the cache is left as transformers has it, on."""
    if name == "clip":
        return {"input_ids": tokens(), "pixel_values": torch.randn(1, 3, 32, 32)}
    if name == "whisper":
        return {"input_features": torch.randn(1, 8, 40), "decoder_input_ids": tokens()}
    if name in ("t5", "bart"):
        return {"input_ids": tokens(LENGTH), "decoder_input_ids": tokens()}
    return {"input_ids": tokens(LENGTH)}


def weights(model: nn.Module) -> dict[str, tuple[int, ...]]:
    kinds: Any = (nn.Linear, nn.Conv1d, nn.Conv2d)
    return {name: tuple(module.weight.shape[:2]) for name, module in model.named_modules() if isinstance(module, kinds)}


@pytest.mark.parametrize("name", ["qwen3", "qwen2", "llama", "t5", "bart", "clip", "whisper"])
def test_half_of_every_width_inside_goes(name: str) -> None:
    model, given = make_model(name), inputs(name)
    with torch.no_grad():
        returned = model(**given)
    assert name == "clip" or returned.past_key_values is not None
    pruned = sapwood.prune(model, given, target=sapwood.Target(sparsity=0.5))
    assert pruned.verification.passed
    before, after = weights(model), weights(pruned.model)
    wanted = {
        layer: tuple(size if dim in FIXED.get(layer, ()) else size // 2 for dim, size in enumerate(shape))
        for layer, shape in before.items()
    }
    if name == "bart":  # whose stream loses 19 of 32: more than was asked for, which is looked at elsewhere
        assert all(one <= most for layer in before for one, most in zip(after[layer], wanted[layer], strict=True))
    else:
        assert after == wanted
