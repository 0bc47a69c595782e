"""What the two roads through transformers share (`transformers_pictures.py`, `transformers_text.py`).

The dense network is a folder that transformers' own Trainer trained; one command of Sapwood's makes a folder of smaller
widths of it, which Trainer trains on in a process without Sapwood, and `from_pretrained` loads.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import roads
import torch
from torch import nn

LATENCY = 0.5
FILE = "model.pt"
NAMED = {
    "dense": "dense",
    "pruned and recovered": "folder",
    "trained on": "tuned",
    "dense, trained on": "dense_tuned",
    "Torch-Pruning, as it is": "peer",
    "Torch-Pruning, trained on": "peer_tuned",
}
"""The folders, by what they are."""
TUNED = {"tune": ("folder", "tuned"), "tune_dense": ("dense", "dense_tuned"), "tune_peer": ("peer", "peer_tuned")}
"""What is trained on, and where that is kept."""
PROJECTIONS = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"))
"""How attention calls its layers."""


@dataclass(frozen=True)
class Road:
    """What a road has of its own.

    Attributes:
        file: The benchmark, which runs again without Sapwood.
        auto: The class of transformers that loads its folders.
        write_data: Writes texts or pictures into a directory.
        make_dense: A network with random weights, as the options say.
        keep: Writes a folder, with what reads its inputs beside it.
        train_set: What Trainer trains on.
        test_set: The inputs, by name, and the labels of what it is judged on.
        inputs: One example, by name.
        recover: The options of `sapwood prune` that say what it recovers from.
        batch: Examples a step of training.
        rates: The largest learning rate from random weights, and of a trained network.
    """

    file: str
    auto: str
    write_data: Callable[[Path], None]
    make_dense: Callable[[Path, argparse.Namespace], nn.Module]
    keep: Callable[[Any, Path, Path], None]
    train_set: Callable[[Path], Any]
    test_set: Callable[[Path], tuple[dict[str, torch.Tensor], torch.Tensor]]
    inputs: Callable[[], dict[str, torch.Tensor]]
    recover: Callable[[Path], Sequence[str]]
    batch: int
    rates: tuple[float, float]


class Logits(nn.Module):
    """What is timed."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network.eval()
        self.names = names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(**dict(zip(self.names, values, strict=True))).logits
        return found


def bundle_of(road: Road, network: nn.Module) -> Any:
    from sapwood.types import ModelBundle, ModelSource, TaskSpec

    example = road.inputs()
    timed = Logits(network, tuple(example))
    return ModelBundle(timed, tuple(example.values()), TaskSpec("none"), ModelSource(road.auto, "session"))


def train_(road: Road, model: Any, directory: Path, epochs: int, rate: float) -> None:
    """transformers' Trainer."""
    from transformers import Trainer, TrainingArguments

    chosen = TrainingArguments(
        output_dir=str(directory / "runs"), per_device_train_batch_size=road.batch, num_train_epochs=epochs, seed=0,
        learning_rate=rate, lr_scheduler_type="cosine", warmup_steps=100, weight_decay=0.05, max_grad_norm=1.0,
        save_strategy="no", report_to=[], use_cpu=True, logging_steps=100, disable_tqdm=True,
    )  # fmt: skip
    with roads.seconds(f"training, {epochs} epochs"):
        Trainer(model, chosen, train_dataset=road.train_set(directory)).train()
    model.eval()


def read(road: Road, directory: Path, name: str) -> Any:
    """A folder by transformers alone; Torch-Pruning's, whose widths no config says, is a pickle."""
    import transformers

    folder = directory / name
    if (folder / FILE).exists():
        return torch.load(folder / FILE, weights_only=False).eval()
    return getattr(transformers, road.auto).from_pretrained(folder).eval()


def keep(road: Road, model: Any, directory: Path, name: str) -> None:
    """As `read` reads it."""
    if name.startswith("peer"):
        (directory / name).mkdir(exist_ok=True)
        torch.save(model, directory / name / FILE)
    else:
        road.keep(model, directory / name, directory)


def prune(road: Road, directory: Path) -> None:
    """One command, and one for the folder."""
    roads.command(
        "prune", f"transformers:{directory / 'dense'}", "--latency", str(LATENCY), "--runtime", "onnxruntime",
        "--threads", "1", "--as-config", *road.recover(directory), "-o", str(directory / "small"),
    )  # fmt: skip
    shutil.rmtree(directory / "folder", ignore_errors=True)
    roads.command("export", str(directory / "small"), "--format", "transformers", "-o", str(directory / "folder"))


