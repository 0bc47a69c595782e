"""The pictures that criteria and recovery look at: of one folder, or of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sapwood.errors import DataError, NoDataSetError
from sapwood.goals import calibrate, pictures_without_labels
from sapwood.types import ModelBundle, ModelSource, TaskSpec

TASK = TaskSpec("classification", (4, 4), ("dark", "light"))


@pytest.fixture
def bundle() -> ModelBundle:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    return ModelBundle(model, torch.zeros(1, 3, 4, 4), TASK, ModelSource("toy:model", "toy"))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``own``: three pictures of two classes, shades 10 to 12; ``other``: five without labels, shades 100 to 104."""
    monkeypatch.chdir(tmp_path)
    for shade, place in (
        *zip((10, 11, 12), ("own/train/dark/a", "own/train/dark/b", "own/train/light/c"), strict=True),
        *((100 + number, f"other/{number}") for number in range(5)),
    ):
        path = tmp_path / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(path)
    return tmp_path


def shades(batches: list[torch.Tensor]) -> list[int]:
    return [round(255 * float(picture.mean())) for batch in batches for picture in batch]


@pytest.mark.usefixtures("folders")
def test_pictures_of_the_first_folder_are_drawn_first(bundle: ModelBundle) -> None:
    alone = shades(pictures_without_labels(bundle, "own"))
    two, five, all_of_them = (shades(pictures_without_labels(bundle, "own+other", num_pictures=n)) for n in (2, 5, 99))
    assert sorted(alone) == [10, 11, 12]
    assert len(two) == 2
    assert set(two) < {10, 11, 12}
    assert len(five) == 5
    assert {10, 11, 12} < set(five)
    assert sorted(all_of_them) == [10, 11, 12, 100, 101, 102, 103, 104]
    assert all_of_them != sorted(all_of_them), "batches are of one folder each"
    assert all_of_them == shades(pictures_without_labels(bundle, "own+other", num_pictures=99))


@pytest.mark.usefixtures("folders")
def test_criteria_look_at_several_and_accuracy_at_the_first(bundle: ModelBundle) -> None:
    found = calibrate(bundle, "own+other", labels="own")
    assert sum(len(batch.inputs) for batch in found.batches) == 8
    assert found.dataset is not None
    assert (found.dataset.name, len(found.dataset.samples)) == ("own train", 3)


def test_several_labelled_folders_keep_their_labels(bundle: ModelBundle, folders: Path) -> None:
    (folders / "own").rename(folders / "first")
    for name, shade in (("dark", 50), ("light", 60)):
        (folders / "second" / name).mkdir(parents=True)
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(folders / "second" / name / "x.png")
    found = calibrate(bundle, "first+second", labels="data")
    seen = {
        (round(255 * float(picture.mean())), sample.label)  # type: ignore[union-attr]
        for batch in found.batches
        for sample, picture in zip(batch.samples, batch.inputs, strict=True)
    }
    assert seen == {(10, 0), (11, 0), (12, 1), (50, 0), (60, 1)}


@pytest.mark.usefixtures("folders")
def test_what_has_no_labels_is_said(bundle: ModelBundle) -> None:
    message = (
        r"^other: holds no folders; expected one a class.*\. Its pictures are enough where labels are the model's own"
    )
    for data in ("other", "own+other"):
        with pytest.raises(NoDataSetError, match=message):
            calibrate(bundle, data, labels="data")
    with pytest.raises(DataError, match=r"^own\+nowhere: nowhere: no such file or folder"):
        pictures_without_labels(bundle, "own+nowhere")
