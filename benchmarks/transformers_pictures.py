"""A DeiT that Trainer trained on CIFAR-10 pictures, pruned to widths that its config says, and trained on.

    python benchmarks/transformers_pictures.py all DIR         # the steps below, one after the other

    python benchmarks/transformers_pictures.py data DIR        # pictures, a folder a class
    python benchmarks/transformers_pictures.py train DIR       # DIR/dense, a folder of transformers
    python benchmarks/transformers_pictures.py prune DIR       # DIR/small: half of ONNX Runtime's latency, no labels
    python benchmarks/transformers_pictures.py tune DIR        # DIR/tuned, by transformers' Trainer without Sapwood
    python benchmarks/transformers_pictures.py peer DIR        # Torch-Pruning's, of the same latency, trained as long
    python benchmarks/transformers_pictures.py figures DIR     # top-1 without Sapwood; latencies beside each other

Width and heads are DeiT-tiny's (192, 3); half of its 12 layers unless --layers says more, and patches of 8 px.
Needs $SAPWOOD_DATA, `pip install sapwood[onnx,transformers] accelerate` and, for `peer`, torch-pruning; nothing is
downloaded.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roads

SIZE, PATCH = 32, 8
LATENCY = 0.5
PER_CLASS = {"train": 2000, "test": 200}
FILE = "model.pt"


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


def train_(model: Any, directory: Path, epochs: int, rate: float) -> None:
    """transformers' Trainer."""
    from transformers import Trainer, TrainingArguments

    chosen = TrainingArguments(
        output_dir=str(directory / "runs"), per_device_train_batch_size=64, num_train_epochs=epochs, seed=0,
        learning_rate=rate, lr_scheduler_type="cosine", warmup_steps=100, weight_decay=0.05, max_grad_norm=1.0,
        save_strategy="no", report_to=[], use_cpu=True, logging_steps=100, disable_tqdm=True,
    )  # fmt: skip
    with roads.seconds(f"training, {epochs} epochs"):
        Trainer(model, chosen, train_dataset=Pictures(directory / "pictures" / "train", moved=True)).train()
    model.eval()


def make_dense(directory: Path, layers: int) -> Any:
    import transformers

    torch.manual_seed(0)
    names = sorted(entry.name for entry in (directory / "pictures" / "train").iterdir())
    config = transformers.DeiTConfig(
        hidden_size=192, num_hidden_layers=layers, num_attention_heads=3, intermediate_size=768, image_size=SIZE,
        patch_size=PATCH, id2label=dict(enumerate(names)), label2id={name: label for label, name in enumerate(names)},
    )  # fmt: skip
    return transformers.DeiTForImageClassification(config)


def keep(model: Any, folder: Path) -> None:
    """An ordinary folder, its image processor beside it."""
    import transformers

    model.save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    size = {"height": SIZE, "width": SIZE}
    transformers.ViTImageProcessor(size=size, image_mean=half, image_std=half).save_pretrained(folder)


def read(directory: Path, name: str) -> Any:
    """A folder by transformers alone; Torch-Pruning's, whose widths no config says, is a pickle."""
    import transformers

    folder = directory / name
    if (folder / FILE).exists():
        return torch.load(folder / FILE, weights_only=False).eval()
    return transformers.AutoModelForImageClassification.from_pretrained(folder).eval()


def prune(directory: Path) -> None:
    """One command, and one for the folder."""
    roads.command(
        "prune", f"transformers:{directory / 'dense'}", "--data", str(directory / "pictures"), "--latency",
        str(LATENCY), "--runtime", "onnxruntime", "--threads", "1", "--as-config", "--recover", "distill",
        "--recover-steps", "100", "-o", str(directory / "small"),
    )  # fmt: skip
    shutil.rmtree(directory / "folder", ignore_errors=True)
    roads.command("export", str(directory / "small"), "--format", "transformers", "-o", str(directory / "folder"))


