"""A tiny model around an operator: layers with channels before, one that reads them after; and what to call it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 8
CONVS: Mapping[str, type[nn.Module]] = {"line": nn.Conv1d, "map": nn.Conv2d, "volume": nn.Conv3d}
SHAPES = {
    "line": (2, 3, 8), "map": (2, 3, 4, 4), "volume": (2, 3, 4, 4, 4),
    "heads": (2, 2, 6, 3), "rows": (2, 6, 3), "matrix": (6, 3), "vector": (3,),
}  # fmt: skip
"""The input by what the layers before make of it; channels come second where they are convolutions, last elsewhere."""


class Scene(nn.Module):
    """An operator between four layers, of which it takes as many as it needs, and one that reads what it makes."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout
        self.before = nn.ModuleList(self._layer() for _ in range(4))
        self.own = nn.ParameterDict()
        self.call: Callable[[Scene], Any] = made
        self.read: Callable[[Scene, Any], Any] = read
        self.most = 0
        self.forget()

    def _layer(self) -> nn.Module:
        layer = CONVS[self.layout](3, CHANNELS, 1) if self.layout in CONVS else nn.Linear(3, CHANNELS)
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, 0.1, 1.0)
        return layer

    def forget(self) -> None:
        """Lets go of what a run left."""
        self.used, self.x, self.last = 0, torch.empty(0), torch.empty(0)

    def parameter(self, name: str, *shape: int) -> Tensor:
        """A parameter beside the operator, made when it is first asked for."""
        if name not in self.own:
            self.own[name] = nn.Parameter(torch.rand(shape, dtype=self.x.dtype) + 0.1)
        return self.own[name]

    def forward(self, x: Tensor) -> Any:
        self.used, self.x = 0, x
        outputs = self.read(self, self.call(self))
        self.most = self.used
        self.forget()
        return outputs


def made(scene: Scene) -> Tensor:
    """What the next layer makes of the input: positive numbers around 1."""
    scene.used += 1
    scene.last = scene.before[scene.used - 1](scene.x)
    return scene.last


def read(scene: Scene, result: Any) -> Tensor:
    """What the layer after makes of the first tensor that an operator returned."""
    first = (
        next((leaf for leaf in result if isinstance(leaf, Tensor)), None)
        if isinstance(result, (tuple, list))
        else result
    )
    if not isinstance(first, Tensor):
        return read(scene, made(scene) * (0.5 + (0.0 if first is None else float(first))))
    if not first.is_floating_point():
        first = first.to(scene.x.dtype) + 0.5
    if first.dim() < 2 and scene.layout in CONVS:
        return read(scene, first.sum() * made(scene))
    if first.dim() < 3 or scene.layout not in CONVS:
        return F.linear(first, scene.parameter("after", 5, first.shape[-1])) if first.dim() else first
    return F.conv1d(first.flatten(2), scene.parameter("after", 5, first.shape[1], 1))


def positive(scene: Scene) -> Tensor:
    return made(scene) > 1.5


def below_one(scene: Scene) -> Tensor:
    return made(scene).sigmoid()


def parameter(name: str, *shape: int) -> Callable[[Scene], Tensor]:
    return lambda scene: scene.parameter(name, *shape)


def numbers(*values: Any) -> Callable[[Scene], Tensor]:
    """An index, made on the fly."""
    return lambda scene: torch.tensor(values)


@dataclass(frozen=True)
class Number:
    """A number, or a tensor without dimensions that holds it, as the form of the operator wants."""

    value: float


def several(scene: Scene) -> list[Tensor]:
    return [made(scene), made(scene)]


def short(scene: Scene) -> Tensor:
    """A map of height 1."""
    return made(scene)[:, :, :1]


def shape(scene: Scene) -> list[int]:
    return list(made(scene).shape)


def wide(scene: Scene) -> int:
    """As many as there are channels."""
    return scene.last.shape[1]


def half(scene: Scene) -> int:
    return scene.last.shape[1] // 2


def filled(scene: Scene, result: Any) -> Tensor:
    """Memory that is only taken holds anything."""
    return read(scene, result.fill_(0.5) * made(scene))


def met(scene: Scene, result: Any) -> Tensor:
    """A tensor of numbers meets what a layer makes."""
    return read(scene, result * made(scene))


def added(scene: Scene, result: Any) -> Tensor:
    """What is zero is added, so that something is left."""
    return read(scene, result + made(scene))


def summed(scene: Scene, result: Any) -> Tensor:
    return read(scene, result.sum() * made(scene))


def halves(scene: Scene, result: Any) -> Tensor:
    return read(scene, result[0] * result[1])
