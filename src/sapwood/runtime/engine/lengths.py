"""Networks for fewer tokens than were compiled for: read off recordings of two lengths, and held against others.

Between two recordings of one model at different lengths nothing differs but numbers that follow the length (shapes,
ends of slices) and constants that were cut from longer ones (positions, masks). So a network of any length is the
longest one with each of these numbers put on the line through both. Other recordings say whether that is so; what does
not follow is refused when it is compiled. A single token has a recording of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sapwood.errors import EngineError
from sapwood.runtime.engine.decoding import DTYPES, decode
from sapwood.runtime.engine.encoding import Encoded
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.packing import Array
from sapwood.runtime.engine.saved import VERSION

TOLD = frozenset({"reason", "location", "label"})
"""Fields of nodes that say something of the model, and may say it of a size."""

FEWEST = 3
"""Tokens that have to be compiled for, so that there are two lengths besides 1."""


@dataclass(frozen=True)
class LineOfLengths:
    """Two recordings, and where between them a length lies.

    Attributes:
        long: The recording of the length that is compiled for,
        short: and that of another one.
        most: The first length,
        other: and the second.
        length: What is wanted.
        arrays: Its weights and constants, as they are found.
    """

    long: Encoded
    short: Encoded
    most: int
    other: int
    length: int
    arrays: dict[str, Array] = field(default_factory=dict)

    def encoded(self) -> Encoded:
        """The network of that length.

        Raises:
            EngineError: If the recordings differ in more than numbers that follow the length.
        """
        content = self._between(self.long.content, self.short.content, "")
        for name, array in self.long.arrays.items():
            if name not in self.arrays:
                self.arrays[name] = self._cut(array, self.short.arrays[name])
        return replace(self.long, content=content, arrays=self.arrays)

    def _between(self, one: Any, other: Any, name: str) -> Any:
        if name in TOLD:
            return one
        if type(one) is not type(other) or (isinstance(one, list | dict) and len(one) != len(other)):
            raise EngineError(f"{name or 'its calls'}: {_short(one)}, and {_short(other)} with fewer")
        if isinstance(one, list):
            return [self._between(*pair, name) for pair in zip(one, other, strict=True)]
        if isinstance(one, dict):
            if list(one) != list(other):
                raise EngineError(f"{name}: {list(one)}, and {list(other)} with fewer")
            if "tensor" in one and "dtype" in one:
                return self._tensor(one, other)
            return {key: self._between(one[key], other[key], key) for key in one}
        if type(one) is int and one != other:
            return self._number(one, other)
        if one != other:
            raise EngineError(f"{name}: {_short(one)}, and {_short(other)} with fewer")
        return one

    def _number(self, one: int, other: int) -> int:
        step, rest = divmod(one - other, self.most - self.other)
        if rest:
            raise EngineError(f"{one} of {self.most}, and {other} of {self.other}; expected a number for each more")
        return one - step * (self.most - self.length)

    def _tensor(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        dtype = DTYPES[one["dtype"].removeprefix("torch.")]
        long, short = (
            _numbers(recorded.arrays[told["tensor"]], dtype, told["shape"])
            for recorded, told in ((self.long, one), (self.short, other))
        )
        found = self._cut(long, short)
        self.arrays[one["tensor"]] = np.ascontiguousarray(found).reshape(-1).view(np.uint8)
        return {**one, "shape": list(found.shape)[: len(one["shape"])]}

    def _cut(self, long: Array, short: Array) -> Array:
        """The first ones in each dimension in which there are fewer."""
        if long.shape == short.shape:
            if long is not short and not np.array_equal(long, short):
                raise EngineError(f"a constant of shape {long.shape} has other values for fewer")
            return long
        if long.ndim != short.ndim or not np.array_equal(long[tuple(map(slice, short.shape))], short):
            raise EngineError(f"a constant of shape {long.shape} does not begin with that for fewer, {short.shape}")
        sides = [
            one if one == other else self._number(one, other)
            for one, other in zip(long.shape, short.shape, strict=True)
        ]  # fmt: skip
        return np.ascontiguousarray(long[tuple(map(slice, sides))])


def _numbers(data: Array, dtype: torch.dtype, shape: Sequence[int]) -> Array:
    """The bytes of a tensor as an array of its shape; the bytes of a number are a dimension of their own."""
    return data.reshape(*shape, dtype.itemsize)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


@dataclass(frozen=True)
class Lengths:
    """What a network of any length follows from.

    Attributes:
        long: The recording of the most tokens,
        short: and another one.
        most: How many the most are,
        other: and those of the other recording.
        fewest: The fewest.
        places: Where an input has as many tokens: its number and the dimension.
        single: The recording of one token, for which models often do otherwise.
    """

    long: Encoded
    short: Encoded
    most: int
    other: int
    fewest: int
    places: tuple[tuple[int, int], ...]
    single: Encoded | None = None

    def __deepcopy__(self, memo: object) -> Lengths:
        """The same: nothing in it changes."""
        return self

    def of(self, inputs: Sequence[Any]) -> int | None:
        """How many tokens inputs have; None if that is not between the fewest and the most, or they do not agree."""
        try:
            found = {int(inputs[number].shape[dim]) for number, dim in self.places}
        except (AttributeError, IndexError, TypeError):
            return None
        length = found.pop() if len(found) == 1 else 0
        return length if self.fewest <= length <= self.most else None

    def line(self, length: int) -> LineOfLengths:
        """A length on the line through both recordings."""
        return LineOfLengths(self.long, self.short, self.most, self.other, length)

    def shortened(self, inputs: Sequence[Tensor], length: int) -> list[Tensor]:
        """The first ones of inputs."""
        dims = dict(self.places)
        return [one.narrow(dims[number], 0, length) if number in dims else one for number, one in enumerate(inputs)]

    def lowered(self, length: int) -> Lowered:
        """The network of a length.

        Raises:
            EngineError: If it makes no sense.
        """
        encoded = self.single if length == 1 and self.single is not None else self.line(length).encoded()
        whole = {**encoded.content, "form": {"tuple": [None] * len(encoded.content["outputs"])}, "constants": []}
        found = decode(Path(f"the network for {length}"), VERSION, whole, encoded.arrays)
        return replace(found, form=encoded.form, constants=encoded.constants, alone=encoded.alone, file=None)


def recorded_lengths(
    examples: Sequence[Tensor], dim: int, long: Encoded, record: Callable[[Sequence[Tensor]], Encoded]
) -> Lengths:
    """Records a model at other lengths, and looks whether it follows them.

    Args:
        examples: Inputs of the most tokens.
        dim: Of the inputs, that along which tokens stand.
        long: The model as it was recorded for them.
        record: Records the model for other inputs.

    Raises:
        EngineError: If it does not follow, with what differs.
    """
    most = _most(examples, dim)
    places = tuple((number, dim) for number, one in enumerate(examples) if one.dim() > dim and one.shape[dim] == most)
    lengths = Lengths(long, long, most, most - 1, 1, places)
    lengths = replace(lengths, short=record(lengths.shortened(examples, most - 1)))
    try:
        for length in sorted({max(2, most // 2), 2} - {most - 1}):
            _compare(lengths, length, record(lengths.shortened(examples, length)))
        lengths.lowered(most - 1)
    except EngineError as error:
        raise EngineError(f"the model's calls do not follow the length of dimension {dim}: {error}") from error
    try:
        single = _sharing(record(lengths.shortened(examples, 1)), long.arrays)
        with_one = replace(lengths, single=single)
        with_one.lowered(1)
    except Exception:  # a model may have no use for a single token, and says so in any way
        return replace(lengths, fewest=2)
    return with_one


def _sharing(recorded: Encoded, known: Mapping[str, Array]) -> Encoded:
    """With those arrays in place of its own that are the same: weights are kept once."""
    by_content = {_digest(array): array for array in known.values()}
    arrays = {name: by_content.get(_digest(array), array) for name, array in recorded.arrays.items()}
    return replace(recorded, arrays=arrays)


def _digest(array: Array) -> tuple[Any, ...]:
    return array.shape, array.dtype.str, hashlib.sha1(np.ascontiguousarray(array).data, usedforsecurity=False).digest()


def _most(examples: Sequence[Tensor], dim: int) -> int:
    if type(dim) is not int or not 1 <= dim < examples[0].dim():
        raise EngineError(f"length_dim {dim!r}; expected a dimension of the first input but its batch, which is 0")
    most = int(examples[0].shape[dim])
    if most < FEWEST:
        raise EngineError(f"{most} in dimension {dim} of the first input; expected at least {FEWEST}, the most to come")
    return most


def _compare(lengths: Lengths, length: int, recorded: Encoded) -> None:
    """Holds what is expected for a length against a recording of it."""
    expected = lengths.line(length).encoded()
    if (recorded.form, recorded.constants) != (lengths.long.form, lengths.long.constants):
        raise EngineError(f"it returns something else for {length}")
    if len(recorded.arrays) != len(expected.arrays):
        raise EngineError(f"{len(expected.arrays)} constants, and {len(recorded.arrays)} for {length}")
    for name, array in expected.arrays.items():
        if not np.array_equal(array, recorded.arrays[name]):
            raise EngineError(f"a constant of shape {array.shape} is another one for {length}")
    if _plain(expected.content) != _plain(recorded.content):
        raise EngineError(f"numbers for {length} are not on the line of those for {lengths.most} and {lengths.other}")


def _plain(content: Any) -> Any:
    """Without what is only told."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items() if key not in TOLD}
    return [_plain(one) for one in content] if isinstance(content, list) else content
