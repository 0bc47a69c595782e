"""Small detectors of torchvision's classes, and pictures with bright squares for them to find."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.ops import MultiScaleRoIAlign

NAMES = ("round", "square", "star")
SIZES = ((64, 64), (48, 80), (96, 64), (40, 56))
"""Of the pictures, (height, width), in turn."""


def backbone(channels: int = 8) -> nn.Sequential:
    """Two convolutions, a map a sixteenth as high."""
    body = nn.Sequential(
        nn.Conv2d(3, 12, 4, stride=4), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, channels, 4, stride=4), nn.ReLU()
    )
    body.out_channels = channels
    return body


def _rcnn(kind: Callable[..., nn.Module], **more: Any) -> nn.Module:
    return kind(
        backbone(),
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 4, 2),
        box_head=TwoMLPHead(8 * 16, 16),
        box_predictor=FastRCNNPredictor(16, 4),
        min_size=64,
        max_size=96,
        **more,
    )


def _dense(kind: Callable[..., nn.Module], channels: int) -> nn.Module:
    anchors = AnchorGenerator(((16,),), ((1.0,),))
    return kind(backbone(channels), 4, anchor_generator=anchors, min_size=64, max_size=96)


DETECTORS: Mapping[str, Callable[[], nn.Module]] = {
    "faster": lambda: _rcnn(FasterRCNN),
    "mask": lambda: _rcnn(
        MaskRCNN,
        mask_roi_pool=MultiScaleRoIAlign(["0"], 4, 2),
        mask_head=MaskRCNNHeads(8, (8, 8), 1),
        mask_predictor=MaskRCNNPredictor(8, 8, 4),
    ),
    "keypoint": lambda: _rcnn(
        KeypointRCNN,
        keypoint_roi_pool=MultiScaleRoIAlign(["0"], 4, 2),
        keypoint_head=KeypointRCNNHeads(8, (8, 8)),
        keypoint_predictor=KeypointRCNNPredictor(8, 3),
    ),
    "retina": lambda: _dense(RetinaNet, 8),
    "fcos": lambda: _dense(FCOS, 32),
    "ssd": lambda: SSD(backbone(), DefaultBoxGenerator([[2]]), (64, 64), 4, head=SSDHead([8], [4], 4)),
}
"""Detectors of three classes by kind, with weights that are random."""


def detector(kind: str) -> nn.Module:
    """One of :data:`DETECTORS`, the same every time, that finds something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DETECTORS[kind]().eval()
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:  # what torchvision draws is so small that all anchors look alike
                nn.init.kaiming_normal_(parameter)
            elif name.endswith("cls_logits.bias"):
                nn.init.zeros_(parameter)
    return model


def write_coco(folder: Path, count: int = 4) -> Path:
    """Writes pictures of several sizes with a bright square each, and ``annotations/instances_{train,val}.json``."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        images, rows = [], []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            height, width = SIZES[index % len(SIZES)]
            picture = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
            left, top = (int(one) for one in random.integers(2, 14, 2))
            picture[top : top + 24, left : left + 24] = 220
            Image.fromarray(picture).save(folder / split / f"{index}.png")
            images.append({"id": index, "file_name": f"{index}.png", "height": height, "width": width})
            box = {"bbox": [left, top, 24, 24], "area": 576, "iscrowd": 0}
            rows.append({"id": index + 1, "image_id": index, "category_id": 1 + index % 3, **box})
        categories = [{"id": 1 + number, "name": name} for number, name in enumerate(NAMES)]
        (folder / "annotations").mkdir(exist_ok=True)
        text = json.dumps({"images": images, "annotations": rows, "categories": categories})
        (folder / "annotations" / f"instances_{split}.json").write_text(text)
    return folder
