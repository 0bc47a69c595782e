"""A DeiT that Trainer trained on CIFAR-10 pictures, pruned to widths that its config says, and trained on.

    python benchmarks/transformers_pictures.py all DIR         # the steps below, one after the other

    python benchmarks/transformers_pictures.py data DIR        # pictures, a folder a class
    python benchmarks/transformers_pictures.py train DIR       # DIR/dense, a folder of transformers
    python benchmarks/transformers_pictures.py prune DIR       # DIR/small: half of ONNX Runtime's latency, no labels
    python benchmarks/transformers_pictures.py tune DIR        # DIR/tuned, by transformers' Trainer without Sapwood
    python benchmarks/transformers_pictures.py peer DIR        # Torch-Pruning's, of the same latency, trained as long
    python benchmarks/transformers_pictures.py figures DIR     # top-1 without Sapwood; latencies beside each other

Width and heads are DeiT-tiny's (192, 3); half of its 12 layers unless --layers says more, and patches of 8 px.
Needs $SAPWOOD_DATA, `pip install sapwood[onnx,transformers]` and, for `peer`, torch-pruning; nothing is
downloaded.
"""

from __future__ import annotations

import argparse
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roads
import roads_transformers

SIZE, PATCH = 32, 8
PER_CLASS = {"train": 2000, "test": 200}


def write_data(directory: Path) -> None:
    """Unpacks the first pictures of each class, of the train and of the test pictures."""
    taken: dict[tuple[str, str], int] = {}
    with zipfile.ZipFile(Path(os.environ["SAPWOOD_DATA"]) / "cifar10" / "cifar10-jpeg.zip") as archive:
        for name in sorted(archive.namelist()):
            parts = name.split("/")
            if name.endswith(".jpg") and taken.get((parts[0], parts[1]), 0) < PER_CLASS[parts[0]]:
                taken[parts[0], parts[1]] = taken.get((parts[0], parts[1]), 0) + 1
                archive.extract(name, directory / "pictures")


class Pictures(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Pictures in [-1, 1] with their labels; those to train with are moved by up to 4 px and mirrored."""

    def __init__(self, folder: Path, moved: bool) -> None:
        self.names = sorted(entry.name for entry in folder.iterdir())
        files = [(file, label) for label, name in enumerate(self.names) for file in sorted((folder / name).iterdir())]
        self.pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in files]))
        self.labels = torch.tensor([label for _, label in files])
        self.moved = moved

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        picture = self.pixels[index].permute(2, 0, 1) / 127.5 - 1
        if self.moved:
            top, left, mirrored = (int(torch.randint(limit, ())) for limit in (9, 9, 2))
            picture = nn.functional.pad(picture, (4, 4, 4, 4))[:, top : top + SIZE, left : left + SIZE]
            picture = picture.flip(-1) if mirrored else picture
        return {"pixel_values": picture, "labels": self.labels[index]}


def make_dense(directory: Path, given: argparse.Namespace) -> nn.Module:
    import transformers

    torch.manual_seed(0)
    names = sorted(entry.name for entry in (directory / "pictures" / "train").iterdir())
    config = transformers.DeiTConfig(
        hidden_size=192, num_hidden_layers=given.layers, num_attention_heads=3, intermediate_size=768, image_size=SIZE,
        patch_size=PATCH, id2label=dict(enumerate(names)), label2id={name: label for label, name in enumerate(names)},
    )  # fmt: skip
    made: nn.Module = transformers.DeiTForImageClassification(config)
    return made


def keep(model: Any, folder: Path, directory: Path) -> None:
    """An ordinary folder, its image processor beside it."""
    import transformers

    model.save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    size = {"height": SIZE, "width": SIZE}
    transformers.ViTImageProcessor(size=size, image_mean=half, image_std=half).save_pretrained(folder)


def test_set(directory: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    pictures = Pictures(directory / "pictures" / "test", moved=False)
    pixels = torch.stack([pictures[index]["pixel_values"] for index in range(len(pictures))])
    return {"pixel_values": pixels}, pictures.labels


ROAD = roads_transformers.Road(
    file=__file__,
    auto="AutoModelForImageClassification",
    write_data=write_data,
    make_dense=make_dense,
    keep=keep,
    train_set=lambda directory: Pictures(directory / "pictures" / "train", moved=True),
    test_set=test_set,
    inputs=lambda: {"pixel_values": torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))},
    recover=lambda directory: (
        "--data", str(directory / "pictures"), "--recover", "distill", "--recover-steps", "100",
    ),
    batch=64,
    rates=(1e-3, 3e-4),
)  # fmt: skip


def main() -> None:
    parser = roads.parser(__doc__, epochs=10, tune_epochs=3)
    parser.add_argument("--layers", type=int, default=6)
    roads_transformers.go(ROAD, parser)


if __name__ == "__main__":
    main()
