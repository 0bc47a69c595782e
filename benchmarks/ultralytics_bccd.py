"""A dense yolo11n for the blood cells, trained by Ultralytics: what `docs/ultralytics.md` starts from.

    python benchmarks/ultralytics_bccd.py data DIR        # the pictures as Ultralytics reads them, and data.yaml
    python benchmarks/ultralytics_bccd.py train DIR --epochs 60

Needs $SAPWOOD_DATA and `pip install sapwood[ultralytics]`. From random weights: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from sapwood.data import open_detection


def write_data(source: Path, directory: Path) -> None:
    """Writes pictures and YOLO txt labels of the three splits, and the ``data.yaml`` that names them."""
    splits = {}
    for split in ("train", "val", "test"):
        dataset = open_detection(source, split=split)
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


def train(directory: Path, epochs: int) -> None:
    """Trains yolo11n at 320 px."""
    from ultralytics import YOLO

    YOLO("yolo11n.yaml").train(
        data=str(directory / "data.yaml"), epochs=epochs, imgsz=320, batch=16, workers=0, project=str(directory),
        name="dense", exist_ok=True, plots=False, verbose=False, seed=0, optimizer="AdamW", lr0=0.002,
        close_mosaic=10, val=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("data", "train"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    if options.what == "data":
        write_data(Path(os.environ["SAPWOOD_DATA"]) / "bccd", options.directory)
    else:
        train(options.directory, options.epochs)


if __name__ == "__main__":
    main()
