"""Random small networks: a description that Hypothesis draws, shrinks and prints, and the module that it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import support.random_tokens  # noqa: F401  (adds its blocks to the list)
from support.random_blocks import BLOCKS, WIDEST, Choices, Shape, conv

INPUT = Shape(3, 8)
Read = tuple[int, ...]
HEADS = ("mean", "flatten", "map")


@dataclass(frozen=True)
class Step:
    """One block.

    Attributes:
        kind: Of :data:`BLOCKS`, or ``"residual"`` or ``"concat"``.
        choices: What picks its options.
        back: How many maps before the last one it reads (``"concat"``: how many maps it tries to join).
        inside: Of a residual block: what is added.
    """

    kind: str
    choices: tuple[int, ...] = ()
    back: int = 0
    inside: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Description:
    """A network; ``build(description)`` makes the same one every time.

    Attributes:
        seed: Of its values.
        steps: Its blocks.
        heads: A kind of head and how many maps before the last one it reads, one an output.
    """

    seed: int
    steps: tuple[Step, ...]
    heads: tuple[tuple[str, int], ...]


class Residual(nn.Module):
    """Adds what is inside to its input, brought to the same shape where that differs."""

    def __init__(self, inside: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.inside, self.shortcut = inside, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x) + self.shortcut(x)


class Concat(nn.Module):
    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, 1)


class Network(nn.Module):
    """Blocks that read earlier maps, and heads."""

    def __init__(self, blocks: list[nn.Module], reads: list[Read], heads: list[nn.Module], of: list[Read]) -> None:
        super().__init__()
        self.blocks, self.heads = nn.ModuleList(blocks), nn.ModuleList(heads)
        self.reads, self.head_reads = tuple(reads), tuple(of)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = [x]
        for block, read in zip(self.blocks, self.reads, strict=True):
            maps.append(block(*(maps[number] for number in read)))
        return tuple(head(maps[number]) for head, (number,) in zip(self.heads, self.head_reads, strict=True))


def build(description: Description) -> nn.Module:
    """The network, in evaluation mode and float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(description.seed)
        shapes: list[Shape] = [INPUT]
        blocks: list[nn.Module] = []
        reads: list[Read] = []
        for step in description.steps:
            reads.append(_reads(step, shapes))
            module, made = _block(step, [shapes[number] for number in reads[-1]])
            blocks.append(module)
            shapes.append(made)
        of = [(max(len(shapes) - 1 - back, 0),) for _, back in description.heads]
        heads = [_head(kind, shapes[number]) for (kind, _), (number,) in zip(description.heads, of, strict=True)]
        return _lively(Network(blocks, reads, heads, of)).eval()


def _reads(step: Step, shapes: list[Shape]) -> Read:
    """Which maps a step reads."""
    last = len(shapes) - 1
    if step.kind != "concat":
        return (max(last - step.back, 0),)
    same = [number for number, shape in enumerate(shapes) if shape.size == shapes[last].size]
    joined: list[int] = []
    for number in reversed(same[-step.back - 1 :]):
        if not joined or sum(shapes[other].channels for other in [*joined, number]) <= WIDEST:
            joined.append(number)
    return tuple(joined)


def _block(step: Step, shapes: list[Shape]) -> tuple[nn.Module, Shape]:
    shape = shapes[0]
    if step.kind == "concat":
        return Concat(), Shape(sum(one.channels for one in shapes), shape.size)
    if step.kind != "residual":
        return BLOCKS[step.kind](shape, Choices(step.choices))
    inside: list[nn.Module] = []
    made = shape
    for inner in step.inside:
        module, made = _block(inner, [made])
        inside.append(module)
    shortcut: nn.Module = nn.Identity()
    if made.size != shape.size:
        shortcut = nn.AdaptiveAvgPool2d(made.size)
    if made.channels != shape.channels:
        shortcut = nn.Sequential(shortcut, conv(shape.channels, made.channels, 1))
    return Residual(nn.Sequential(*inside), shortcut), made


def _head(kind: str, shape: Shape) -> nn.Module:
    if kind == "map":
        return conv(shape.channels, 5, 1)
    if kind == "flatten":
        return nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.size**2, 5))
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(shape.channels, 5))


def _lively(model: nn.Module) -> nn.Module:
    """Values with which nothing is one, zero or equal by default, and nothing grows."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2 or parameter[0].numel() == 1:
                parameter.uniform_(0.3, 1.2)
            else:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5)
        for name, buffer in model.named_buffers():
            if buffer.dtype.is_floating_point:
                buffer.uniform_(0.5, 1.5) if name.endswith("var") else buffer.normal_(0.0, 0.3)
    return model


def steps(depth: int = 2) -> st.SearchStrategy[Step]:
    """One step; residual blocks hold others, ``depth`` deep."""
    choices = st.lists(st.integers(0, 11), min_size=9, max_size=9).map(tuple)
    plain = st.builds(Step, st.sampled_from(["convolution", *BLOCKS]), choices, st.sampled_from((0, 0, 0, 1, 2)))
    if not depth:
        return plain
    inside = st.lists(steps(depth - 1), min_size=1, max_size=2).map(tuple)
    residual = st.builds(Step, st.just("residual"), back=st.integers(0, 1), inside=inside)
    return st.one_of(plain, plain, plain, residual)


def descriptions(most_steps: int = 7) -> st.SearchStrategy[Description]:
    """Networks of one to ``most_steps`` blocks with one to three heads."""
    concat = st.builds(Step, st.just("concat"), back=st.integers(1, 3))
    whole = st.lists(st.one_of(steps(), steps(), steps(), concat), min_size=1, max_size=most_steps).map(tuple)
    head: Any = st.tuples(st.sampled_from(HEADS), st.integers(0, 2))
    heads = st.lists(head, min_size=1, max_size=3).map(lambda found: ((found[0][0], 0), *found[1:]))
    return st.builds(Description, st.integers(0, 999), whole, heads)
