"""Class names that are taken for the model's numbers in their order: said, for nothing else says which is which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sapwood.data import open_classification, order_note, ordered_names


def folder(root: Path, *names: str) -> Path:
    """A picture a class."""
    for name in names:
        (root / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / name / "a.png")
    return root


def test_names_beside_numbered_classes_are_told_in_their_order(tmp_path: Path) -> None:
    data = folder(tmp_path / "pets", "dog", "cat")
    assert open_classification(data, class_names=("class0", "class1")).ordered == ("cat", "dog")
    assert open_classification(data, class_names=("dog", "cat")).ordered == ()
    assert open_classification(data).ordered == (), "nothing is known of the model's classes"


def test_numbers_mean_an_order_on_both_sides() -> None:
    assert ordered_names(["n01", "n02"], ["class0", "class1"]) == ()
    assert ordered_names(["Cat"], ["cat", "dog"]) == ()


def test_the_note_says_how_to_say_otherwise() -> None:
    assert order_note("pets", ("cat", "dog"), ("class0", "class1")) == (
        "pets: cat, dog are taken for the model's class0, class1, in the order of the alphabet; where the model counts "
        "otherwise, --names FILE says so: a name a line, in its order"
    )
