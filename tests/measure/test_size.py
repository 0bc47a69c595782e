from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from sapwood.masks import MaskCase, apply_masks_, remove_masks_
from sapwood.measure import count_buffers, count_nonzeros, count_params, file_size_bytes
from sapwood.types import ModelBundle, ModelSource, TaskSpec


@pytest.fixture
def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))


def test_counts_by_hand(net: nn.Sequential) -> None:
    assert count_params(net) == (8 * 27 + 8) + (8 + 8) + (8 * 4 + 4)
    assert count_buffers(net) == 8 + 8 + 1
    assert count_nonzeros(net) == count_params(net) - 8  # BatchNorm starts with a bias of zeros


def test_live_and_permanent_masks_count_alike(net: nn.Sequential) -> None:
    params, nonzeros, buffers = count_params(net), count_nonzeros(net), count_buffers(net)
    apply_masks_(net, MaskCase("l1_unstructured", 0.5, scope="global", layers=("conv", "linear")))
    assert count_params(net) == params
    assert count_nonzeros(net) == nonzeros - (216 + 32) // 2
    assert count_buffers(net) == buffers
    remove_masks_(net)
    assert count_params(net) == params
    assert count_nonzeros(net) == nonzeros - (216 + 32) // 2


def test_a_shared_parameter_counts_once() -> None:
    first = nn.Linear(4, 4, bias=False)
    second = nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    prune.custom_from_mask(first, "weight", torch.eye(4))
    prune.custom_from_mask(second, "weight", torch.eye(4))
    assert (count_params(model), count_nonzeros(model)) == (16, 4)
    assert file_size_bytes(model) == file_size_bytes(nn.Sequential(nn.Linear(4, 4, bias=False)))


def test_the_file_is_what_safetensors_writes_after_remove(net: nn.Sequential, tmp_path: Path) -> None:
    dense = file_size_bytes(net)
    apply_masks_(net, MaskCase("l1_unstructured", 0.95, layers=("all",)))
    keys, live = list(net.state_dict()), file_size_bytes(net)
    assert list(net.state_dict()) == keys
    permanent = copy.deepcopy(net)
    remove_masks_(permanent)
    save_file(permanent.state_dict(), tmp_path / "model.safetensors")
    assert live == dense == (tmp_path / "model.safetensors").stat().st_size


def test_the_file_of_a_bundle(net: nn.Sequential) -> None:
    bundle = ModelBundle(net, torch.zeros(1, 3, 3, 3), TaskSpec("none"), ModelSource("tests:net", "factory"))
    assert file_size_bytes(bundle) == file_size_bytes(net)


def test_views_and_buffers_that_are_not_saved() -> None:
    model = nn.Module()
    storage = torch.arange(8.0)
    model.register_parameter("first", nn.Parameter(storage[:4]))
    model.register_parameter("second", nn.Parameter(storage[4:].view(2, 2).t()))
    model.register_buffer("kept", torch.ones(3))
    model.register_buffer("passing", torch.ones(10**6), persistent=False)
    assert (count_params(model), count_nonzeros(model), count_buffers(model)) == (8, 7, 10**6 + 3)
    assert file_size_bytes(model) < 1000
