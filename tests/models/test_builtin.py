"""The networks that come with Sapwood: they load, are what they are said to be, and say how they were made."""

from __future__ import annotations

import pytest

from sapwood.config import TrainConfig, read_config
from sapwood.errors import SpecError
from sapwood.measure import count_macs, count_params
from sapwood.models import builtin_file, load_model
from sapwood.models.builtin_loader import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_each_says_how_it_was_made(name: str) -> None:
    recipe = builtin_file(name, ".train.yaml")
    assert read_config(TrainConfig, recipe).epochs > 0
    assert "sapwood train" in recipe.read_text(encoding="utf-8")


def test_the_half_has_half_of_the_channels() -> None:
    dense, half = (load_model(f"builtin:{name}") for name in ("digits", "digits-half"))
    assert half.task == dense.task
    assert count_params(half.model) < 0.27 * count_params(dense.model)
    macs = [count_macs(bundle.model, bundle.example_inputs).total for bundle in (dense, half)]
    assert macs[1] < 0.27 * macs[0]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(SpecError, match="no built-in network 'digit'; expected one of: digits, digits-half"):
        load_model("builtin:digit")
