"""Values of a run at a few places: the patches a layer reads, and what became of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.calibration import Geometry, convolution_patches, each_dimension
from sapwood.errors import CheckFailedError
from sapwood.graph import Replay, plain_kernels, run_model
from sapwood.ops import Call
from sapwood.recovery.reconstruction.resuming import Keeper, Restart, Start
from sapwood.recovery.reconstruction.sites import Use
from sapwood.types import ExampleInputs


@dataclass
class LayerSample:
    """What one use of a layer saw and gave on one batch, at the same places.

    Attributes:
        patches: Inputs, shape (rows, groups, unknowns of one group).
        branch: Outputs behind the BatchNorm, shape (rows, channels).
        other: What is added to them; None where nothing is.
    """

    patches: Tensor | None = None
    branch: Tensor | None = None
    other: Tensor | None = None


class _DoneError(Exception):
    """All that was wanted is there."""


class _Sampler(Replay):
    """Takes samples on the way and stops behind the last."""

    def __init__(
        self,
        calls: Sequence[Call],
        uses: Sequence[Use],
        places: SamplePlaces,
        *,
        patches: bool,
        start: Start,
        restart: Restart | None,
        numbers: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(calls)
        self._numbers = numbers
        self._uses, self._places, self._patches = uses, places, patches
        self._last = max(use.last_read if patches else use.last for use in uses)
        self._start, self._restart = start, restart
        self._keeper = None if restart is None else Keeper(restart)
        self.next_start: Start | None = None
        self.samples = [LayerSample() for _ in uses]

    def make(self, call: Call, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call, and takes what is wanted of its arguments and results."""
        if self._restart is not None and call.index >= self._restart.index and self._keeper is not None:
            self.next_start, self._keeper = self._keeper.start(), None
        if call.index < self._start.index:
            return self._seen(call, func, args, self._start.answer(call, func, args, kwargs, self.pass_on))
        index = call.index if self._numbers is None else self._numbers.get(call.index, -1)
        for use, sample in zip(self._uses, self.samples, strict=True):
            if index == use.call.index:
                self._places.choose(use.call, args)
                if self._patches:
                    sample.patches = self._places.patches(use.call, args)
            if index == use.sum:
                sample.other = self._places.values(use.call, args[use.other])
        if self._patches and index >= self._last:
            raise _DoneError
        result = self._seen(call, func, args, self.pass_on(func, args, kwargs))
        for use, sample in zip(self._uses, self.samples, strict=True):
            if index == use.branch and not self._patches:
                sample.branch = self._places.values(use.call, result if isinstance(result, Tensor) else result[0])
        if index >= self._last:
            raise _DoneError
        return result

    def _seen(self, call: Call, func: Any, args: Any, result: Any) -> Any:
        if self._keeper is not None:
            self._keeper.see(call, func, args, result)
        return result

    def stray(self, call: Call, func: Any) -> None:
        """Refuses the network."""
        raise CheckFailedError(
            f"another batch makes other calls: {func} where {call} was recorded; a network whose calls follow from "
            "values cannot be reconstructed"
        )


class SamplePlaces:
    """Where samples are taken on one batch: the same in the dense and in the pruned network, and in every run.

    Args:
        per_picture: Rows of each use that are taken of each picture, at most.
        num_pictures: Pictures in the batch.
        seed: Of the draw.
    """

    def __init__(self, per_picture: int, num_pictures: int, seed: Sequence[int]) -> None:
        self._per_picture = per_picture
        self._num_pictures = num_pictures
        self._seed = seed
        self._chosen: dict[int, tuple[Tensor, int]] = {}
        self._windows: dict[int, int] = {}

    def choose(self, call: Call, args: Sequence[Any]) -> None:
        """Draws the places of a contraction when it runs for the first time."""
        if call.index in self._chosen:
            return
        count, wanted = _num_places(call, args), self._per_picture
        if not call.facts.is_convolution:
            wanted *= self._num_pictures
        else:
            self._windows[call.index] = len(args[0])
            wanted = max(1, wanted * self._num_pictures // len(args[0]))
        generator = torch.Generator().manual_seed(hash((*self._seed, call.index)) % 2**62)
        chosen = torch.randperm(count, generator=generator)[:wanted].sort().values
        self._chosen[call.index] = (chosen, count)

    def patches(self, call: Call, args: Sequence[Any]) -> Tensor:  # shape: (rows, groups, unknowns)
        """The inputs at those places."""
        chosen, _ = self._chosen[call.index]
        if not call.facts.is_convolution:
            inputs: Tensor = args[_source(call)]
            return inputs.reshape(-1, inputs.shape[-1])[chosen][:, None].double()
        return convolution_patches(args[0], chosen, _geometry(args), args[8]).double()

    def values(self, call: Call, tensor: Tensor) -> Tensor:  # shape: (rows, channels)
        """Values at those places."""
        chosen, _ = self._chosen[call.index]
        if not call.facts.is_convolution:
            return tensor.reshape(-1, tensor.shape[-1])[chosen].double()
        return tensor.flatten(2)[:, :, chosen].transpose(1, 2).flatten(0, 1).double()

    def pictures(self, call: Call) -> Tensor:  # shape: (rows,)
        """For each row, which picture of the batch it is from."""
        chosen, count = self._chosen[call.index]
        if call.facts.is_convolution:
            windows = self._windows[call.index]  # several of each picture, where a detector looks into boxes
            return (torch.arange(windows) * self._num_pictures // windows).repeat_interleave(len(chosen))
        return chosen * self._num_pictures // count


def take(
    model: nn.Module,
    inputs: ExampleInputs,
    calls: Sequence[Call],
    uses: Sequence[Use],
    places: SamplePlaces,
    *,
    patches: bool,
    start: Start | None = None,
    restart: Restart | None = None,
    numbers: Mapping[int, int] | None = None,
) -> tuple[list[LayerSample], Start | None]:
    """Runs a model as far as needed and returns one sample a use.

    Args:
        model: In evaluation mode.
        inputs: A batch.
        calls: Of its recorded run.
        uses: What is wanted.
        places: Where.
        patches: Whether the inputs of the uses are wanted; their outputs otherwise.
        start: Where an earlier run on this batch left off.
        restart: Where a later one could start.
        numbers: The number that each of the calls has in ``uses``, where these are another network's.

    Returns:
        The samples, and that start, where one was to be had.

    Raises:
        CheckFailedError: If it makes other calls than were recorded.
    """
    sampler = _Sampler(calls, uses, places, patches=patches, start=start or Start(), restart=restart, numbers=numbers)
    try:
        with plain_kernels(model), sampler:
            run_model(model, inputs)
    except _DoneError:
        pass
    return sampler.samples, sampler.next_start


def _num_places(call: Call, args: Sequence[Any]) -> int:
    """Over how many places rows are drawn: positions of a convolution's output, rows of a product."""
    if call.facts.is_convolution:
        geometry = _geometry(args)
        return math.prod(geometry.output_size(args[0].shape[-len(geometry.kernel) :]))
    inputs: Tensor = args[_source(call)]
    return inputs.numel() // inputs.shape[-1]


def _source(call: Call) -> int:
    """Where a contraction takes its input."""
    assert call.facts.sum is not None
    return call.facts.sum.source


def _geometry(args: Sequence[Any]) -> Geometry:
    """How a recorded convolution moves."""
    kernel = list(args[1].shape[2:])
    return Geometry(kernel, *(each_dimension(value, len(kernel)) for value in args[3:6]))
