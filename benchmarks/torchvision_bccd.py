"""torchvision's SSDlite, trained on the blood cells by torchvision's own loss, pruned, recovered and trained on.

    python benchmarks/torchvision_bccd.py all DIR         # the steps below, one after the other

    python benchmarks/torchvision_bccd.py data DIR        # the pictures, at 320 px
    python benchmarks/torchvision_bccd.py train DIR       # DIR/dense.pth, from random weights
    python benchmarks/torchvision_bccd.py prune DIR       # DIR/small: half of ONNX Runtime's latency, no labels
    python benchmarks/torchvision_bccd.py tune DIR        # its file, which is torchvision's, trained without Sapwood
    python benchmarks/torchvision_bccd.py peer DIR        # Torch-Pruning's, of the same latency, trained as long
    python benchmarks/torchvision_bccd.py figures DIR     # mAP without Sapwood; latency of all beside each other

Needs $SAPWOOD_DATA, `pip install sapwood[onnx,zoo]` and, for `peer`, torch-pruning. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roads
from torchvision.models import get_model
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, Image

NAME = "ssdlite320_mobilenet_v3_large"
SIZE = 320
LATENCY = 0.5
BATCH = 8

AUGMENT = v2.Compose(
    [
        v2.RandomPhotometricDistort(p=0.5),
        v2.RandomIoUCrop(),
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.Resize((SIZE, SIZE)),
        v2.SanitizeBoundingBoxes(),
        v2.ToDtype(torch.float32, scale=True),
    ]
)
"""That of torchvision's reference for SSDlite, and upside down, which blood cells may be."""


def write_data(directory: Path) -> None:
    """Writes the three splits, pictures stretched to the size of the network with their boxes."""
    from sapwood.data import open_detection

    directory.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        dataset = open_detection(Path(os.environ["SAPWOOD_DATA"]) / "bccd", split=split)
        content["names"] = list(dataset.class_names)
        content[split] = []
        for sample in dataset.samples:
            picture = torch.from_numpy(sample.load()).permute(2, 0, 1)
            height, width = picture.shape[1:]
            scale = torch.tensor([SIZE / width, SIZE / height] * 2)
            small = v2.functional.resize(picture, [SIZE, SIZE])
            content[split].append((small, torch.from_numpy(sample.boxes) * scale, torch.from_numpy(sample.labels) + 1))
    torch.save(content, directory / "data.pt")


