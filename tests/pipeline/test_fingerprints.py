"""What a stored result depends on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from sapwood.fingerprints import data_fingerprint, model_fingerprint
from sapwood.types import DetectionDataset, DetectionSample, ModelBundle, ModelSource, TaskSpec


def dataset(difficult: bool, crowd: bool) -> DetectionDataset:
    box = np.array([[1, 1, 9, 9]], np.float32)
    sample = DetectionSample(
        "a", box, np.zeros(1, np.int64), np.array([difficult]), lambda: np.zeros((10, 10, 3), np.uint8)
    )
    return DetectionDataset("toy", (replace(sample, crowd=crowd),), ("cat",))


def test_the_rule_for_difficult_boxes_counts_where_there_are_some() -> None:
    assert data_fingerprint(dataset(True, crowd=True)) != data_fingerprint(dataset(True, crowd=False))
    assert data_fingerprint(dataset(False, crowd=True)) == data_fingerprint(dataset(False, crowd=False))


def bundle_of(line: str) -> ModelBundle:
    """A model whose ``forward`` is one line; everything else is the same."""
    names: dict[str, type[nn.Module]] = {}
    exec(f"from torch import nn\nclass Own(nn.Module):\n    def forward(self, x):\n        {line}", names)
    task = TaskSpec(kind="classification", class_names=("a", "b"), input_size=(4, 4))
    return ModelBundle(names["Own"](), torch.zeros(1, 3, 4, 4), task, ModelSource("own", "factory"))


def test_a_model_whose_code_is_another_is_another_model() -> None:
    first = model_fingerprint(bundle_of("return x * 2"))
    assert model_fingerprint(bundle_of("return x * 2")) == first
    assert model_fingerprint(bundle_of("return x * 3")) != first
    assert model_fingerprint(bundle_of("return [y + 1 for y in x]")) != model_fingerprint(
        bundle_of("return [y + 2 for y in x]")
    )


def test_the_order_of_a_set_in_the_code_is_none_of_it() -> None:
    program = (
        "from sapwood import fingerprints\n"
        "def f(x): return x in {'one', 'two', 'three', 'four', 'five'}\n"
        "print(fingerprints._plain(f.__code__))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1
