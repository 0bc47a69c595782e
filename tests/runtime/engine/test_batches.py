"""Models that mix the pictures of a batch take one a call on the engine; all others any number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.errors import EngineError
from sapwood.runtime import compile as compile_model
from sapwood.runtime import load
from sapwood.runtime.engine import batches as batches_module

pytestmark = pytest.mark.usefixtures("engine")


class Behind(nn.Module):
    """A convolution, and what a function makes of its maps."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 8, 3), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x).relu())


def similar(x: Tensor) -> Tensor:
    rows = F.normalize(x.mean((2, 3)))
    return rows @ rows.t()


MIXED: dict[str, Callable[[Tensor], Any]] = {
    "a mean taken off": lambda x: x - x.mean(0, keepdim=True),
    "statistics of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "the other way round": lambda x: x.flip(0),
    "one row for all": lambda x: x.mean(0, keepdim=True),
    "similarities": similar,
    "beside what is not": lambda x: {"rows": x.mean((2, 3)), "mixed": [x - x.amax(0, keepdim=True)]},
}


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", MIXED)
def test_one_picture_a_call_where_pictures_are_mixed(name: str, size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, pictures = Behind(MIXED[name]).eval(), torch.rand(4, 3, 8, 8)
    compiled = compile_model(model, pictures[:size], threads=1, tune=False)
    wanted = r"a batch of 4; what it makes of one picture depends on the others, so that it is one picture a call"
    for one in (compiled, load(compiled.save(tmp_path / "net"), threads=1)):
        torch.testing.assert_close(one(pictures[:1]), model(pictures[:1]), rtol=1e-4, atol=1e-5)
        with pytest.raises(EngineError, match=wanted):
            one(pictures)


def test_what_has_no_row_for_a_picture_is_compiled_with_a_batch() -> None:
    model, pictures = Behind(lambda x: (x, x.mean())).eval(), torch.rand(4, 3, 8, 8)
    compiled = compile_model(model, pictures, threads=1)
    torch.testing.assert_close(compiled(pictures[:1]), model(pictures[:1]), rtol=1e-4, atol=1e-5)
    with pytest.raises(EngineError, match="a batch of 4; an output has no batch, so that it is one picture a call"):
        compiled(pictures)


@pytest.mark.parametrize("size", [1, 4])
def test_any_batch_where_they_are_not(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    pictures = torch.rand(4, 3, 8, 8)
    asked: list[int] = []
    mixes = batches_module._mixes
    monkeypatch.setattr(batches_module, "_mixes", lambda *given: asked.append(1) or mixes(*given))
    for _ in range(2):  # what came out is remembered
        compiled = compile_model(model, pictures[:size], threads=1, tune=False)
        for one in (compiled, load(compiled.save(tmp_path / "net"), threads=1)):
            torch.testing.assert_close(one(pictures), model(pictures), rtol=1e-4, atol=1e-5)
    assert len(asked) == 1


def test_a_model_that_takes_no_two_is_not_asked() -> None:
    model = Behind(lambda x: x.reshape(1, -1)).eval()
    pictures = torch.rand(1, 3, 8, 8)
    compiled = compile_model(model, pictures, threads=1, tune=False)
    torch.testing.assert_close(compiled(pictures), model(pictures), rtol=1e-4, atol=1e-5)