def read_data(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(directory / "data.pt", weights_only=True)
    return content


def train_(model: Any, directory: Path, epochs: int, rate: float) -> None:
    """A plain loop of torchvision's losses, over the train pictures."""
    torch.manual_seed(0)
    rows = read_data(directory)["train"]
    steps = math.ceil(len(rows) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps + 1, pct_start=0.1)
    model.to(memory_format=torch.channels_last).train()
    start = time.process_time()
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(rows)).split(BATCH):
            pictures, targets = [], []
            for index in chosen.tolist():
                picture, boxes, labels = rows[index]
                held = BoundingBoxes(boxes, format="XYXY", canvas_size=(SIZE, SIZE))
                made, target = AUGMENT(Image(picture), {"boxes": held, "labels": labels})
                pictures.append(made.as_subclass(torch.Tensor))
                targets.append({"boxes": target["boxes"].as_subclass(torch.Tensor), "labels": target["labels"]})
            loss = sum(model(pictures, targets).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {total / steps:.3f}, {time.process_time() - start:.0f} s", flush=True)
    model.to(memory_format=torch.contiguous_format).eval()


def dense(directory: Path) -> Any:
    """The dense detector."""
    names = read_data(directory)["names"]
    model = get_model(NAME, weights=None, weights_backbone=None, num_classes=len(names) + 1)
    file = directory / "dense.pth"
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


def written(directory: Path) -> Any:
    """The pruned detector, of the file that Sapwood wrote: torchvision and safetensors are all that it needs."""
    spec = importlib.util.spec_from_file_location("small", directory / "small.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.model


def tuned(directory: Path) -> Any:
    model = written(directory)
    model.load_state_dict(torch.load(directory / "tuned.pth", weights_only=True))
    return model.eval()


def peer(directory: Path, name: str = "peer_tuned.pt") -> Any:
    """Torch-Pruning's, which is kept as a pickle."""
    return torch.load(directory / name, weights_only=False).eval()


MODELS: dict[str, Callable[[Path], Any]] = {
    "dense": dense,
    "pruned and recovered": written,
    "trained on": tuned,
    "Torch-Pruning, trained on": peer,
}


def mean_ap(model: Any, rows: Any, names: list[str]) -> tuple[float, float]:
    """mAP@0.5 and mAP@[.5:.95] by COCO's rules."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth: dict[str, Any] = {
        "images": [{"id": index} for index in range(len(rows))],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
        "annotations": [],
    }
    found = []
    for index, (picture, boxes, labels) in enumerate(rows):
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            row = {"image_id": index, "category_id": label, "bbox": corner_and_size(box), "iscrowd": 0}
            row["area"] = row["bbox"][2] * row["bbox"][3]
            truth["annotations"].append({"id": len(truth["annotations"]) + 1, **row})
        with torch.no_grad():
            one = model([picture / 255])[0]
        for box, label, score in zip(
            one["boxes"].tolist(), one["labels"].tolist(), one["scores"].tolist(), strict=True
        ):
            found.append({"image_id": index, "category_id": label, "bbox": corner_and_size(box), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        held = COCO(truth)
        judge = COCOeval_faster(held, held.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[1]), float(judge.stats[0])


def corner_and_size(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def prune(directory: Path) -> None:
    """One command, and one for the file."""
    roads.command(
        "prune", f"torchvision:{NAME}", "--weights", str(directory / "dense.pth"), "--data",
        str(Path(os.environ["SAPWOOD_DATA"]) / "bccd"), "--latency", str(LATENCY), "--runtime", "onnxruntime",
        "--threads", "1", "--recover", "reconstruct", "--recover-pictures", "32", "-o", str(directory / "small"),
    )  # fmt: skip
    roads.command("export", str(directory / "small"), "--format", "python", "-o", str(directory / "small.py"))


def bundle_of(model: Any) -> Any:
    """What is timed."""
    from sapwood.types import ModelBundle, ModelSource, TaskSpec

    picture = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return ModelBundle(model, ([picture],), TaskSpec("none"), ModelSource("SSDlite", "session"))


def make_peer(directory: Path) -> None:
    """Torch-Pruning's; the layers that say classes and boxes stay."""

    def model() -> tuple[Any, list[Any]]:
        network = dense(directory)
        heads = (network.head.classification_head, network.head.regression_head)
        return network, [part[-1] for head in heads for part in head.module_list]

    made = roads.torch_pruned(
        model, [[torch.rand(3, SIZE, SIZE)]], bundle_of, LATENCY, of=lambda _: {"output_transform": summed}
    )
    torch.save(made, directory / "peer.pt")


def summed(found: Any) -> Any:
    return [value for one in found for value in one.values()]


def figures_alone(directory: Path) -> None:
    """Accuracy of all, in a process that has no Sapwood."""
    content = read_data(directory)
    for name, load in MODELS.items():
        try:
            model = load(directory)
        except FileNotFoundError as error:
            print(f"{name}: {error}")
            continue
        for split in ("val", "test"):
            half, whole = mean_ap(model, content[split], content["names"])
            print(f"{name}: {split} mAP@0.5 {half:.3f}, mAP@[.5:.95] {whole:.3f}", flush=True)


def latencies(directory: Path) -> None:
    first = bundle_of(dense(directory))
    for name, load in (("trained on", tuned), ("Torch-Pruning, trained on", peer)):
        if (directory / ("tuned.pth" if load is tuned else "peer_tuned.pt")).exists():
            print(
                f"{name}: {roads.ratio_of(first, bundle_of(load(directory)), 300):.3f} of the dense latency", flush=True
            )


def inside(what: str, directory: Path, epochs: int) -> None:
    """The steps that run in a process without Sapwood."""
    if what == "train":
        model = dense(directory)
        train_(model, directory, epochs, 2e-3)
        torch.save(model.state_dict(), directory / "dense.pth")
    elif what == "tune":
        model = written(directory)
        train_(model, directory, epochs, 5e-4)
        torch.save(model.state_dict(), directory / "tuned.pth")
    elif what == "tune_peer":
        model = peer(directory, "peer.pt")
        train_(model, directory, epochs, 5e-4)
        torch.save(model, directory / "peer_tuned.pt")
    else:
        figures_alone(directory)


def main() -> None:
    parser = roads.parser(__doc__, epochs=60, tune_epochs=15)
    parser.add_argument("--inside", choices=("train", "tune", "tune_peer", "figures"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    directory: Path = given.directory
    if given.inside:
        inside(given.inside, directory, given.epochs)
        return

    def alone(what: str, epochs: int) -> None:
        roads.without_sapwood(__file__, "all", str(directory), "--inside", what, "--epochs", str(epochs))

    for step in roads.STEPS if given.what == "all" else (given.what,):
        if step == "data":
            write_data(directory)
        elif step == "train":
            alone("train", given.epochs)
        elif step == "prune":
            prune(directory)
        elif step == "tune":
            alone("tune", given.tune_epochs)
        elif step == "peer":
            make_peer(directory)
            alone("tune_peer", given.tune_epochs)
        else:
            alone("figures", 0)
            latencies(directory)


if __name__ == "__main__":
    main()
