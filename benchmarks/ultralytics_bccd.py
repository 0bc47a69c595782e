"""A yolo11n that Ultralytics trained on the blood cells, pruned, recovered, and trained on by Ultralytics.

    python benchmarks/ultralytics_bccd.py all DIR         # the steps below, one after the other

    python benchmarks/ultralytics_bccd.py data DIR        # the pictures as Ultralytics reads them, and data.yaml
    python benchmarks/ultralytics_bccd.py train DIR       # DIR/dense, at 320 px, from random weights
    python benchmarks/ultralytics_bccd.py prune DIR       # DIR/small: half of ONNX Runtime's latency, no labels
    python benchmarks/ultralytics_bccd.py tune DIR        # DIR/tuned, by Ultralytics' trainer
    python benchmarks/ultralytics_bccd.py peer DIR        # Torch-Pruning's, of the same latency, trained as long
    python benchmarks/ultralytics_bccd.py figures DIR     # what Ultralytics says of all, without Sapwood; latencies

Needs $SAPWOOD_DATA, `pip install sapwood[onnx,ultralytics]` and, for `peer`, torch-pruning. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roads
from halves import halve_

SIZE = 320
LATENCY = 0.5
NAMED = {
    "dense": "dense/weights/last.pt",
    "pruned and recovered": "small/model.pt",
    "trained on": "tuned/weights/last.pt",
    "Torch-Pruning, as it is": "peer.pt",
    "Torch-Pruning, trained on": "peer_tuned/weights/last.pt",
}
"""The files, by what they are."""


def write_data(directory: Path) -> None:
    """Writes pictures and YOLO txt labels of the three splits, and the ``data.yaml`` that names them."""
    from sapwood.data import open_detection

    splits = {}
    for split in ("train", "val", "test"):
        dataset = open_detection(Path(os.environ["SAPWOOD_DATA"]) / "bccd", split=split)
        images, labels = directory / "images" / split, directory / "labels" / split
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for sample in dataset.samples:
            picture = sample.load()
            Image.fromarray(picture).save(images / f"{sample.image_id}.png")
            size = np.array([picture.shape[1], picture.shape[0]] * 2)
            low, high = sample.boxes[:, :2], sample.boxes[:, 2:]
            rows = np.concatenate(((low + high) / 2, high - low), axis=1) / size
            text = "".join(
                f"{label} {' '.join(f'{value:.6f}' for value in row)}\n"
                for label, row in zip(sample.labels.tolist(), rows.tolist(), strict=True)
            )
            (labels / f"{sample.image_id}.txt").write_text(text)
        splits[split] = f"images/{split}"
    content = {"path": str(directory.resolve()), **splits, "names": dict(enumerate(dataset.class_names))}
    (directory / "data.yaml").write_text(yaml.safe_dump(content))


def train(directory: Path, model: str, name: str, epochs: int, rate: float, **more: Any) -> None:
    """Ultralytics' own training, at 320 px."""
    from ultralytics import YOLO

    with roads.seconds(f"training {name}, {epochs} epochs"):
        YOLO(model).train(
            data=str(directory / "data.yaml"), epochs=epochs, imgsz=SIZE, batch=16, workers=0, project=str(directory),
            name=name, exist_ok=True, plots=False, verbose=False, seed=0, optimizer="AdamW", lr0=rate, device="cpu",
            close_mosaic=epochs // 4, val=False, nbs=16, **more,
        )  # fmt: skip


def prune(directory: Path) -> None:
    """One command."""
    roads.command(
        "prune", str(directory / NAMED["dense"]), "--data", str(directory / "data.yaml"), "--latency", str(LATENCY),
        "--runtime", "onnxruntime", "--threads", "1", "--recover", "reconstruct", "--recover-pictures", "32",
        "-o", str(directory / "small"),
    )  # fmt: skip


def tune(directory: Path, name: str, to: str, epochs: int) -> None:
    """Ultralytics' trainer at the network's own widths: a tenth of the rate, pictures as they are."""
    from sapwood.models.ultralytics import keep_widths

    train(directory, str(directory / NAMED[name]), to, epochs, 0.0002, trainer=keep_widths, warmup_epochs=0, mosaic=0)


