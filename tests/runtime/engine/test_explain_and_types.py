"""`explain` of models that read whole numbers, and `SparseConv2d` of convolutions of other types."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import EngineError
from sapwood.runtime import SparseConv2d, compile, load


class Tagger(nn.Module):
    """Words are counted from 1: there is none of number 0."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.line = nn.Conv1d(8, 4, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.line(self.table(words - 1).transpose(1, 2))


WORDS = torch.tensor([[3, 1, 10, 2, 5, 7]])


def test_whole_numbers_are_those_it_was_compiled_with() -> None:
    lines = compile(Tagger().eval(), WORDS, threads=1).explain().splitlines()
    assert any("embedding" in line for line in lines)


def test_other_inputs_may_be_given(tmp_path: Path) -> None:
    compile(Tagger().eval(), WORDS, threads=1).save(tmp_path / "net")
    loaded = load(tmp_path / "net", threads=1)
    with pytest.raises(EngineError, match=r"^the model fails on zeros, which is what explain\(\) runs it on; .*index"):
        loaded.explain()
    assert any("embedding" in line for line in loaded.explain(WORDS).splitlines())
    with pytest.raises(EngineError, match=r"^the model fails on these inputs: index out of range"):
        loaded.explain(WORDS + 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_convolution_of_another_type(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, padding=1).to(dtype)
    picture = torch.rand(1, 3, 8, 8).to(dtype)
    found = SparseConv2d(conv, threads=1)(picture)
    assert found.dtype == dtype
    wanted = F.conv2d(picture.double(), conv.weight.double(), conv.bias.double(), padding=1)
    assert torch.allclose(
        found.double(), wanted, rtol=0.0, atol=4 * torch.finfo(max(dtype, torch.float32, key=eps)).eps
    )
    assert conv.weight.dtype == dtype


def eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 8, 3), nn.Linear(3, 8), None])
def test_what_is_no_convolution_of_maps_is_named(layer: nn.Module | None) -> None:
    with pytest.raises(EngineError, match=r"^conv is (a Conv1d|a Linear|None); expected a torch.nn.Conv2d"):
        SparseConv2d(layer)
