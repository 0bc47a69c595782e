"""The ResNets of the CIFAR-10 benchmarks, as factories for `sapwood`'s command line and for the other benchmarks.

    cd benchmarks
    sapwood eval cifar:resnet56 --weights resnet56-jpeg.pt --data CIFAR10 --split test

`python benchmarks/cifar.py cifar10-jpeg.zip CIFAR10` unpacks the pictures into a folder a class.

Architecture: He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385, section 4.2, with
shortcuts that pad with zeros (option A).
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.types import ModelBundle, ModelSource, TaskSpec

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.extra = width - width_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            before = self.extra // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """Three stages of `depth` blocks each, of 16, 32 and 64 channels."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, depth, 1)
        self.layer2 = stage(16, 32, depth, 2)
        self.layer3 = stage(32, 64, depth, 2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def stage(width_in: int, width: int, depth: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *(BasicBlock(width if number else width_in, width, 1 if number else stride) for number in range(depth))
    )


def bundle(depth: int, name: str) -> ModelBundle:
    task = TaskSpec(
        kind="classification",
        input_size=(32, 32),
        class_names=CLASSES,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    return ModelBundle(CifarResNet(depth).eval(), torch.randn(1, 3, 32, 32), task, ModelSource(name, "factory"))


def resnet20() -> ModelBundle:
    return bundle(3, "cifar:resnet20")


def resnet56() -> ModelBundle:
    return bundle(9, "cifar:resnet56")


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpacks the pictures, unless they are there."""
    folder = Path(folder)
    if not (folder / "test").is_dir():
        with zipfile.ZipFile(archive) as pictures:
            pictures.extractall(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("folder")
    options = parser.parse_args()
    unpack(options.archive, options.folder)
    print(f"{options.folder}: {sum(1 for _ in Path(options.folder).rglob('*.jpg'))} pictures")
