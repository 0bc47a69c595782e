"""More blocks of random networks: those that read a map as tokens, or channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from support.random_blocks import Choices, Made, Shape, block


class ConvNeXt(nn.Module):
    """Depthwise convolution, then norm and layers over the last dimension, scaled a channel."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


@block
def convnext(shape: Shape, choices: Choices) -> Made:
    return ConvNeXt(shape.channels, choices.of(8, 12, 16)), shape


class Attention(nn.Module):
    """Self-attention in the ways that the common libraries write it."""

    def __init__(self, dim: int, heads: int, head_dim: int, kind: str, *, fused_kernel: bool) -> None:
        super().__init__()
        self.kind, self.fused_kernel = kind, fused_kernel
        self.num_heads, self.head_dim = heads, head_dim
        self.inner = heads * head_dim
        self.scale = head_dim**-0.5
        if kind == "apart":
            self.q, self.k, self.v = (nn.Linear(dim, self.inner) for _ in range(3))
        else:
            self.qkv = nn.Linear(dim, 3 * self.inner)
        self.out = nn.Linear(self.inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        if self.kind == "fused":
            q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            whole = (self.q(x), self.k(x), self.v(x)) if self.kind == "apart" else self.qkv(x).chunk(3, -1)
            q, k, v = (part.view(b, n, self.num_heads, self.head_dim).transpose(1, 2) for part in whole)
        if self.fused_kernel:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, n, self.inner))


class Gated(nn.Module):
    """SwiGLU with one matrix for both halves, or a plain hidden layer."""

    def __init__(self, dim: int, hidden: int, *, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.up, self.down = nn.Linear(dim, 2 * hidden if gated else hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.down(F.gelu(self.up(x)))
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Tokens(nn.Module):
    """Reads a map as tokens, adds what attention and a layer make of them, and makes it a map again."""

    def __init__(self, dim: int, mixer: nn.Module, mlp: nn.Module, norm: type[nn.Module]) -> None:
        super().__init__()
        self.mixer, self.mlp = mixer, mlp
        self.first, self.second = (norm(dim) if norm is not nn.Identity else norm() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = x.flatten(2).transpose(1, 2)
        y = y + self.mixer(self.first(y))
        y = y + self.mlp(self.second(y))
        return y.transpose(1, 2).reshape(b, c, h, w)


@block
def tokens(shape: Shape, choices: Choices) -> Made:
    kind, kernel = choices.of("fused", "apart", "chunk"), choices.of(False, True)
    mixer = Attention(shape.channels, choices.of(2, 1, 3), choices.of(4, 6), kind, fused_kernel=kernel)
    mlp = Gated(shape.channels, choices.of(6, 8, 12), gated=choices.of(True, False))
    return Tokens(shape.channels, mixer, mlp, choices.of(nn.Identity, nn.LayerNorm, nn.RMSNorm)), shape
