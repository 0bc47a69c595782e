"""Files of Ultralytics, tiny: a data set with a bright square a picture, and a checkpoint of a narrow network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

NAMES = {0: "round", 1: "square"}
SIZE = 64
"""Side of a picture in pixels."""

KINDS = {"-cls": "ClassificationModel", "-seg": "SegmentationModel", "-pose": "PoseModel", "-obb": "OBBModel"}


def write_data(folder: Path) -> Path:
    """Twelve pictures with a bright square each, as Ultralytics reads them; returns ``data.yaml``."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            picture = random.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
            left, top = random.integers(4, 30, 2)
            picture[top : top + 24, left : left + 24] = 220
            Image.fromarray(picture).save(folder / "images" / split / f"{index}.png")
            row = f"{index % 2} {(left + 12) / SIZE:.6f} {(top + 12) / SIZE:.6f} {24 / SIZE:.6f} {24 / SIZE:.6f}\n"
            (folder / "labels" / split / f"{index}.txt").write_text(row)
    text = yaml.safe_dump({"path": str(folder), "train": "images/train", "val": "images/val", "names": NAMES})
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def write_classes(folder: Path) -> Path:
    """Four pictures a class, in a folder each, as Ultralytics and Sapwood read them; returns the folder."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, name in NAMES.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(4):
                picture = random.integers(100 * label, 100 * label + 60, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(picture).save(folder / split / name / f"{index}.png")
    return folder


def write_checkpoint(path: Path, spec: str = "yolo11n.yaml", names: dict[int, str] | None = None) -> Path:
    """A ``.pt`` as Ultralytics writes it, of a narrow network with random weights that see something."""
    from ultralytics.nn import tasks

    names = NAMES if names is None else names
    content = tasks.yaml_model_load(spec)
    content["scales"] = {content["scale"]: [0.33, 0.25 if "12" in spec else 0.125, 256]}
    kind = next((name for suffix, name in KINDS.items() if suffix in spec), "DetectionModel")
    network = getattr(tasks, kind)(content, nc=len(names), verbose=False)
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 3.0)
            module.bias.data.normal_(0.3)
    network.names = names
    settings = {"imgsz": SIZE, "task": tasks.guess_model_task(network)}
    torch.save({"model": network.half(), "train_args": settings, "epoch": -1}, path)
    return path
