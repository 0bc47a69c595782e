"""The pictures that criteria and recovery look at: of one folder, or of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sapwood.errors import DataError, NoDataSetError
from sapwood.goals import (
    calibrate,
    pictures_without_labels,
    recovery_batches,
    recovery_pictures,
    unseen_pictures,
)
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


@pytest.mark.usefixtures("folders")
def test_recovery_tells_the_first_folder_from_the_others(bundle: ModelBundle) -> None:
    found = recovery_pictures(bundle, "own+other", num_pictures=99)
    assert sorted(shades(found.own)) == [10, 11, 12]  # type: ignore[arg-type]
    assert sorted(shades(found.others)) == [100, 101, 102, 103, 104]  # type: ignore[arg-type]
    few = recovery_pictures(bundle, "own+other", num_pictures=2)
    assert (len(shades(few.own)), few.others) == (2, [])  # type: ignore[arg-type]
    mixed = recovery_batches(calibrate(bundle, "own+other", labels="own"))
    assert sorted(shades(mixed.own)) == [10, 11, 12]  # type: ignore[arg-type]
    assert sorted(shades(mixed.others)) == [100, 101, 102, 103, 104]  # type: ignore[arg-type]
    alone = calibrate(bundle, "own", labels="own")
    for given in (alone, replace(alone, dataset=None)):
        told = recovery_batches(given)
        assert sorted(shades(told.own)) == [10, 11, 12]  # type: ignore[arg-type]
        assert told.others == []
    mine = recovery_batches(replace(alone, batches=[SimpleNamespace(inputs="mine")]))
    assert (mine.own, mine.others) == (["mine"], [])


def _unseen(bundle: ModelBundle, data: str, num_seen: int) -> list[int]:
    dataset = unseen_pictures(bundle, data, num_seen=num_seen)
    return [] if dataset is None else sorted(int(sample.load().mean()) for sample in dataset.samples)  # type: ignore[union-attr, arg-type]


def test_pictures_that_nobody_saw_are_of_the_first_folder(bundle: ModelBundle, folders: Path) -> None:
    seen = set(shades(recovery_pictures(bundle, "other", num_pictures=3).own))  # type: ignore[arg-type]
    assert set(_unseen(bundle, "other", 3)) == {100, 101, 102, 103, 104} - seen
    assert _unseen(bundle, "other", 5) == []
    assert _unseen(bundle, "own+other", 3) == []
    assert len(_unseen(bundle, "own+other", 2)) == 1
    (folders / "own" / "val" / "light").mkdir(parents=True)
    (folders / "own" / "val" / "dark").mkdir()
    Image.fromarray(np.full((4, 4, 3), 20, np.uint8)).save(folders / "own" / "val" / "light" / "d.png")
    assert _unseen(bundle, "own+other", 99) == [20]


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


def test_a_loss_of_labels_that_are_of_other_classes_is_refused(bundle: ModelBundle, folders: Path) -> None:
    for old, new in (("dark", "cat"), ("light", "dog")):
        (folders / "own" / "train" / old).rename(folders / "own" / "train" / new)
    found = calibrate(bundle, "own", labels="data")
    batch = next(iter(found.batches))
    with pytest.raises(DataError, match="own train has the classes cat, dog, and the model dark, light"):
        found.loss(bundle.model, batch)
    own = calibrate(bundle, "own", labels="own")
    assert own.loss(bundle.model, batch).item() > 0


@pytest.mark.usefixtures("folders")
def test_what_has_no_labels_is_said(bundle: ModelBundle) -> None:
    message = (
        r"^other: holds no folders; expected one a class.*\. Its pictures are enough where labels are the model's own"
    )
    for data in ("other", "own+other"):
        found = calibrate(bundle, data, labels="data")
        batch = next(iter(found.batches))  # what looks at pictures alone goes on
        with pytest.raises(NoDataSetError, match=message):
            found.loss(bundle.model, batch)
    with pytest.raises(DataError, match=r"^own\+nowhere: nowhere: no such file or folder"):
        pictures_without_labels(bundle, "own+nowhere")
