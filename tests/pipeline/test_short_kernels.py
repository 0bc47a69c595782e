"""Kernels that know no float64: those with a formula are proven by it, others are named."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import ConfigError
from sapwood.graph.double import KeepDouble

Kernel = Callable[["Short", Tensor], Tensor]


class Short(nn.Module):
    """Layers around a kernel that takes short numbers."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.first, self.second, self.head = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 5)
        self.register_buffer("bytes", torch.randint(-127, 127, (64, 64), dtype=torch.int8))
        self.register_buffer("scales", torch.rand(64) / 500)
        self.register_buffer("points", torch.rand(2, 64, 2) / 50)
        nibbles = torch.randint(0, 15, (64, 64), dtype=torch.int32)
        self.register_buffer("nibbles", torch.ops.aten._convert_weight_to_int4pack_for_cpu(nibbles, 2))
        self.register_buffer("eights", torch.randn(64, 64).to(torch.float8_e4m3fn))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.kernel(self, self.second(self.first(x).relu()).relu()))


def int8(model: Short, x: Tensor) -> Tensor:
    return torch.ops.aten._weight_int8pack_mm(x, model.bytes, model.scales)


def int8_in_bfloat16(model: Short, x: Tensor) -> Tensor:
    return torch.ops.aten._weight_int8pack_mm(x.bfloat16(), model.bytes, model.scales.bfloat16()).float()


def int4(model: Short, x: Tensor) -> Tensor:
    return torch.ops.aten._weight_int4pack_mm_for_cpu(x, model.nibbles, 32, model.points)


def float8(model: Short, x: Tensor) -> Tensor:
    one = torch.ones((), dtype=torch.float32)
    return torch._scaled_mm(x.to(torch.float8_e4m3fn), model.eights.t(), scale_a=one, scale_b=one, out_dtype=x.dtype)


def int32(model: Short, x: Tensor) -> Tensor:
    return torch._int_mm((x * 10).to(torch.int8), model.bytes).to(x.dtype) / 100


def fake(model: Short, x: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127)


def flash(model: Short, x: Tensor) -> Tensor:
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return attention(x[None, None], x[None, None], x[None, None])[0][0, 0]


def layout(model: Short, x: Tensor) -> Tensor:
    return x.to_mkldnn().to_dense()


def fused(model: Short, x: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, model.second.weight, model.second.bias, "none", [], "")


def made(kernel: Kernel) -> tuple[Short, Tensor]:
    """The model and its input; skips where this PyTorch, or this processor, has no such kernel."""
    torch.manual_seed(0)
    try:
        model, x = Short(kernel).eval(), torch.randn(20, 32)
        model(x)
    except (RuntimeError, AttributeError, NotImplementedError, ValueError) as error:
        pytest.skip(f"no such kernel here: {error}")
    return model, x


@pytest.mark.parametrize("kernel", [int8, int8_in_bfloat16, int4, float8, int32, fake, flash])
def test_the_rest_of_the_model_goes_and_is_proven(kernel: Kernel) -> None:
    model, x = made(kernel)
    pruned = sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5))
    assert pruned.verification.passed
    assert pruned.model.first.out_features == 32, "what the kernel does not read goes"
    assert pruned.model(x).shape == (20, 5)


@pytest.mark.parametrize("kernel", [int8, int4, float8])
def test_a_formula_makes_what_the_kernel_makes(kernel: Kernel) -> None:
    model, x = made(kernel)
    with torch.no_grad():
        wanted = model(x)
        with KeepDouble():
            came = model(x.double())
    assert came.dtype is torch.float64
    torch.testing.assert_close(came.float(), wanted, rtol=0.0, atol=1e-2 * wanted.abs().max().item())


@pytest.mark.parametrize(
    ("kernel", "says"), [(layout, "dense_to_mkldnn expects float"), (fused, "expects float/bfloat16/half")]
)
def test_others_are_named_with_their_place(kernel: Kernel, says: str) -> None:
    model, x = made(kernel)
    where = r"RuntimeError at test_short_kernels.py:\d+: "
    expected = rf"^the model runs as it is, but not in float64, .*{where}.*{re.escape(says)}"
    with pytest.raises(ConfigError, match=expected):
        sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5))
