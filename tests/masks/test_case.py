from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from sapwood.errors import ConfigError, MaskError
from sapwood.masks import METHODS, MaskCase


def test_the_methods_are_those_of_torch() -> None:
    assert list(METHODS) == [
        "custom_from_mask",
        "l1_unstructured",
        "ln_structured",
        "random_structured",
        "random_unstructured",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "l2"}, r"unknown mask method 'l2'; expected one of: custom_from_mask, l1_unstructured"),
        ({"sparsity": 1.0}, r"sparsity: got 1.0; expected the fraction removed, a number in \[0, 1\)"),
        ({"sparsity": -0.1}, r"sparsity: got -0.1;"),
        ({"sparsity": math.nan}, r"sparsity: got nan;"),
        ({"sparsity": None}, r"sparsity: got None;"),
        ({"sparsity": "0.5"}, r"sparsity: got '0.5';"),
        ({"sparsity": True}, r"sparsity: got True;"),
        ({"scope": "whole"}, r"scope: got 'whole'; expected 'local' or 'global'"),
        (
            {"method": "ln_structured", "scope": "global"},
            r"scope 'global' with ln_structured: torch.nn.utils.prune has no global structured pruning; "
            r"expected scope 'local', or one of: l1_unstructured, random_unstructured",
        ),
        ({"layers": ("convolution",)}, r"layers: got 'convolution'; expected any of: conv, bn, linear, all"),
        ({"layers": "conv"}, r"layers: got 'conv'; expected a tuple of: conv, bn, linear, all"),
        ({"layers": ()}, r"layers: got none and no pattern; expected any of: conv, bn, linear, all"),
        ({"pattern": ""}, r"pattern: got ''; expected the names of parameters"),
        ({"n": math.nan}, r"n: got nan; expected the order of a norm: a number, 'inf' or '-inf'"),
        ({"n": "two"}, r"n: got 'two';"),
        ({"dim": 0.0}, r"dim: got 0.0; expected a whole number"),
        ({"seed": -1}, r"seed: got -1; expected a whole number of at least 0"),
        (
            {"mask_file": "m.npz"},
            r"mask_file: got 'm.npz' with l1_unstructured; expected it with custom_from_mask only",
        ),
        ({"method": "custom_from_mask"}, r"mask_file: got None; custom_from_mask needs a .safetensors or .npz file"),
        (
            {"method": "ln_structured", "layers": ("conv", "bn")},
            r"layers 'bn' with ln_structured: a BatchNorm's weight and bias have 1 dimension",
        ),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"method": "l1_unstructured", "sparsity": 0.5, "layers": ("conv",)}
    with pytest.raises(ConfigError, match=message):
        MaskCase(**(good | fields))


def test_a_mask_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"gone.npz: nothing there; expected a .safetensors or .npz file of masks"):
        MaskCase("custom_from_mask", layers=("conv",), mask_file=str(tmp_path / "gone.npz"))
    with pytest.raises(MaskError, match=r": a folder; expected"):
        MaskCase("custom_from_mask", layers=("conv",), mask_file=str(tmp_path))


def test_masks_of_a_file_have_no_scope_and_no_sparsity(tmp_path: Path) -> None:
    file = tmp_path / "masks.npz"
    file.touch()
    case = MaskCase("custom_from_mask", 0.5, layers=("conv",), mask_file=str(file))
    assert case.sparsity is None
    with pytest.raises(ConfigError, match=r"custom_from_mask has no sparsity: its masks come from a file"):
        _ = case.amount
    with pytest.raises(ConfigError, match=r"scope 'global' with custom_from_mask: its masks are given"):
        MaskCase("custom_from_mask", scope="global", layers=("conv",), mask_file=str(file))


@pytest.mark.parametrize(
    ("n", "stored"), [(math.inf, "inf"), (-math.inf, "-inf"), ("inf", "inf"), (1, 1.0), (0.5, 0.5)]
)
def test_the_order_survives_json(n: Any, stored: object) -> None:
    case = MaskCase("ln_structured", 0, layers=("conv",), n=n)
    fields = json.loads(json.dumps(dataclasses.asdict(case), allow_nan=False))
    assert fields["n"] == stored
    assert case.norm_order == float(n)
    assert MaskCase(**(fields | {"layers": tuple(fields["layers"])})) == case


def test_the_amount_is_a_float_for_torch_reads_integers_as_counts() -> None:
    assert isinstance(MaskCase("l1_unstructured", 0, layers=("conv",)).amount, float)
