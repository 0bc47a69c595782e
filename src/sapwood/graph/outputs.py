"""What a model returns, by name, and which of it counts: what counts keeps its sizes, the rest follows the widths."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from sapwood.errors import ConfigError
from sapwood.nested import named_tensors, parts_of
from sapwood.ops import Graph

Outputs: TypeAlias = "str | int | Sequence[str | int] | Callable[[Any], Any]"
"""Which outputs count: names, globs or positions, or a function that picks them out of what the model returns."""

ALL = "*"
"""The outputs of which all count."""

BESIDE = ("*cache*", "past_key_values", "mems", "*hidden_states", "encoder_last_hidden_state", "*attentions")
"""What a transformers output object holds for the next call, or to look inside: nobody reads it for its sizes."""

BESIDE_A_HEAD = (
    "*last_hidden_state", "pooler_output", "*_model_output", "*router_logits", "image_outputs", "video_outputs",
    "audio_outputs", "vision_outputs",
)  # fmt: skip
"""What one holds of the body, where a head gives an answer."""

MAPS, READ_OFF = "feats", ("boxes", "scores")
"""Keys of what a detector of ultralytics returns: the maps that its head was given, of which a loss takes the sizes,
and what the head made of them."""


def output_tensors(value: Any) -> list[Tensor]:
    """All tensors in a model's output, through lists, tuples, dicts and dataclass-like containers."""
    return [tensor for _, tensor in named_tensors(value)]


def own_outputs(value: Any, graph: Graph) -> list[Tensor]:
    """The tensors of an output, copied where a run writes into buffers: one of them may be returned."""
    return [tensor.clone() if graph.overwritten else tensor for tensor in output_tensors(value)]


def counting(value: Any, outputs: Outputs | None) -> list[bool]:
    """For each tensor of :func:`output_tensors`, whether it counts.

    Args:
        value: What a model returned.
        outputs: What counts. Where None, all of it; of a transformers output object all but caches, hidden states and
            attentions, and the body's last state where a head answers; of a detector's dict all but ``feats`` beside
            ``boxes`` and ``scores``.

    Raises:
        ConfigError: If a name or a position is none of the outputs', or nothing is picked.

    Examples:
        >>> import torch
        >>> counting({"logits": torch.zeros(1), "maps": [torch.zeros(1), torch.zeros(2)]}, "logits")
        [True, False, False]
        >>> counting((torch.zeros(1), torch.zeros(2)), lambda result: result[1])
        [False, True]
    """
    named = named_tensors(value)
    if outputs is None:
        return _meant_to_be_read(value, [name for name, _ in named])
    if callable(outputs):
        return _picked(value, outputs)
    patterns = [outputs] if isinstance(outputs, (str, int)) else outputs
    if (
        not isinstance(patterns, (list, tuple))
        or not patterns
        or not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in patterns)
    ):
        raise ConfigError(f"outputs={outputs!r}: expected names or positions of what the model returns, or a function")
    positions = {key: str(position) for position, (key, _) in enumerate(parts_of(value))}
    names = [_spellings(name, positions) for name, _ in named]
    for pattern in patterns:
        if not any(_is_named(spelling, str(pattern)) for spellings in names for spelling in spellings):
            known = ", ".join(name or "(one tensor)" for name, _ in named)
            raise ConfigError(f"outputs: {pattern!r} is nothing that the model returns; expected one of: {known}")
    return [any(_is_named(one, str(pattern)) for one in spellings for pattern in patterns) for spellings in names]


def _picked(value: Any, pick: Callable[[Any], Any]) -> list[bool]:
    try:
        chosen = pick(value)
    except Exception as error:  # a user's function may fail in any way
        raise ConfigError(f"outputs: the function fails on what the model returns: {error!r}") from error
    picked = {id(tensor) for tensor in output_tensors(chosen)}
    found = [id(tensor) in picked for tensor in output_tensors(value)]
    if not picked or sum(found) < len(picked):
        raise ConfigError(
            "outputs: the function returns no tensor, or others than the model returns; expected some of them"
        )
    return found


def _spellings(name: str, positions: Mapping[str, str]) -> list[str]:
    """A name, and the same with the position of its first part."""
    first, dot, rest = name.partition(".")
    return [name, f"{positions.get(first, first)}{dot}{rest}"]


def _is_named(name: str, pattern: str) -> bool:
    """Whether a pattern is a name, or what a name stands in, or a glob of either."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}.*")


def _maps_of_detections(names: Sequence[str]) -> list[int]:
    """Where feature maps stand: under a key of their own, beside the boxes and scores that were read off them."""
    found = []
    for position, name in enumerate(names):
        before, maps, _ = f".{name}.".partition(f".{MAPS}.")
        if maps and all(any(f".{other}.".startswith(f"{before}.{key}.") for other in names) for key in READ_OFF):
            found.append(position)
    return found


def _meant_to_be_read(value: Any, names: Sequence[str]) -> list[bool]:
    """All names, or those that are left without what stands beside them."""
    read = set(range(len(names))).difference(_maps_of_detections(names))
    if len(read) < len(names):
        return [position in read for position in range(len(names))]
    if any(kind.__name__ == "ModelOutput" for kind in type(value).__mro__):
        for beside in ((*BESIDE, *BESIDE_A_HEAD), BESIDE):
            found = [not any(fnmatch.fnmatchcase(name.partition(".")[0], one) for one in beside) for name in names]
            if any(found):
                return found
    return [True] * len(names)
