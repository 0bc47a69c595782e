"""mAP of detectors that list what they find is what pycocotools says of the same detections."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.detectors import detector, write_coco
from torch import Tensor, nn

from sapwood.models import framework_of
from sapwood.tasks import evaluate, open_data
from sapwood.types import ListedHead

coco = pytest.importorskip("pycocotools.coco", reason="needs pip install pycocotools")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

PICTURES = 24


class Beside(nn.Module):
    """Finds the boxes of a COCO file in its order, some moved, some of another class, and others where nothing is."""

    def __init__(self, record: dict[str, Any]) -> None:
        super().__init__()
        self.found: list[dict[str, Tensor]] = []
        random = np.random.default_rng(1)
        for picture in record["images"]:
            rows = [row for row in record["annotations"] if row["image_id"] == picture["id"]]
            left = np.array([row["bbox"] for row in rows for _ in range(3)], np.float32)
            left[:, :2] += random.normal(0, 3, left[:, :2].shape)
            boxes = np.concatenate((left[:, :2], left[:, :2] + left[:, 2:]), 1).astype(np.float32)
            labels = np.array([row["category_id"] for row in rows for _ in range(3)])
            wrong = random.random(len(labels)) < 0.2
            labels[wrong] = labels[wrong] % 3 + 1
            scores = random.random(len(labels)).astype(np.float32)
            arrays = {"boxes": boxes, "labels": labels, "scores": scores}
            self.found.append({name: torch.from_numpy(array) for name, array in arrays.items()})
        self.calls = 0

    def forward(self, pictures: Tensor) -> list[dict[str, Tensor]]:
        self.calls += len(pictures)
        return self.found[self.calls - len(pictures) : self.calls]


def test_map_is_that_of_pycocotools(tmp_path: Path) -> None:
    file = write_coco(tmp_path, PICTURES) / "annotations" / "instances_val.json"
    record = json.loads(file.read_text())
    for row in record["annotations"][::7]:
        row["iscrowd"] = 1
    file.write_text(json.dumps(record))
    model = Beside(record)
    task = framework_of(detector("ssd")).bundle(detector("ssd")).task
    bundle = replace(framework_of(model).bundle(model), task=replace(task, heads=(ListedHead(3, (1, 2, 3)),)))
    found = evaluate(bundle, open_data(bundle, tmp_path), score_threshold=0.0)

    rows = [
        {"image_id": index, "category_id": label, "score": score, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for index, one in enumerate(model.found)
        for label, score, (x1, y1, x2, y2) in zip(
            *(one[name].tolist() for name in ("labels", "scores", "boxes")), strict=True
        )
    ]
    truth = coco.COCO(str(file))
    judged = cocoeval.COCOeval(truth, truth.loadRes(rows), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert 0.1 < judged.stats[1] < 0.9
    assert found.metrics["mAP@0.5"] == pytest.approx(judged.stats[1], abs=1e-6)
    assert found.metrics["mAP@[.5:.95]"] == pytest.approx(judged.stats[0], abs=1e-6)
