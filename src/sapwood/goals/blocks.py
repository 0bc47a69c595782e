"""Which residual blocks go: those that are named, or those without which the outputs change least."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError, MeasureError
from sapwood.goals.block_budget import AUTO, ONLY
from sapwood.goals.targets import Calibration
from sapwood.graph import Outputs, counting, output_tensors, run_model
from sapwood.models import apply_plan, copy_model
from sapwood.removal import Removables
from sapwood.types import ExampleInputs

Depth: TypeAlias = "bool | int | float | str | Sequence[str]"
"""Which blocks go: so many, a fraction of those that can, names or globs, or as the target asks (:data:`AUTO` beside
channels, :data:`ONLY` without); none where False."""

Measure: TypeAlias = Callable[[nn.Module], float]
"""A figure of a model; less is better."""

EXPECTED = "how many blocks, a fraction of them in (0, 1), names of blocks, 'auto' or 'only'"

SAMPLES = 32
"""Samples, at most, on which blocks are judged."""


def check_depth(depth: object) -> None:
    """Checks what was asked for.

    Raises:
        ConfigError: If it is no such thing.
    """
    if depth is False:
        return
    number = isinstance(depth, int) and depth >= 1 and depth is not True
    share = isinstance(depth, float) and 0.0 < depth < 1.0
    names = [depth] if isinstance(depth, str) else depth
    listed = isinstance(names, (list, tuple)) and bool(names) and all(isinstance(one, str) and one for one in names)
    if not (number or share or listed):
        raise ConfigError(f"depth {depth!r}; expected {EXPECTED}")


def by_budget(depth: object) -> bool:
    """Whether a target says which blocks go."""
    return isinstance(depth, str) and depth in {AUTO, ONLY}


def blocks_to_remove(blocks: Removables, depth: int | float | str | Sequence[str], measure: Measure) -> tuple[str, ...]:
    """The names of the blocks that go, in the order of the model.

    Args:
        blocks: Of the model.
        depth: How many, a fraction of those that can, or names.
        measure: How far a model's outputs are from the dense one's; not asked where blocks are named.

    Raises:
        ConfigError: If there are not so many, or a name is of none that can go; says why.
    """
    if isinstance(depth, (str, list, tuple)):
        return named_blocks(blocks, [depth] if isinstance(depth, str) else depth)
    able = len(blocks.found)
    count = round(depth * able) if isinstance(depth, float) else int(depth)  # type: ignore[arg-type]
    if count > able or not able:
        raise ConfigError(f"depth {depth}: {able} residual blocks can go{why_none(blocks)}; expected at most as many")
    return least_harmful(blocks, count, measure)


def named_blocks(blocks: Removables, patterns: Iterable[str]) -> tuple[str, ...]:
    """The blocks that patterns name: by their own names, or by a module that they are in.

    Raises:
        ConfigError: If one names none, or one that cannot go; says why.
    """
    names = [block.name for block in blocks.found]
    found: set[str] = set()
    for pattern in patterns:
        stays = {name: why for name, why in blocks.refused.items() if _is_named(name, pattern)}
        own = {name for name in names if _is_named(name, pattern)}
        if not own and stays:
            name, why = next(iter(stays.items()))
            raise ConfigError(f"depth {pattern!r}: {name} cannot go: {why}")
        if not own:
            known = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise ConfigError(f"depth {pattern!r} names no residual block; expected one of: {known or 'none'}")
        found |= own
    return tuple(name for name in names if name in found)


def least_harmful(blocks: Removables, count: int, measure: Measure) -> tuple[str, ...]:
    """So many blocks, one after the other the one without which the model suffers least, the others being gone."""
    gone: list[str] = []
    left = [block.name for block in blocks.found]
    for _ in range(count):
        harms = {name: harm_without(blocks, [*gone, name], measure) for name in left}
        best = min(left, key=lambda name: harms[name])
        gone.append(best)
        left.remove(best)
    return tuple(block.name for block in blocks.found if block.name in gone)


def harm_without(blocks: Removables, names: Sequence[str], measure: Measure) -> float:
    """The figure of the model without some blocks; more than any other where it is not finite, or not all can go."""
    harm = math.inf
    with torch.no_grad(), suppress(ConfigError):
        harm = float(measure(apply_plan(blocks.model, blocks.plan(names)).eval()))
    return harm if math.isfinite(harm) else float(torch.finfo(torch.float32).max)


def change_of_outputs(
    model: nn.Module, inputs: ExampleInputs, calibration: Calibration | None, outputs: Outputs | None = None
) -> Measure:
    r"""Returns what measures how far a model's outputs are from those of ``model``, as a fraction of these.

    .. math:: \sqrt{\sum_i (y_i - y^{dense}_i)^2 / \sum_i (y^{dense}_i)^2}

    over all finite floating-point outputs that count, on the samples of ``calibration``, at most :data:`SAMPLES`, or
    on the example inputs without any.

    Raises:
        MeasureError: If the dense model's outputs vanish.
    """
    batches = _batches(inputs, calibration)
    wanted = [_outputs(copy_model(model).eval(), batch, outputs) for batch in batches]
    whole = sum(float(one.square().sum()) for every in wanted for one in every)
    if not whole > 0.0:
        raise MeasureError("the model's outputs are zero on these samples: what a block does to them cannot be told")

    def measure(other: nn.Module) -> float:
        far = 0.0
        for batch, every in zip(batches, wanted, strict=True):
            for one, before in zip(_outputs(other, batch, outputs), every, strict=True):
                if one.shape != before.shape:
                    return float("inf")
                far += float((one - before).square().sum())
        return float((far / whole) ** 0.5)

    return measure


def _batches(inputs: ExampleInputs, calibration: Calibration | None) -> list[Any]:
    """What the model is run on."""
    found: list[Any] = []
    count = 0
    for batch in () if calibration is None else calibration.batches:
        own = getattr(batch, "inputs", None)
        if own is None or count >= SAMPLES:
            break
        found.append(own)
        count += len(own if isinstance(own, Tensor) else next(iter(own.values())))
    return found or [inputs]


def _outputs(model: nn.Module, batch: Any, outputs: Outputs | None) -> list[Tensor]:
    with torch.no_grad():
        result = run_model(model, batch)
    every = zip(output_tensors(result), counting(result, outputs), strict=True)
    found = [one for one, counts in every if counts and one.is_floating_point()]
    return [torch.where(one.isfinite(), one, 0.0).double() for one in found]


def _is_named(name: str, pattern: str) -> bool:
    """Whether a pattern is a block's name, or that of a module that it is in, or a glob of either."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def why_none(blocks: Removables) -> str:
    """Why others cannot, for messages; empty where there are no others."""
    if not blocks.refused:
        return ""
    name, why = next(iter(blocks.refused.items()))
    return f", {len(blocks.refused)} cannot ({name}: {why})"
