from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from sapwood.errors import ConfigError, MaskError
from sapwood.masks import METHODS, MaskCase


def test_the_methods_are_those_of_torch_and_one_for_any_score() -> None:
    assert list(METHODS) == [
        "custom_from_mask",
        "l1_unstructured",
        "ln_structured",
        "random_structured",
        "random_unstructured",
        "scored",
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
        ({"budget": "erk"}, r"budget: got 'erk' with l1_unstructured; expected it with scored only"),
        ({"blocks": "2:4"}, r"blocks: got '2:4' with l1_unstructured; expected it with scored only"),
        ({"criterion": "taylor"}, r"criterion: got 'taylor' with l1_unstructured; expected it with scored only"),
        ({"method": "scored", "criterion": ""}, r"criterion: got ''; expected the name of a score, as 'magnitude'"),
        (
            {"method": "scored", "budget": "all"},
            r"unknown budget 'all'; expected one of: erk, global, lamp, lamp_macs, uniform",
        ),
        ({"method": "scored", "blocks": "2-4"}, r"blocks: got '2-4'; expected unstructured, n:m as 2:4, or rows x col"),
        ({"method": "scored", "blocks": "4:2"}, r"blocks: got 4:2; expected n:m with 1 <= n < m"),
        ({"method": "scored", "blocks": "4:4"}, r"blocks: got 4:4; expected n:m with 1 <= n < m"),
        ({"method": "scored", "blocks": "0:4"}, r"blocks: got 0:4; expected n:m with 1 <= n < m"),
        ({"method": "scored", "blocks": "1x1"}, r"blocks: got 1x1; expected at least two weights a block"),
        ({"method": "scored", "blocks": "0x2"}, r"blocks: got 0x2; expected at least two weights a block"),
        ({"method": "scored", "blocks": "1:4"}, r"sparsity: got 0.5 with 1:4, which removes 0.75; leave it out"),
        (
            {"method": "scored", "blocks": "2:4", "budget": "lamp"},
            r"budget 'lamp' with 2:4: all windows keep as many; expected 'uniform'",
        ),
        (
            {"method": "scored", "scope": "global"},
            r"scope 'global' with scored: how parameters share the sparsity is said by its budget; expected scope",
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


def test_n_of_m_says_its_sparsity() -> None:
    assert MaskCase("scored", layers=("conv",), blocks="2:8").sparsity == 0.75
    assert MaskCase("scored", 0.667, layers=("conv",), blocks="1:3").sparsity == 1 - 1 / 3