class Logits(nn.Module):
    """What is timed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(pixel_values=pictures).logits
        return found


def bundle_of(network: nn.Module) -> Any:
    from sapwood.types import ModelBundle, ModelSource, TaskSpec

    picture = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return ModelBundle(Logits(network), picture, TaskSpec("none"), ModelSource("DeiT", "session"))


def make_peer(directory: Path) -> None:
    """Torch-Pruning's: head width, inner and hidden size by one ratio; the classifier keeps its classes."""

    def model() -> tuple[Any, list[Any]]:
        network = read(directory, "dense")
        return network, [network.classifier]

    made = roads.torch_pruned(
        model, {"pixel_values": torch.randn(1, 3, SIZE, SIZE)}, bundle_of, LATENCY, of=heads_of, after=follow_
    )
    (directory / "peer").mkdir(exist_ok=True)
    torch.save(made, directory / "peer" / FILE)


def heads_of(network: Any) -> dict[str, Any]:
    """How many heads each projection has, as its pruner wants to know it."""
    heads = {
        layer: module.num_attention_heads
        for module in network.modules()
        if hasattr(module, "q_proj")
        for layer in (module.q_proj, module.k_proj, module.v_proj)
    }
    return {"num_heads": heads, "prune_head_dims": True, "output_transform": lambda found: found.logits.sum()}


def follow_(network: Any) -> None:
    """The numbers of the code that its users set by hand."""
    for module in network.modules():
        if hasattr(module, "q_proj"):
            module.head_dim = module.q_proj.out_features // module.num_attention_heads


def figures_alone(directory: Path) -> None:
    """Top-1 of all, in a process that has no Sapwood."""
    pictures = Pictures(directory / "pictures" / "test", moved=False)
    pixels = torch.stack([pictures[index]["pixel_values"] for index in range(len(pictures))])
    for name, folder in NAMED.items():
        if not (directory / folder).exists():
            print(f"{name}: there is no {folder}")
            continue
        model = read(directory, folder)
        with torch.no_grad():
            found = torch.cat([model(part).logits.argmax(1) for part in pixels.split(100)])
        right = (found == pictures.labels).float().mean()
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name}: top-1 {right:.3f} of {len(pictures)}, {count / 1e6:.2f} M parameters", flush=True)


NAMED = {
    "dense": "dense",
    "pruned and recovered": "folder",
    "trained on": "tuned",
    "Torch-Pruning, trained on": "peer_tuned",
}
"""The folders, by what they are."""


def latencies(directory: Path) -> None:
    dense = bundle_of(read(directory, "dense"))
    for name in ("trained on", "Torch-Pruning, trained on"):
        if (directory / NAMED[name]).exists():
            ratio = roads.ratio_of(dense, bundle_of(read(directory, NAMED[name])), 60)
            print(f"{name}: {ratio:.3f} of the dense latency", flush=True)


def inside(what: str, directory: Path, given: argparse.Namespace) -> None:
    """The steps that run in a process without Sapwood."""
    if what == "train":
        model = make_dense(directory, given.layers)
        train_(model, directory, given.epochs, 1e-3)
        keep(model, directory / "dense")
    elif what == "tune":
        model = read(directory, "folder")
        train_(model, directory, given.tune_epochs, 3e-4)
        keep(model, directory / "tuned")
    elif what == "tune_peer":
        model = read(directory, "peer")
        train_(model, directory, given.tune_epochs, 3e-4)
        (directory / "peer_tuned").mkdir(exist_ok=True)
        torch.save(model, directory / "peer_tuned" / FILE)
    else:
        figures_alone(directory)


def main() -> None:
    parser = roads.parser(__doc__, epochs=10, tune_epochs=3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--inside", choices=("train", "tune", "tune_peer", "figures"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    directory: Path = given.directory
    if given.inside:
        inside(given.inside, directory, given)
        return

    def alone(what: str) -> None:
        counts = ("--layers", given.layers, "--epochs", given.epochs, "--tune-epochs", given.tune_epochs)
        roads.without_sapwood(__file__, "all", str(directory), "--inside", what, *map(str, counts))

    def peer() -> None:
        make_peer(directory)
        alone("tune_peer")

    def figures() -> None:
        alone("figures")
        latencies(directory)

    does: dict[str, Callable[[], None]] = {
        "data": lambda: write_data(directory),
        "train": lambda: alone("train"),
        "prune": lambda: prune(directory),
        "tune": lambda: alone("tune"),
        "peer": peer,
        "figures": figures,
    }
    for step in roads.STEPS if given.what == "all" else (given.what,):
        does[step]()


if __name__ == "__main__":
    main()
