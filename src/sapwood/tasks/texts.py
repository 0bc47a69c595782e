"""Texts as a model reads them: cut into tokens by its own tokenizer, and into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sapwood.data import OnBad, Texts, ordered_names, read_texts, text_labels
from sapwood.errors import ConfigError, DataError
from sapwood.models import Tokenizer, framework_of
from sapwood.tasks.running import Progress
from sapwood.types import NO_TARGET, ModelBundle, TextDataset, TextSample, Tokens

IDS = "input_ids"
HIDDEN = 0.15
"""The share of tokens that a masked language model is asked for."""


@dataclass(frozen=True)
class TokenBatch:
    """Texts ready for the network.

    Attributes:
        samples: The texts.
        inputs: By the name of the argument, shape (B, L) each.
        targets: Which token each place is to be answered with, shape (B, L); None of texts with a class, or none.
    """

    samples: tuple[TextSample, ...]
    inputs: dict[str, Tensor]
    targets: Tensor | None


def read_token_batches(
    samples: Sequence[TextSample], batch_size: int, progress: Progress | None = None
) -> Iterator[TokenBatch]:
    """Puts texts together; ``progress`` is told when the caller is through with a batch.

    Raises:
        ConfigError: If ``batch_size`` is below 1.
        DataError: If there is no text.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is at least 1; got {batch_size}")
    if not samples:
        raise DataError("the data set is empty; expected at least one text")
    for start in range(0, len(samples), batch_size):
        chosen = tuple(samples[start : start + batch_size])
        tokens = [sample.load() for sample in chosen]
        inputs = {name: torch.stack([one.inputs[name] for one in tokens]) for name in tokens[0].inputs}
        targets = [one.targets for one in tokens if one.targets is not None]
        yield TokenBatch(chosen, inputs, torch.stack(targets) if len(targets) == len(tokens) else None)
        if progress is not None:
            progress(start + len(chosen), len(samples))


def open_labelled(bundle: ModelBundle, path: str | Path, *, split: str, on_bad: OnBad) -> TextDataset:
    """Opens texts with a class each, as far as the file says one."""
    tokenizer, length = _tokenizer_of(bundle)
    texts = read_texts(path, split=split, on_bad=on_bad)
    labels = text_labels(texts, bundle.task.class_names)
    samples = tuple(
        TextSample(text.name, label, partial(_encoded, tokenizer, text.text, text.pair, length))
        for text, label in zip(texts.texts, labels, strict=True)
    )
    own = {text.label for text in texts.texts if isinstance(text.label, str)}
    ordered = ordered_names(sorted(own), bundle.task.class_names) if own else ()
    return TextDataset(texts.name, samples, bundle.task.class_names, texts.skipped, ordered)


def open_running(bundle: ModelBundle, path: str | Path, *, split: str, on_bad: OnBad, hidden: bool) -> TextDataset:
    """Opens text that runs on: cut into pieces that fill what the model reads, framed as its tokenizer does it.

    Args:
        bundle: A language model.
        path: See :func:`sapwood.data.read_texts`.
        split: Which part.
        on_bad: What a line that is none does.
        hidden: Whether some tokens are hidden, and asked for; otherwise each is asked for by those before it.

    Raises:
        DataError: If the model came without a tokenizer, that has no token for hidden ones, or there is no text.
    """
    tokenizer, length = _tokenizer_of(bundle)
    if hidden and tokenizer.mask is None:
        raise DataError(f"the tokenizer of {bundle.source.spec} has no mask_token; expected one, for a masked model")
    texts = read_texts(path, split=split, on_bad=on_bad, by_line=False)
    pieces = _pieces(tokenizer, texts, length)
    if not pieces:
        raise DataError(f"{path}: holds no tokens; expected text")
    samples = tuple(
        TextSample(f"{texts.name}:{number}", -1, partial(_piece, tokenizer, piece, length, number if hidden else None))
        for number, piece in enumerate(pieces)
    )
    return TextDataset(texts.name, samples, (), texts.skipped)


def _tokenizer_of(bundle: ModelBundle) -> tuple[Tokenizer, int]:
    """The tokenizer of a model, and how many tokens it reads at a time: as many as its example has."""
    tokenizer = framework_of(bundle.model).tokenizer(bundle.model)
    if tokenizer is None:
        raise DataError(
            f"{bundle.source.spec} came without a tokenizer (no tokenizer.json), so no text can be read; expected a "
            "folder that holds the files that save_pretrained of its tokenizer writes"
        )
    inputs = bundle.example_inputs
    ids = inputs.get(IDS) if isinstance(inputs, dict) else None
    if not isinstance(ids, Tensor):
        raise ConfigError(f"{bundle.source.spec} reads no {IDS}; expected a model that reads texts")
    return tokenizer, ids.shape[1]


def _encoded(tokenizer: Tokenizer, text: str, pair: str | None, length: int) -> Tokens:
    return Tokens(tokenizer.encode(text, pair, length))


def _pieces(tokenizer: Tokenizer, texts: Texts, length: int) -> list[tuple[int, ...]]:
    """The numbers of all texts after one another, cut into framed pieces; what is left over is one only if alone."""
    before, after = tokenizer.frame()
    room = length - len(before) - len(after)
    if room < 1:
        raise DataError(
            f"the tokenizer puts {len(before) + len(after)} tokens around a text; expected fewer than {length}"
        )
    ids: list[int] = []
    for text in texts.texts:
        ids += tokenizer.ids(text.text)
        if tokenizer.end is not None and len(texts.texts) > 1:
            ids.append(tokenizer.end)
    whole = [ids[start : start + room] for start in range(0, len(ids), room)]
    full = [piece for piece in whole if len(piece) == room] or whole
    return [(*before, *piece, *after) for piece in full]


def _piece(tokenizer: Tokenizer, ids: tuple[int, ...], length: int, hidden: int | None) -> Tokens:
    """A piece with what it is asked for.

    Args:
        tokenizer: The tokenizer.
        ids: Its tokens.
        length: Places that the model reads.
        hidden: Seed of the places that are hidden; None where each token is asked for by those before it.
    """
    if hidden is None:
        inputs = tokenizer.padded(ids, length)
        following = torch.tensor([*ids[1:], *[NO_TARGET] * (length - len(ids) + 1)])
        return Tokens(inputs, following)
    before, after = tokenizer.frame()
    inside = range(len(before), len(ids) - len(after))
    count = max(1, round(HIDDEN * len(inside)))
    order = torch.randperm(len(inside), generator=torch.Generator().manual_seed(hidden))[:count].tolist()
    places = {inside[one] for one in order}
    assert tokenizer.mask is not None
    shown = [tokenizer.mask if place in places else number for place, number in enumerate(ids)]
    asked = [number if place in places else NO_TARGET for place, number in enumerate(ids)]
    return Tokens(tokenizer.padded(shown, length), torch.tensor([*asked, *[NO_TARGET] * (length - len(ids))]))
