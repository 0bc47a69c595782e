"""Example inputs of a model of transformers, made from what its configuration says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sapwood.errors import SpecError
from sapwood.models.transformers.network import MASK

LENGTH = 128
"""Tokens of an example, where a model reads as many."""

SAMPLES = 16000
"""Values of an example of sound."""

TYPES, PICTURES = "token_type_ids", "pixel_values"
SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "cls_token_id", "sep_token_id")


def example_inputs(
    config: Any, main: str, takes: tuple[str, ...], where: str, *, length: int = LENGTH, decodes_own: bool = True
) -> dict[str, Tensor]:
    """Makes one sample of what a model reads, the same every time.

    Args:
        config: The configuration.
        main: The name of what the model reads first, ``main_input_name`` of its class.
        takes: The arguments of its ``forward``.
        where: Who asks, for messages.
        length: Tokens, where the model reads as many.
        decodes_own: Whether a decoder reads numbers of its own; a classifier of texts makes them of what it reads.

    Returns:
        By name, in the order that the model is to have them: token numbers and their mask, pictures, or features of
        sound; numbers for the decoder as well, where there is one.

    Raises:
        SpecError: If the configuration does not say what the model reads.
    """
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    if main == "input_ids" and "input_ids" in takes:
        found["input_ids"] = _tokens(config, length, generator, where)
        if MASK in takes:
            found[MASK] = torch.ones_like(found["input_ids"])
        if TYPES in takes and (getattr(config, "type_vocab_size", None) or 0) > 1:
            found[TYPES] = torch.zeros_like(found["input_ids"])
    if PICTURES in takes and (main == PICTURES or getattr(config, "vision_config", None) is not None):
        found[PICTURES] = torch.randn(1, *picture_shape(config, where), generator=generator)
    if main == "input_features":
        found[main] = torch.randn(1, *_spectrum(config, where), generator=generator)
    if main == "input_values":
        found[main] = torch.randn(1, SAMPLES, generator=generator)
    if not found:
        raise SpecError(
            f"{where}: the model reads {main}; expected tokens, pictures or sound, which an example is made of"
        )
    if decodes_own and getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes:
        found["decoder_input_ids"] = _decoder_tokens(config, min(length, 16), generator, where)
    return found


def picture_shape(config: Any, where: str) -> tuple[int, int, int]:  # (channels, height, width)
    """The shape of a picture, as the configuration has it.

    Raises:
        SpecError: If it has none.
    """
    own = getattr(config, "vision_config", None) or config
    size = getattr(own, "image_size", None)
    channels = getattr(own, "num_channels", 3)
    if isinstance(size, dict):
        size = (size.get("height"), size.get("width"))
    height, width = (size, size) if isinstance(size, int) else tuple(size or (None, None))[:2]
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise SpecError(f"{where}: image_size is {size!r}; expected the height and width of a picture in pixels")
    return int(channels), height, width


def text_length(config: Any, length: int = LENGTH) -> int:
    """How many of ``length`` tokens a model reads."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    most = next((found for name in PLACES if (found := getattr(text, name, None))), length)
    if getattr(text, "position_embedding_type", None) is None and getattr(text, "model_type", "") in OFFSET:
        most -= OFFSET[text.model_type]
    return max(1, min(length, int(most)))


PLACES = ("max_position_embeddings", "n_positions", "max_seq_len", "context_length")
"""What configurations call the number of places that a text has."""

OFFSET = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "longformer": 2, "mpnet": 2}
"""Models of which some positions stand for none: their tables have that many more rows than there are places."""


def _tokens(config: Any, length: int, generator: torch.Generator, where: str) -> Tensor:  # shape: (1, L)
    """Token numbers, none of them one with a meaning of its own, but the last, which ends the text where one does."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    drawn = _drawn(text, text_length(config, length), generator, where)
    end = _number(getattr(text, "eos_token_id", None))
    read = getattr(config, "is_encoder_decoder", False) or getattr(config, "vision_config", None) is not None
    if read and end is not None and end < int(text.vocab_size):
        drawn[:, -1] = end
    return drawn


def _decoder_tokens(config: Any, length: int, generator: torch.Generator, where: str) -> Tensor:  # shape: (1, L)
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    most = getattr(config, "max_target_positions", None) or length
    drawn = _drawn(text, min(length, int(most)), generator, where)
    start = _number(getattr(config, "decoder_start_token_id", None))
    if start is not None:
        drawn[:, 0] = start
    return drawn


def _drawn(text: Any, length: int, generator: torch.Generator, where: str) -> Tensor:  # shape: (1, L)
    size = getattr(text, "vocab_size", None)
    if not isinstance(size, int) or size < 1:
        raise SpecError(f"{where}: vocab_size is {size!r}; expected how many tokens there are")
    special = {_number(getattr(text, name, None)) for name in SPECIAL}
    plain = torch.tensor([number for number in range(size) if number not in special] or [0])
    return plain[torch.randint(len(plain), (1, length), generator=generator)]


def _number(value: Any) -> int | None:
    """The token that a field names; the first of several."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, int) else None


def _spectrum(config: Any, where: str) -> tuple[int, int]:  # (bands, frames)
    bands, places = getattr(config, "num_mel_bins", None), getattr(config, "max_source_positions", None)
    if not isinstance(bands, int) or not isinstance(places, int):
        raise SpecError(f"{where}: num_mel_bins {bands!r}, max_source_positions {places!r}; expected both, for sound")
    return bands, 2 * places
