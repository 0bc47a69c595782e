"""The networks that ``ground.py`` has runtimes compute: small structures, and the digits network as it is pruned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def structures() -> dict[str, Any]:
    """Structure to network; all read 3 x 17 x 19."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Own(nn.Module):
        def __init__(self, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.function = function

        def forward(self, picture: Any) -> Any:
            return self.function(picture)

    class Masked(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(3, 14, 3, padding=1)
            self.register_buffer("mask", (torch.rand(14, 3, 3, 3) > 0.5).float())

        def forward(self, picture: Any) -> Any:
            return nn.functional.conv2d(picture, self.weight * self.mask, self.bias, padding=1)

    def norm(channels: int) -> nn.BatchNorm2d:
        made = nn.BatchNorm2d(channels)
        nn.init.uniform_(made.weight, 0.5, 2)
        nn.init.normal_(made.bias)
        nn.init.normal_(made.running_mean)
        nn.init.uniform_(made.running_var, 0.5, 2)
        return made

    def zeros(layer: nn.Conv2d) -> nn.Conv2d:
        layer.weight.data *= (torch.rand_like(layer.weight) > 0.9).float()
        return layer

    same = {"padding": 1}
    dead = nn.Conv2d(3, 13, 3, **same)
    dead.weight.data[::2] = 0
    pad = nn.functional.pad
    return {
        "13 channels of 3": nn.Conv2d(3, 13, 3, **same),
        "13 read, 11 written": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.ReLU(), nn.Conv2d(13, 11, 3, **same)),
        "90 % zeros": zeros(nn.Conv2d(3, 16, 3, **same)),
        "channels of zeros": dead,
        "live mask": Masked(),
        "7 groups of 2": nn.Sequential(nn.Conv2d(3, 14, 1), nn.Conv2d(14, 14, 3, padding=1, groups=7)),
        "depthwise, 13": nn.Sequential(nn.Conv2d(3, 13, 1), nn.Conv2d(13, 13, 5, padding=2, stride=2, groups=13)),
        "BatchNorm first": nn.Sequential(norm(3), nn.Conv2d(3, 13, 3, **same)),
        "BatchNorm behind SiLU": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.SiLU(), norm(13)),
        "BatchNorm behind LeakyReLU": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.LeakyReLU(0.1), norm(13)),
        "Mish": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.Mish()),
        "pooling padded with -inf": Own(lambda x: nn.functional.max_pool2d(pad(x, (0, 1, 0, 1), value=-np.inf), 2, 1)),
        "pooling that rounds up": nn.MaxPool2d(2, 2, ceil_mode=True),
        "pooling of 5, 9, 13": Own(
            lambda x: torch.cat([x, *(nn.functional.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], 1)
        ),
        "average of what is not padding": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        "dilation 2": nn.Conv2d(3, 13, 3, dilation=2, padding=2),
        "transposed, 3 to 5": nn.ConvTranspose2d(3, 5, 2, 2),
        "upsampling": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.Upsample(scale_factor=2)),
        "shuffle of 14": nn.Sequential(nn.Conv2d(3, 14, 1), nn.ChannelShuffle(7), nn.Conv2d(14, 5, 1)),
        "chosen channels": nn.Sequential(nn.Conv2d(3, 13, 1), Own(lambda x: x[:, [0, 2, 3, 7, 11]])),
    }


DIGITS = ("digits", "digits, half of its channels", "digits, 90 % zeros")


def write_digits(folder: Path) -> None:
    """The digits network, with half of its channels, and masked, as Sapwood has them; and a picture of its data."""
    import torch
    from torch.nn.utils import prune

    import sapwood

    folder.mkdir(parents=True, exist_ok=True)
    dense, half, masked = (sapwood.load_model(f"builtin:{name}").model for name in ("digits", "digits-half", "digits"))
    picture = torch.rand(1, *dense.input_shape, generator=torch.Generator().manual_seed(2))
    slots = [(layer, "weight") for layer in masked.modules() if isinstance(layer, torch.nn.Conv2d)]
    prune.global_unstructured(slots, prune.L1Unstructured, amount=0.9)
    for slot in slots:
        prune.remove(*slot)
    for name, network in zip(DIGITS, (dense, half, masked), strict=True):
        torch.export.save(torch.export.export(network.eval(), (picture,)), folder / f"{name}.pt2")
    np.save(folder / "digits.npy", picture.numpy())


def digits(folder: Path) -> dict[str, Any]:
    """Name to network; the maps of both heads are one row of numbers."""
    import torch

    class Row(torch.nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, picture: Any) -> Any:
            return torch.cat([head.flatten(1) for head in self.network(picture)], 1)

        def eval(self) -> Any:  # what was exported is in evaluation already, and refuses to be told
            return self

    return {name: Row(torch.export.load(folder / f"{name}.pt2").module()) for name in DIGITS}


def two_outputs() -> Any:
    """A network of two maps, as detectors are."""
    import torch
    from torch import nn

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 13, 3, padding=1), nn.Conv2d(13, 5, 3, stride=2)

        def forward(self, picture: Any) -> Any:
            fine = torch.relu(self.first(picture))
            return fine, self.second(fine)

    return Two().eval()
