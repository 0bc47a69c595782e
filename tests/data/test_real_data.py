"""The data sets of the real-data folder open with the counts their makers give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapwood.data import open_detection, read_image


@pytest.mark.parametrize(("split", "count"), [("train", 205), ("val", 87), ("test", 36)])
def test_blood_cells(data_dir: Path, split: str, count: int) -> None:
    dataset = open_detection(data_dir / "bccd", split=split, class_names=["RBC", "WBC", "Platelets"])
    assert len(dataset.samples) == count
    assert dataset.class_names == ("RBC", "WBC", "Platelets")
    labels = np.concatenate([sample.labels for sample in dataset.samples])
    assert np.bincount(labels).argmax() == 0
    assert dataset.samples[0].load().shape == (480, 640, 3)


def test_coco_pictures(data_dir: Path) -> None:
    names = (data_dir / "detectors" / "coco.names").read_text().split("\n")[:80]
    val = open_detection(data_dir / "coco", class_names=names)
    train = open_detection(data_dir / "coco", split="train", class_names=names)
    assert (len(val.samples), len(train.samples)) == (64, 128)
    assert sum(len(sample.labels) for sample in val.samples) == 440
    assert val.samples[0].image_id == "000000000139"
    assert val.samples[0].labels[0] == 58  # the line is 58 0.389578 0.416103 0.0385937 0.163146, of 640 x 426 pixels
    assert val.samples[0].boxes[0].tolist() == pytest.approx([236.98, 142.51, 261.68, 212.01], abs=0.01)


def test_dog(data_dir: Path) -> None:
    assert read_image(data_dir / "images" / "dog.jpg").shape == (576, 768, 3)
