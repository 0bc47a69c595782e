"""The proof runs on as few pixels as tell as much, and on the example inputs as they are where those do not."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood import Target
from sapwood.errors import CheckFailedError
from sapwood.removal import proof
from sapwood.removal.thinned import thinned


def _network(kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        nn.ReLU(),
        nn.Conv2d(8, 8, kernel, padding=kernel // 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


class _Watched(nn.Module):
    """A network that remembers the sizes it was run on, in float64 and with values."""

    seen: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64 and not x.is_meta:
            self.seen.append(tuple(x.shape))
        return self.body(x)  # type: ignore[no-any-return]


def _sizes_of_the_proof(body: nn.Module, x: Tensor) -> set[tuple[int, ...]]:
    _Watched.seen.clear()
    assert sapwood.prune(_Watched(body), x, target=Target(sparsity=0.5)).verification.passed
    return set(_Watched.seen)


def test_fewer_pictures_of_fewer_pixels_prove_as_much() -> None:
    assert _sizes_of_the_proof(_network(), torch.randn(5, 3, 224, 160)) == {(2, 3, 64, 64)}


def test_small_pictures_stay_as_they_are() -> None:
    assert _sizes_of_the_proof(_network(), torch.randn(1, 3, 64, 64)) == {(1, 3, 64, 64)}


def test_every_place_of_a_window_still_meets_the_map() -> None:
    """A kernel of 61, half of it outside at the edge, takes 31 of 56 rows: 124 of 224 pixels; steps of 32 leave 128."""
    graph = sapwood.trace(_network(61), torch.randn(1, 3, 224, 224))
    found = thinned(torch.randn(1, 3, 224, 224), graph)
    assert isinstance(found, Tensor)
    assert found.shape == (1, 3, 128, 128)


def test_windows_along_the_pictures_of_a_clip_say_nothing_of_rows_and_columns() -> None:
    """A kernel of three reads both pictures that are left of a clip, and a tenth of the rows."""
    clip = torch.randn(1, 3, 4, 112, 112)
    network = nn.Sequential(nn.Conv3d(3, 4, (2, 4, 4), (2, 4, 4)), nn.Conv3d(4, 4, 3, padding=1))
    found = thinned(clip, sapwood.trace(network, clip))
    assert isinstance(found, Tensor)
    assert found.shape == (1, 3, 4, 80, 80)


def test_pixels_are_taken_from_all_over_the_picture() -> None:
    x = torch.arange(128.0).reshape(1, 1, 128, 1).expand(1, 3, 128, 128)
    found = thinned(x, sapwood.trace(_network(), x))
    assert isinstance(found, Tensor)
    assert found[0, 0, :, 0].tolist() == [2.0 * row for row in range(64)]


class _OtherWay(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if x.shape[-1] > 40 else x.sigmoid()


class _BySize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1.0 / x.shape[-1])


class _Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 8, 56, 56))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class _OnlyOne(nn.Module):
    """A pooling that leaves more than one position of a large map, and one of a small one."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(nn.functional.avg_pool2d(x, 16, ceil_mode=False), size=(8, 8))


@pytest.mark.parametrize("part", [_OtherWay, _BySize, _Positions, _OnlyOne])
def test_code_that_does_otherwise_on_fewer_pixels_is_proven_on_all_of_them(part: type[nn.Module]) -> None:
    body = _network()
    body.insert(2, part())
    assert _sizes_of_the_proof(body, torch.randn(1, 3, 224, 224)) >= {(1, 3, 224, 224)}


def test_what_is_wrong_on_fewer_pixels_is_asked_of_all_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = proof.compact_outputs

    def wrong(*given: object, **named: object) -> list[Tensor]:
        return [1.001 * one for one in right(*given, **named)]  # type: ignore[arg-type]

    monkeypatch.setattr(proof, "compact_outputs", wrong)
    _Watched.seen.clear()
    with pytest.raises(CheckFailedError, match="differs from the masked one by"):
        sapwood.prune(_Watched(_network()), torch.randn(1, 3, 224, 224), target=Target(sparsity=0.5))
    assert {shape[-1] for shape in _Watched.seen} == {64, 224}
