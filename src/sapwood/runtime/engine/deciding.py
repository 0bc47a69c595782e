"""A network is assembled as it runs fastest: as it is remembered, or as trials say now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sapwood.runtime.engine.assembly import Assembly, Sides
from sapwood.runtime.engine.choice import SidesChoice, choose, movable
from sapwood.runtime.engine.clock import AssemblyClock
from sapwood.runtime.engine.inputs import InputSpec, checked
from sapwood.runtime.engine.lowered import Lowered
from sapwood.runtime.engine.remembered import keep, key_of, recall
from sapwood.runtime.engine.tuning import Tuner

FAILS = (RuntimeError, IndexError, ValueError)
"""What a model may raise for numbers that it was not made for; :class:`~sapwood.errors.EngineError` is one of them."""


def assembled(
    source: Lowered,
    threads: int,
    *,
    tune: bool,
    examples: Sequence[Tensor] | None = None,
    sides: Sides | None = None,
) -> tuple[SidesChoice, Assembly]:
    """Decides who runs what, and plans it.

    Args:
        source: The network.
        threads: Of a call.
        tune: Whether anything is tried; the engine runs what it can where not.
        examples: What it is timed on; numbers drawn at random where None.
        sides: Who runs what, where that is known.
    """
    network = source.network
    tuner = Tuner(threads, file=source.file) if tune else None

    def make(sides: Sides) -> Assembly:
        return Assembly(network, sides, threads, tuner, source.file)

    if sides is not None:
        sides = replace(sides, moved=sides.moved & movable(network))
        return _saved(tuner, SidesChoice(sides, untried="as for more tokens"), make(sides))
    if not tune or not movable(network):
        why = "not asked for" if not tune else "PyTorch has no part of it that the engine has"
        return _saved(tuner, SidesChoice(untried=why), make(Sides()))
    inputs = [_drawn(spec) for spec in source.inputs] if examples is None else checked(examples, source.inputs)
    key = key_of(network, threads, [tuple(one.shape) for one in inputs])
    known = recall(network, key)
    if known is not None:
        return _saved(tuner, known, make(known.sides))
    watch = AssemblyClock(make, inputs)
    try:
        choice = choose(network, watch)
    except FAILS as error:
        if examples is not None:
            raise
        choice = SidesChoice(untried=f"the model fails on numbers that were drawn for it: {error}")
        return _saved(tuner, choice, watch.assembly(Sides()))
    keep(network, key, choice)
    return _saved(tuner, choice, watch.assembly(choice.sides))


def _saved(tuner: Tuner | None, choice: SidesChoice, assembly: Assembly) -> tuple[SidesChoice, Assembly]:
    if tuner is not None:
        tuner.save()
    return choice, assembly


def _drawn(spec: InputSpec) -> Tensor:
    """A picture, or whole numbers that are places in any table."""
    dtype = spec.dtype or torch.float32
    shape = (1, *spec.shape)
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(shape, generator=generator).to(dtype)
