"""Sums and products of maps: whole planes are one run of values, and what pads their rows stays zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sapwood.runtime import compile as compile_model

pytestmark = pytest.mark.usefixtures("engine")

ISAS = ("avx512", "avx2", "scalar")


class Combined(nn.Module):
    """A map times another one or a number for each channel, or plus another one; then what looks at its padding."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.around = kind, nn.Conv2d(3, 2, 3, padding=1)
        nn.init.constant_(self.around.weight, 0.5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = self.around(x * y if self.kind == "mul" else x + y)
        return found


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("width", [1, 5, 7, 13, 15, 16, 33])
@pytest.mark.parametrize("kind", ["mul", "add"])
def test_planes_of_every_width(kind: str, width: int, isa: str) -> None:
    torch.manual_seed(width)
    x, y = torch.randn(1, 3, 4, width), torch.randn(1, 3, 4, width)
    net = Combined(kind).eval()
    with torch.no_grad():
        wanted = net(x, y)
    torch.testing.assert_close(compile_model(net, (x, y), threads=1, tune=False)(x, y), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("isa", ISAS, indirect=True)
@pytest.mark.parametrize("factor", [2.5, float("inf")])
def test_padding_is_zero_whatever_a_channel_is_multiplied_with(factor: float, isa: str) -> None:
    """Zero times infinity is NaN, which the convolution behind would read beyond each row's end."""
    x, y = torch.rand(1, 3, 4, 7) + 0.5, torch.tensor([1.0, factor, 2.0]).view(1, 3, 1, 1)
    net = Combined("mul").eval()
    model = compile_model(net, (x, torch.ones_like(y)), threads=1, tune=False)
    with torch.no_grad():
        torch.testing.assert_close(model(x, y), net(x, y), rtol=1e-4, atol=1e-5)