def make_peer(directory: Path) -> None:
    """Torch-Pruning's; what makes outputs stays, and so does attention, whose shapes are numbers of its code."""
    import torch
    from ultralytics import YOLO
    from ultralytics.nn.modules.block import Attention

    def model() -> tuple[Any, list[Any]]:
        network = YOLO(str(directory / NAMED["dense"])).model.float()
        for name, parameter in network.named_parameters():
            parameter.requires_grad = ".dfl." not in name
        halve_(network)
        head = network.model[-1]
        last = [branch[-1] for branch in (*head.cv2, *head.cv3)]
        return network, [*last, head.dfl, *(part for part in network.modules() if isinstance(part, Attention))]

    made = roads.torch_pruned(model, torch.rand(1, 3, SIZE, SIZE), bundle_of, LATENCY)
    torch.save(
        {"model": made, "train_args": {"task": "detect", "imgsz": SIZE}}, directory / NAMED["Torch-Pruning, as it is"]
    )


def bundle_of(network: Any) -> Any:
    """What is timed: the network up to its raw predictions."""
    import torch

    from sapwood.models import UltralyticsNetwork
    from sapwood.types import ModelBundle, ModelSource, TaskSpec

    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    wrapped = UltralyticsNetwork(network.float().eval(), "detect", "")
    return ModelBundle(wrapped, picture, TaskSpec("none"), ModelSource("Ultralytics", "session"))


def figures_alone(directory: Path) -> None:
    """What Ultralytics says of every file, in a process that has no Sapwood."""
    from ultralytics import YOLO

    for name, file in NAMED.items():
        if not (directory / file).exists():
            print(f"{name}: there is no {file}")
            continue
        for split in ("val", "test"):
            found = YOLO(str(directory / file)).val(
                data=str(directory / "data.yaml"), split=split, imgsz=SIZE, batch=16, workers=0, rect=False,
                plots=False, verbose=False, device="cpu", project=str(directory), name="val", exist_ok=True,
            )  # fmt: skip
            print(f"{name}: {split} mAP@0.5 {found.box.map50:.3f}, mAP@[.5:.95] {found.box.map:.3f}", flush=True)


def latencies(directory: Path) -> None:
    """Of those that were trained on, over the dense one's."""
    from ultralytics import YOLO

    def read(name: str) -> Any:
        return bundle_of(YOLO(str(directory / NAMED[name])).model)

    dense = read("dense")
    for name in ("trained on", "Torch-Pruning, trained on"):
        if (directory / NAMED[name]).exists():
            small = read(name)
            shares = " and ".join(
                f"{100 * count(small) / count(dense):.0f} % of the {what}" for what, count in counts().items()
            )
            print(f"{name}: {roads.ratio_of(dense, small, 300):.3f} of the dense latency, {shares}", flush=True)


def counts() -> dict[str, Any]:
    import sapwood

    return {
        "parameters": lambda bundle: sapwood.count_params(bundle.model),
        "MACs": lambda bundle: sapwood.count_macs(bundle.model, bundle.example_inputs).total,
    }


def main() -> None:
    parser = roads.parser(__doc__, epochs=18, tune_epochs=5)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    directory: Path = given.directory
    if given.alone:
        figures_alone(directory)
        return
    for step in roads.STEPS if given.what == "all" else (given.what,):
        if step == "data":
            write_data(directory)
        elif step == "train":
            train(directory, "yolo11n.yaml", "dense", given.epochs, 0.002)
        elif step == "prune":
            prune(directory)
        elif step == "tune":
            tune(directory, "pruned and recovered", "tuned", given.tune_epochs)
        elif step == "peer":
            make_peer(directory)
            tune(directory, "Torch-Pruning, as it is", "peer_tuned", given.tune_epochs)
        else:
            roads.without_sapwood(__file__, "figures", str(directory), "--alone")
            latencies(directory)


if __name__ == "__main__":
    main()
