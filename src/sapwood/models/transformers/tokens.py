"""The tokenizer of a folder: from texts to token numbers, as long as the model reads them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sapwood.errors import MissingDependencyError, SpecError
from sapwood.models.transformers.beside import TOKENIZER_NAME, text_settings
from sapwood.models.transformers.inputs import TYPES
from sapwood.models.transformers.network import MASK
from sapwood.reading import reading

PROBE = "a"
"""A text that shows what a tokenizer puts around one."""


class FolderTokenizer:
    """Cuts texts into tokens; all come out equally long, padded on the right.

    Attributes:
        names: What the model reads.
        mask: The token that stands for a hidden one; None where there is none.
        end: The token after a text; None where there is none.
    """

    def __init__(self, files: Mapping[str, str], names: Sequence[str], pad: int | None, where: str) -> None:
        self.names = tuple(names)
        with reading(f"{where}: {TOKENIZER_NAME}", "a tokenizer of the package tokenizers", SpecError):
            self._tokenizer = _package().Tokenizer.from_str(files[TOKENIZER_NAME])
        settings = text_settings(files, where)
        self.mask, self.end = (self._number(settings.get(name)) for name in ("mask_token", "eos_token"))
        padding = self._number(settings.get("pad_token"))
        self._pad = padding if padding is not None else pad or 0
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str, pair: str | None, length: int) -> dict[str, Tensor]:  # shape of each: (L,)
        """What the model reads of a text, or of two; what is too long is cut, of two the longer one first."""
        self._tokenizer.enable_truncation(max_length=length)
        found = self._tokenizer.encode(text, pair)
        self._tokenizer.no_truncation()
        return self.padded(found.ids, length, found.type_ids)

    def padded(self, ids: Sequence[int], length: int, types: Sequence[int] = ()) -> dict[str, Tensor]:
        """What the model reads of token numbers, at most ``length`` of them."""
        missing = length - len(ids)
        found = {
            "input_ids": torch.tensor([*ids, *[self._pad] * missing]),
            MASK: torch.tensor([1] * len(ids) + [0] * missing),
            TYPES: torch.tensor([*(types or [0] * len(ids)), *[0] * missing]),
        }
        return {name: found[name] for name in self.names if name in found}

    def ids(self, text: str) -> list[int]:
        """The token numbers of a text, nothing around them."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def frame(self) -> tuple[list[int], list[int]]:
        """The token numbers that are put before a text, and after it."""
        found = self._tokenizer.encode(PROBE)
        inside = [place for place, special in enumerate(found.special_tokens_mask) if not special]
        if not inside:
            return [], []
        return list(found.ids[: inside[0]]), list(found.ids[inside[-1] + 1 :])

    def _number(self, token: Any) -> int | None:
        text = token.get("content") if isinstance(token, Mapping) else token
        number = self._tokenizer.token_to_id(text) if isinstance(text, str) else None
        return None if number is None else int(number)


def _package() -> Any:
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise MissingDependencyError(
            f"tokenizers is not installed or not whole ({error}); expected for texts, install it by: "
            "pip install sapwood[transformers]"
        ) from error
