"""The shortest way to call a network: what goes it, what does not, and that both ways return the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import EngineError
from sapwood.runtime import compile as compile_model
from sapwood.runtime.engine.compiled import CompiledModel

pytestmark = pytest.mark.usefixtures("engine")


class Pair(nn.Module):
    """Two pictures in, two results out, the one that is made last first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        found = self.second(y)
        return self.first(x).flatten(1), found


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    return compile_model(net, torch.zeros(1, 3, 8, 10), threads=1, tune=False)


def quick(model: CompiledModel, *inputs: object) -> list[Tensor] | None:
    assert model._quick is not None
    return model._quick(inputs)


def test_a_picture_goes_the_short_way_and_returns_the_same(compiled: CompiledModel) -> None:
    picture = torch.randn(1, 3, 8, 10)
    found = quick(compiled, picture)
    assert found is not None
    (wanted,) = compiled._assembly.run([picture])
    assert torch.equal(found[0], wanted)
    assert torch.equal(compiled(picture), wanted)
    assert compiled(picture).data_ptr() != compiled(picture).data_ptr()


@pytest.mark.parametrize(
    "changed",
    [
        lambda x: torch.cat([x, x]),
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
        torch._neg_view,
        nn.Parameter,
        lambda x: x.to_sparse(),
        lambda x: x.to("meta"),
        lambda x: x[0],
        lambda x: x.tolist(),
        lambda x: None,
    ],
    ids=["batch", "double", "half", "permuted", "negated", "parameter", "sparse", "meta", "three", "list", "none"],
)  # fmt: skip
def test_what_has_to_be_looked_at_goes_the_long_way(
    changed: Callable[[Tensor], object], compiled: CompiledModel
) -> None:
    assert quick(compiled, changed(torch.randn(1, 3, 8, 10))) is None


def test_numbers_of_inputs_are_told_by_the_long_way(compiled: CompiledModel) -> None:
    assert quick(compiled) is None
    with pytest.raises(EngineError, match="0 inputs; compiled for 1"):
        compiled()


def test_inputs_and_results_keep_their_places() -> None:
    torch.manual_seed(0)
    net = Pair().eval()
    given = torch.randn(1, 2, 5, 6), torch.randn(1, 4, 7, 3)
    model = compile_model(net, given, threads=1, tune=False)
    found = quick(model, *given)
    assert found is not None
    with torch.no_grad():
        wanted = net(*given)
    for one, other, whole in zip(found, wanted, model(*given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert torch.equal(one, whole)


def test_networks_that_are_no_single_program_have_no_short_way() -> None:
    outside = nn.Sequential(nn.Conv2d(3, 4, 1), nn.PixelShuffle(2)).eval()
    assert compile_model(outside, torch.zeros(1, 3, 4, 4), threads=1, tune=False)._quick is None
    words = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4)).eval()
    assert compile_model(words, torch.zeros(1, 6, dtype=torch.int64), threads=1, tune=False)._quick is None


def test_a_deep_copy_calls_the_program_that_is_its_own(compiled: CompiledModel) -> None:
    twin, picture = copy.deepcopy(compiled), torch.randn(1, 3, 8, 10)
    assert twin._quick is not None
    assert compiled._quick is not None
    assert twin._quick.program is not compiled._quick.program
    assert twin._quick.program is twin._assembly.parts[0].program  # type: ignore[attr-defined]
    assert torch.equal(twin(picture), compiled(picture))