def make_peer(road: Road, directory: Path) -> None:
    """Torch-Pruning's: head width, inner and hidden size by one ratio; the classifier keeps its classes."""

    def model() -> tuple[Any, list[Any]]:
        network = read(road, directory, "dense")
        return network, [network.classifier]

    def bundle(network: nn.Module) -> Any:
        return bundle_of(road, network)

    made = roads.torch_pruned(model, road.inputs(), bundle, LATENCY, of=heads_of, after=follow_)
    keep(road, made, directory, "peer")


def projections(network: nn.Module) -> list[tuple[Any, list[nn.Linear]]]:
    """Every attention of a network, and what it projects by."""
    return [
        (module, [getattr(module, name) for name in names])
        for module in network.modules()
        for names in PROJECTIONS
        if hasattr(module, names[0])
    ]


def heads_of(network: nn.Module) -> dict[str, Any]:
    """How many heads each projection has, as its pruner wants to know it."""
    heads = {layer: module.num_attention_heads for module, layers in projections(network) for layer in layers}
    return {"num_heads": heads, "prune_head_dims": True, "output_transform": lambda found: found.logits.sum()}


def follow_(network: nn.Module) -> None:
    """The numbers of the code that its users set by hand."""
    for module, layers in projections(network):
        width = layers[0].out_features // module.num_attention_heads
        named = {"head_dim": width, "attention_head_size": width, "all_head_size": layers[0].out_features}
        for name, value in named.items():
            if hasattr(module, name):
                setattr(module, name, value)


def figures_alone(road: Road, directory: Path) -> None:
    """Top-1 of all, in a process that has no Sapwood."""
    inputs, labels = road.test_set(directory)
    for name, folder in NAMED.items():
        if not (directory / folder).exists():
            print(f"{name}: there is no {folder}")
            continue
        model = read(road, directory, folder)
        with torch.no_grad():
            parts = [
                model(**{one: value[first : first + 100] for one, value in inputs.items()}).logits.argmax(1)
                for first in range(0, len(labels), 100)
            ]
        right = (torch.cat(parts) == labels).float().mean()
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name}: top-1 {right:.3f} of {len(labels)}, {count / 1e6:.2f} M parameters", flush=True)


def latencies(road: Road, directory: Path) -> None:
    """Of those that were trained on, over the dense one's."""
    import sapwood

    def look(name: str) -> tuple[Any, int]:
        bundle = bundle_of(road, read(road, directory, NAMED[name]))
        return bundle, sapwood.count_macs(bundle.model, bundle.example_inputs).total

    dense, macs = look("dense")
    for name in ("trained on", "Torch-Pruning, trained on"):
        if (directory / NAMED[name]).exists():
            small, left = look(name)
            ratio = roads.ratio_of(dense, small, 300)
            print(f"{name}: {ratio:.3f} of the dense latency, {100 * left / macs:.0f} % of the MACs", flush=True)


def inside(road: Road, what: str, directory: Path, given: argparse.Namespace) -> None:
    """The steps that run in a process without Sapwood."""
    first, later = road.rates
    if what == "train":
        model = road.make_dense(directory, given)
        train_(road, model, directory, given.epochs, first)
        keep(road, model, directory, "dense")
    elif what in TUNED:
        name, to = TUNED[what]
        model = read(road, directory, name)
        train_(road, model, directory, given.tune_epochs, later)
        keep(road, model, directory, to)
    else:
        figures_alone(road, directory)


def go(road: Road, parser: argparse.ArgumentParser) -> None:
    """Reads the options, and goes the steps that they name."""
    parser.add_argument("--tune-dense", action="store_true", help="Train the dense network on as long, too")
    parser.add_argument("--inside", choices=("train", *TUNED, "figures"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    directory: Path = given.directory
    if given.inside:
        inside(road, given.inside, directory, given)
        return

    def alone(what: str) -> None:
        own = ("what", "directory", "inside", "tune_dense")
        options = [f"--{name.replace('_', '-')}={value}" for name, value in vars(given).items() if name not in own]
        roads.without_sapwood(road.file, "all", str(directory), "--inside", what, *options)

    def tune() -> None:
        alone("tune")
        if given.tune_dense:
            alone("tune_dense")

    def peer() -> None:
        make_peer(road, directory)
        alone("tune_peer")

    def figures() -> None:
        alone("figures")
        latencies(road, directory)

    does: dict[str, Callable[[], None]] = {
        "data": lambda: road.write_data(directory),
        "train": lambda: alone("train"),
        "prune": lambda: prune(road, directory),
        "tune": tune,
        "peer": peer,
        "figures": figures,
    }
    for step in roads.STEPS if given.what == "all" else (given.what,):
        does[step]()
