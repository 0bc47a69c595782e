"""Rows that remove channels: what they make is smaller, and the notes say how it was proven."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sapwood.cases import CaseRow, CompactRow, MaskRow, PruneRow
from sapwood.comparing import CANDIDATES, Candidate
from sapwood.errors import ConfigError
from sapwood.measure import count_params
from sapwood.types import ModelBundle, ModelSource, TaskSpec


@pytest.fixture
def dense() -> ModelBundle:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 2)).eval()
    return ModelBundle(model, torch.randn(1, 3, 6, 6), TaskSpec("none"), ModelSource("test", "test"))


def made(row: CaseRow, dense: ModelBundle) -> Candidate:
    return CANDIDATES[row.kind](row)(dense)


def test_a_compacted_mask_is_the_masked_network_and_smaller(dense: ModelBundle) -> None:
    mask = made(MaskRow(method="ln_structured", sparsity=0.5), dense)
    compact = made(CompactRow(method="ln_structured", sparsity=0.5), dense)
    x = torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(compact.bundle.model(x), mask.bundle.model(x))
    assert count_params(compact.bundle.model) < count_params(mask.bundle.model) == count_params(dense.model)
    assert any("equals the masked network to" in note for note in compact.notes)


def test_pruned_channels_are_gone(dense: ModelBundle) -> None:
    candidate = made(PruneRow(sparsity=0.5), dense)
    model = candidate.bundle.model
    assert [model[0].out_channels, model[2].in_channels, model[4].in_features] == [4, 4, 8]
    assert any("silenced to" in note for note in candidate.notes)
    assert dense.model[0].out_channels == 8


@pytest.mark.parametrize("kind", ["mask", "compact", "prune"])
def test_a_row_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"kind .*: got a CaseRow; expected a"):
        CANDIDATES[kind](CaseRow(kind=kind))
