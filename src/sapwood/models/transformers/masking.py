"""Whether a model takes a mask of which places each place looks at, instead of one of the tokens that count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from sapwood.models.transformers.network import MASK, Masking, TransformersNetwork

WINDOWS = ("sliding_window", "attention_chunk_size", "local_attention", "attention_window")
"""Fields of a configuration by which a place looks at those near it only: other masks for other layers."""

ROUNDINGS = 1000
"""How many roundings of the largest output two runs may be apart."""

PADDED = 4
"""A quarter of the example stands for places that do not count."""


def find_masking(model: TransformersNetwork, inputs: Mapping[str, Tensor]) -> Masking:
    """Runs a model on its example, the end of which does not count, told so in each way.

    Args:
        model: In evaluation mode; left as it was.
        inputs: Its example.

    Returns:
        The way in which it answers as it does when it is told by the mask of tokens; that one where no other does.
    """
    network: Any = model.network
    text = network.config.get_text_config() if hasattr(network.config, "get_text_config") else network.config
    kinds = getattr(text, "layer_types", None) or ()
    if MASK not in inputs or any(getattr(text, name, None) for name in WINDOWS) or set(kinds) - {"full_attention"}:
        return "as given"
    shown = dict(inputs)
    shown[MASK] = shown[MASK].clone()
    shown[MASK][:, -(shown[MASK].shape[1] // PADDED) :] = 0
    wanted, every, before = (_answer(model, shown, way) for way in get_args(Masking))
    if wanted is None or (every is not None and _same(every, before)):
        return "as given"  # where both ways answer the same, nothing tells which is meant
    return "all" if _same(wanted, every) else "before" if _same(wanted, before) else "as given"


def _answer(model: TransformersNetwork, inputs: Mapping[str, Tensor], way: Masking) -> Tensor | None:
    """What a model says, None where it does not run."""
    before, model.masking = model.masking, way
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = model(**inputs)
    except Exception:  # a model whose code has no use for such a mask may fail in any way
        return None
    finally:
        model.masking = before
    found = outputs if isinstance(outputs, Tensor) else next(iter(outputs.values()))
    return found if isinstance(found, Tensor) else None


def _same(wanted: Tensor, came: Tensor | None) -> bool:
    if came is None or came.shape != wanted.shape or not bool(came.isfinite().all()):
        return False
    bound = ROUNDINGS * torch.finfo(wanted.dtype).eps * float(wanted.abs().max())
    return bool((came - wanted).abs().max() <= bound)
