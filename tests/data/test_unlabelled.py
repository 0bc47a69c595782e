"""Folders of pictures without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sapwood.data import open_unlabelled
from sapwood.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures" / "deeper").mkdir(parents=True)
    for name, shade in (("b.png", 20), ("deeper/a.jpg", 200), ("c.jpeg", 90)):
        Image.fromarray(np.full((4, 6, 3), shade, dtype=np.uint8)).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def test_all_pictures_are_found_in_a_fixed_order(folder: Path) -> None:
    detection = open_unlabelled(folder, "detection")
    assert [sample.image_id for sample in detection.samples] == ["b", "c", "a"]
    assert all(len(sample.boxes) == len(sample.labels) == 0 for sample in detection.samples)  # type: ignore[union-attr]
    assert detection.name == "pictures (no labels)"
    classification = open_unlabelled(folder, "classification")
    assert [sample.label for sample in classification.samples] == [-1, -1, -1]  # type: ignore[union-attr]
    assert classification.samples[0].load().shape == (4, 6, 3)
    assert int(classification.samples[0].load()[0, 0, 0]) == 20


def test_a_folder_of_the_split_is_opened_alone(folder: Path) -> None:
    assert [sample.image_id for sample in open_unlabelled(folder, "detection", split="deeper").samples] == ["a"]
    assert len(open_unlabelled(folder, "detection", split="train").samples) == 3


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures; expected a folder of pictures"):
        open_unlabelled(tmp_path, "detection")
    with pytest.raises(DataError, match="no such folder"):
        open_unlabelled(tmp_path / "nowhere", "detection")
