"""Small networks, each with one way of tying channels together (the list follows the field's known trouble spots)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PROBES: dict[str, Callable[[], tuple[nn.Module, Any]]] = {}


def probe(make: Callable[[], tuple[nn.Module, Any]]) -> Callable[[], tuple[nn.Module, Any]]:
    """Adds a network and its example inputs to the list, under the function's name."""
    PROBES[make.__name__] = make
    return make


def picture(channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(2, channels, size, size)


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


class Net(nn.Module):
    """A module whose forward is a function of itself and the inputs."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.run(self, *inputs, **named)


def head(inputs: int) -> nn.Conv2d:
    return conv(inputs, 5, 1)


@probe
def chain():
    parts = [conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 24), nn.BatchNorm2d(24), nn.SiLU(), head(24)]
    return nn.Sequential(*parts), picture()


@probe
def paddings_in_words():
    """``padding="valid"`` reaches the operator as one number for both directions (SigLIP's patches)."""
    parts = [nn.Conv2d(3, 16, 3, padding="valid"), nn.ReLU(), nn.Conv2d(16, 16, 3, padding="valid", groups=16)]
    return nn.Sequential(*parts, nn.Conv2d(16, 8, 3, padding="same", dilation=2), nn.ReLU(), head(8)), picture()


@probe
def paddings_in_words_of_lines():
    parts = [nn.Conv1d(3, 16, 3, padding="valid", stride=2), nn.ReLU(), nn.Conv1d(16, 8, 3, padding="same"), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv1d(8, 5, 1)), torch.randn(2, 3, 16)


@probe
def residual():
    def run(m, x):
        x = m.stem(x)
        return m.head(F.relu(x + m.b(F.relu(m.a(x)))))

    return Net(run, stem=conv(3, 16), a=conv(16, 24), b=conv(24, 16), head=head(16)), picture()


@probe
def flatten_to_linear():
    return nn.Sequential(conv(3, 16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 10)), picture()


@probe
def view_to_linear():
    def run(m, x):
        x = m.a(x)
        return m.b(x.view(x.size(0), -1))

    return Net(run, a=conv(3, 16), b=nn.Linear(16 * 64, 10)), picture()


@probe
def linear_view_to_map():
    def run(m, z):
        x = m.a(z).view(-1, m.width, 4, 4)
        return m.b(F.relu(x))

    return Net(run, a=nn.Linear(12, 16 * 16), b=head(16), width=16), torch.randn(2, 12)


@probe
def cat_channels():
    def run(m, x):
        return m.head(torch.cat([m.a(x), m.b(x), m.a2(x)], dim=1))

    return Net(run, a=conv(3, 8), b=conv(3, 16), a2=conv(3, 4), head=head(28)), picture()


@probe
def cat_last():
    def run(m, x):
        return m.head(torch.cat([m.a(x), m.b(x)], dim=-1))

    return Net(run, a=nn.Linear(6, 8), b=nn.Linear(6, 16), head=nn.Linear(24, 5)), torch.randn(2, 7, 6)


@probe
def cat_minus_three():
    def run(m, x):
        return m.head(torch.cat([m.a(x), m.b(x)], dim=-3))

    return Net(run, a=conv(3, 8), b=conv(3, 16), head=head(24)), picture()


@probe
def cat_same_twice():
    def run(m, x):
        x = m.a(x)
        return m.head(torch.cat([x, F.relu(x)], 1))

    return Net(run, a=conv(3, 8), head=head(16)), picture()


@probe
def chunk_both_used():
    def run(m, x):
        first, second = m.a(x).chunk(2, dim=1)
        return m.b(first) + m.c(second)

    return Net(run, a=conv(3, 16), b=conv(8, 5), c=conv(8, 5)), picture()


@probe
def glu_by_hand():
    def run(m, x):
        value, gate = m.a(x).chunk(2, dim=1)
        return m.b(value * gate.sigmoid())

    return Net(run, a=conv(3, 16), b=head(8)), picture()


@probe
def glu_functional():
    return Net(lambda m, x: m.b(F.glu(m.a(x), dim=1)), a=conv(3, 16), b=head(8)), picture()


@probe
def uneven_split():
    def run(m, x):
        first, second = m.a(x).split(m.sizes, dim=1)
        return m.b(first) + m.c(second)

    return Net(run, a=conv(3, 24), b=conv(8, 5), c=conv(16, 5), sizes=[8, 16]), picture()


@probe
def slices():
    def run(m, x):
        x = m.a(x)
        return m.b(x[:, : m.cut]) + m.c(x[:, m.cut :])

    return Net(run, a=conv(3, 16), b=conv(8, 5), c=conv(8, 5), cut=8), picture()


@probe
def slices_of_constants():
    def run(m, x):
        x = m.a(x)
        return m.b(x[:, :8]) + m.c(x[:, 8:])

    return Net(run, a=conv(3, 16), b=conv(8, 5), c=conv(8, 5)), picture()


@probe
def c2f():
    def run(m, x):
        parts = list(m.a(x).chunk(2, 1))
        for block in m.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return m.head(torch.cat(parts, 1))

    blocks = nn.ModuleList(nn.Sequential(conv(8, 8), nn.SiLU(), conv(8, 8)) for _ in range(2))
    return Net(run, a=conv(3, 16), blocks=blocks, head=head(32)), picture()


@probe
def channel_shuffle():
    def run(m, x):
        x = m.a(x)
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return m.head(x)

    return Net(run, a=conv(3, 16), head=head(16)), picture()


def shuffled(x, groups=2):
    b, c, *places = x.shape
    return x.view(b, groups, c // groups, *places).transpose(1, 2).contiguous().view(b, c, *places)


def halves_shuffled(cut, shuffle=shuffled, width=8):
    """One half of the channels goes through a block, and is shuffled with the other (ShuffleNetV2)."""

    def run(m, x):
        x = m.stem(x)
        x = shuffle(torch.cat([m.left(x), m.right(x)], 1))
        for block in m.blocks:
            one, other = cut(x)
            x = shuffle(torch.cat([one, block(other)], 1))
        return m.head(x)

    blocks = [
        nn.Sequential(conv(width, width, groups=width), conv(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        for _ in range(2)
    ]
    parts = {"stem": conv(3, 6), "left": conv(6, width), "right": conv(6, width)}
    return Net(run, **parts, blocks=nn.ModuleList(blocks), head=head(2 * width)), picture()


@probe
def halves_shuffled_by_chunk():
    return halves_shuffled(lambda x: x.chunk(2, 1))


@probe
def halves_shuffled_by_slices():
    return halves_shuffled(lambda x: (x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]))


@probe
def halves_shuffled_by_an_operator():
    return halves_shuffled(lambda x: x.chunk(2, 1), lambda x: F.channel_shuffle(x, 2))


def dealt(x):
    """Even channels and odd ones."""
    b, c, h, w = x.shape
    x = x.reshape(b * c // 2, 2, h * w).permute(1, 0, 2).reshape(2, -1, c // 2, h, w)
    return x[0], x[1]


@probe
def halves_dealt_in_turn():
    return halves_shuffled(dealt, lambda x: x, width=16)


@probe
def halves_shuffled_in_fours():
    return halves_shuffled(lambda x: x.chunk(2, 1), lambda x: shuffled(x, 4), width=16)


@probe
def halves_shuffled_of_odd_width():
    return halves_shuffled(lambda x: x.chunk(2, 1), width=9)


@probe
def tokens_with_shuffled_features():
    def run(m, x):
        x = m.a(x)
        b, n, c = x.shape
        y = x.reshape(b, n, 4, c // 4).transpose(2, 3).reshape(b, n, c)
        return m.head(x + F.relu(m.b(y)))

    return Net(run, a=nn.Linear(6, 16), b=nn.Linear(16, 16), head=nn.Linear(16, 5)), torch.randn(2, 7, 6)


@probe
def shuffle_named_by_attributes():
    def run(m, x):
        x = m.a(x)
        b, _, h, w = x.shape
        x = x.view(b, m.groups, m.each, h, w).permute(0, 2, 1, 3, 4).reshape(b, m.groups * m.each, h, w)
        return m.head(x)

    return Net(run, a=conv(3, 18), head=head(18), groups=3, each=6), picture()


@probe
def shuffled_map_flattened():
    def run(m, x):
        return m.head(shuffled(torch.cat([m.a(x), m.b(x)], 1)).flatten(1))

    return Net(run, a=conv(3, 8), b=conv(3, 6), head=nn.Linear(14 * 64, 5)), picture()


@probe
def pixel_shuffle():
    return nn.Sequential(conv(3, 32), nn.PixelShuffle(2), head(8)), picture()


@probe
def pixel_unshuffle():
    return nn.Sequential(conv(3, 8), nn.PixelUnshuffle(2), head(32)), picture()


@probe
def focus():
    def run(m, x):
        x = m.a(x)
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return m.head(torch.cat(parts, 1))

    return Net(run, a=conv(3, 8), head=head(32)), picture()


@probe
def pad_channels():
    def run(m, x):
        x = m.a(x)
        wide = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, m.extra, m.extra))
        return m.head(F.relu(wide + m.b(F.relu(x))))

    parts = {"a": conv(3, 16), "b": nn.Conv2d(16, 32, 3, stride=2, padding=1), "extra": 8}
    return Net(run, head=head(32), **parts), picture()


@probe
def pad_channels_on_one_side():
    def run(m, x):
        x = m.a(x)
        return m.head(F.relu(F.pad(x, (0, 0, 0, 0, 0, m.extra)) + m.b(F.relu(x))))

    return Net(run, a=conv(3, 16), b=conv(16, 22), extra=6, head=head(22)), picture()


@probe
def squeeze_excite():
    def run(m, x):
        x = m.a(x)
        scale = m.up(F.relu(m.down(x.mean((2, 3), keepdim=True)))).sigmoid()
        return m.head(x * scale)

    return Net(run, a=conv(3, 16), down=conv(16, 8, 1), up=conv(8, 16, 1), head=head(16)), picture()


@probe
def cbam():
    def run(m, x):
        x = m.a(x)
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return m.head(x * m.gate(both).sigmoid())

    return Net(run, a=conv(3, 16), gate=conv(2, 1, 7), head=head(16)), picture()


@probe
def one_channel_gate():
    def run(m, x):
        x = m.a(x)
        return m.head(x * m.gate(x).sigmoid())

    return Net(run, a=conv(3, 16), gate=conv(16, 1), head=head(16)), picture()


@probe
def eca():
    def run(m, x):
        x = m.a(x)
        gate = m.mix(x.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
        return m.head(F.relu(m.b(x * gate.sigmoid())))

    parts = {"a": conv(3, 16), "mix": nn.Conv1d(1, 1, 3, padding=1), "b": conv(16, 16)}
    return Net(run, head=head(16), **parts), picture()


@probe
def grouped_conv():
    return nn.Sequential(conv(3, 16), conv(16, 32, groups=4), nn.ReLU(), head(32)), picture()


@probe
def depthwise():
    return nn.Sequential(conv(3, 16), conv(16, 16, groups=16), nn.BatchNorm2d(16), head(16)), picture()


@probe
def depthwise_multiplier():
    return nn.Sequential(conv(3, 16), conv(16, 32, groups=16), nn.ReLU(), head(32)), picture()


@probe
def group_norm():
    return nn.Sequential(conv(3, 16), nn.GroupNorm(4, 16), nn.ReLU(), head(16)), picture()


@probe
def group_norm_that_loses_groups():
    return nn.Sequential(conv(3, 16), nn.GroupNorm(8, 16), nn.ReLU(), head(16)), picture()


@probe
def group_norm_functional():
    def run(m, x):
        return m.head(F.relu(F.group_norm(m.a(x), m.norm_groups)))

    return Net(run, a=conv(3, 16), norm_groups=8, head=head(16)), picture()


@probe
def group_norm_across_halves():
    def run(m, x):
        return m.head(m.norm(m.a(x)).chunk(2, 1)[1])

    return Net(run, a=conv(3, 6), norm=nn.GroupNorm(3, 6), head=head(3)), picture()


@probe
def layer_norm_then_flatten():
    def run(m, x):
        x = m.norm(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return m.head(x.flatten(1))

    return Net(run, a=conv(3, 16), norm=nn.LayerNorm(16), head=nn.Linear(16 * 64, 5)), picture()


@probe
def cut_to_one_channel():
    def run(m, x):
        x = F.relu(m.a(x))
        last = x.chunk(2, 1)[1].chunk(2, 1)[1]
        return m.head(last.flatten(1)) + m.b(x).mean((2, 3))

    return Net(run, a=conv(3, 4), b=conv(4, 5), head=nn.Linear(64, 5)), picture()


@probe
def slice_that_begins_inside():
    def run(m, x):
        return m.head(m.a(x)[:, m.begin :])

    return Net(run, a=conv(3, 16), begin=6, head=head(10)), picture()


@probe
def instance_norm():
    norm = nn.InstanceNorm2d(16, affine=True, track_running_stats=True)
    return nn.Sequential(conv(3, 16), norm, nn.ReLU(), head(16)), picture()


@probe
def transposed():
    return nn.Sequential(conv(3, 16), nn.ConvTranspose2d(16, 24, 2, stride=2), nn.ReLU(), head(24)), picture()


@probe
def transposed_grouped():
    return nn.Sequential(conv(3, 16), nn.ConvTranspose2d(16, 24, 2, stride=2, groups=4), head(24)), picture()


@probe
def transposed_depthwise():
    return nn.Sequential(conv(3, 16), nn.ConvTranspose2d(16, 16, 2, stride=2, groups=16), head(16)), picture()


@probe
def conv_twice():
    def run(m, x):
        return m.head(m.b(F.relu(m.b(F.relu(m.a(x))))))

    return Net(run, a=conv(3, 16), b=conv(16, 16), head=head(16)), picture()


@probe
def siamese():
    def run(m, x, y):
        return m.head(torch.cat([m.b(F.relu(m.a(x))), m.b(F.relu(m.a(y)))], 1))

    return Net(run, a=conv(3, 16), b=conv(16, 8), head=head(16)), (picture(), picture())


@probe
def functional_conv():
    def run(m, x):
        return m.head(F.relu(F.conv2d(x, m.w, m.b, padding=1)))

    return Net(run, w=nn.Parameter(torch.randn(16, 3, 3, 3)), b=nn.Parameter(torch.randn(16)), head=head(16)), picture()


@probe
def matmul_parameter():
    def run(m, x):
        return m.head(F.relu(x @ m.w))

    return Net(run, w=nn.Parameter(torch.randn(6, 16)), head=nn.Linear(16, 5)), torch.randn(2, 7, 6)


@probe
def scale_parameter():
    def run(m, x):
        return m.head(m.a(x) * m.scale)

    return Net(run, a=conv(3, 16), scale=nn.Parameter(torch.randn(16, 1, 1)), head=head(16)), picture()


@probe
def scale_buffer():
    def run(m, x):
        return m.head(m.a(x) * m.scale)

    return Net(run, a=conv(3, 16), scale=torch.randn(16, 1, 1), head=head(16)), picture()


@probe
def position_parameter_square():
    def run(m, x):
        return m.head(m.a(x) + m.position)

    parts = {"a": nn.Linear(6, 16), "position": nn.Parameter(torch.randn(1, 16, 16)), "head": nn.Linear(16, 5)}
    return Net(run, **parts), torch.randn(2, 16, 6)


@probe
def layer_norm_channels_first():
    def run(m, x):
        x = m.norm(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return m.head(x)

    return Net(run, a=conv(3, 16), norm=nn.LayerNorm(16), head=head(16)), picture()


@probe
def channels_last_linear():
    def run(m, x):
        x = F.gelu(m.fc(m.a(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return m.head(x)

    return Net(run, a=conv(3, 16), fc=nn.Linear(16, 24), head=head(24)), picture()


@probe
def fused_swiglu():
    def run(m, x):
        gate, value = m.up(m.a(x)).chunk(2, dim=-1)
        return m.down(F.silu(gate) * value)

    return Net(run, a=nn.Linear(6, 16), up=nn.Linear(16, 48), down=nn.Linear(24, 5)), torch.randn(2, 7, 6)


@probe
def einsum():
    def run(m, x):
        return m.head(F.relu(torch.einsum("bnc,cd->bnd", m.a(x), m.w)))

    return Net(run, a=nn.Linear(6, 16), w=nn.Parameter(torch.randn(16, 24)), head=nn.Linear(24, 5)), torch.randn(
        2, 7, 6
    )


@probe
def non_local():
    def run(m, x):
        x = m.a(x)
        b, _, h, w = x.shape
        q, k, v = (part(x).flatten(2) for part in (m.q, m.k, m.v))
        y = torch.bmm(torch.softmax(torch.bmm(q.transpose(1, 2), k), -1), v.transpose(1, 2)).transpose(1, 2)
        return m.head(x + m.out(y.reshape(b, -1, h, w)))

    parts = {name: conv(16, 8, 1) for name in ("q", "k", "v")}
    return Net(run, a=conv(3, 16), out=conv(8, 16, 1), head=head(16), **parts), picture()


class Attention(nn.Module):
    """Self-attention as the common libraries write it."""

    def __init__(self, dim: int, num_heads: int, *, fused: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim) if fused else None
        self.q, self.k, self.v = (None, None, None) if fused else (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        if self.qkv is not None:
            q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (p(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2) for p in (self.q, self.k, self.v))
        y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, n, self.num_heads * self.head_dim))


@probe
def attention_fused():
    return nn.Sequential(nn.Linear(6, 16), Attention(16, 4, fused=True), nn.Linear(16, 5)), torch.randn(2, 7, 6)


@probe
def attention_apart():
    return nn.Sequential(nn.Linear(6, 16), Attention(16, 4, fused=False), nn.Linear(16, 5)), torch.randn(2, 7, 6)


@probe
def attention_sdpa_default_scale():
    def run(m, x):
        x = m.a(x)
        b, n, _ = x.shape
        q, k, v = m.qkv(x).view(b, n, 3, m.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1)
        return m.head(x + m.out(y))

    parts = {"a": nn.Linear(6, 16), "qkv": nn.Linear(16, 96), "out": nn.Linear(32, 16), "heads": 2}
    return Net(run, head=nn.Linear(16, 5), **parts), torch.randn(2, 7, 6)


@probe
def one_key_for_all_queries():  # Falcon: keys and values are taken out of one projection by lists of positions
    def run(m, x):
        x = m.a(x)
        parts = m.qkv(x).view(*x.shape[:2], 6, -1)
        q, k, v = (part.transpose(1, 2) for part in (parts[..., :-2, :], parts[..., [-2], :], parts[..., [-1], :]))
        made = F.scaled_dot_product_attention(q, k, v)
        return m.head(x + m.out(made.transpose(1, 2).flatten(2)))

    parts = {"a": nn.Linear(6, 16), "qkv": nn.Linear(16, 48), "out": nn.Linear(32, 16), "head": nn.Linear(16, 5)}
    return Net(run, **parts), torch.randn(2, 7, 6)


@probe
def multihead_attention():
    def run(m, x):
        x = m.a(x)
        return m.head(x + m.mha(x, x, x, need_weights=False)[0])

    parts = {"a": nn.Linear(6, 16), "mha": nn.MultiheadAttention(16, 2, batch_first=True), "head": nn.Linear(16, 5)}
    return Net(run, **parts), torch.randn(2, 7, 6)


@probe
def cross_attention():
    def run(m, x, y):
        x, y = m.a(x), m.b(y)
        return m.head(x + m.mha(x, y, y, need_weights=False)[0])

    mha = nn.MultiheadAttention(16, 2, kdim=24, vdim=24, batch_first=True)
    parts = {"a": nn.Linear(6, 16), "b": nn.Linear(6, 24), "mha": mha, "head": nn.Linear(16, 5)}
    return Net(run, **parts), (torch.randn(2, 7, 6), torch.randn(2, 9, 6))


@probe
def latents_that_attend():  # Perceiver: learned rows without a batch, normalised, ask what there is
    def run(m, x):
        rows = m.norm(m.latents)
        scores = m.q(rows) @ m.k(x).transpose(-1, -2) / 4
        return m.head((rows + m.out(scores.softmax(-1) @ m.v(x))).sum(1))

    parts = {name: nn.Linear(6 if name in "kv" else 16, 16) for name in ("q", "k", "v", "out")}
    latents = nn.Parameter(torch.randn(12, 16))
    return Net(run, **parts, latents=latents, norm=nn.LayerNorm(16), head=nn.Linear(16, 5)), torch.randn(2, 7, 6)


@probe
def lstm():
    def run(m, x):
        return m.head(m.rnn(m.a(x))[0])

    parts = {"a": nn.Linear(6, 12), "rnn": nn.LSTM(12, 16, num_layers=2, batch_first=True), "head": nn.Linear(16, 5)}
    return Net(run, **parts), torch.randn(2, 4, 6)


@probe
def gru():
    def run(m, x):
        return m.head(m.rnn(m.a(x))[0])

    parts = {"a": nn.Linear(6, 12), "rnn": nn.GRU(12, 16, batch_first=True, bidirectional=True)}
    return Net(run, head=nn.Linear(32, 5), **parts), torch.randn(2, 4, 6)


@probe
def embedding_tied():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 16)
            self.mix = nn.Linear(16, 24)
            self.back = nn.Linear(24, 16)
            self.out = nn.Linear(16, 11, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embed(tokens)
            return self.out(x + self.back(F.gelu(self.mix(x))))

    return Tied(), torch.randint(0, 11, (2, 7))


@probe
def weight_norm():
    layer = nn.utils.parametrizations.weight_norm(conv(3, 16))
    return nn.Sequential(layer, nn.ReLU(), head(16)), picture()


@probe
def weight_norms_in_a_chain():  # HiFi-GAN and other vocoders
    norm = nn.utils.parametrizations.weight_norm
    up = norm(nn.ConvTranspose1d(16, 12, 4, 2))
    layers = [norm(nn.Conv1d(4, 16, 3)), nn.LeakyReLU(), up, nn.LeakyReLU(), norm(nn.Conv1d(12, 3, 3))]
    return nn.Sequential(*layers), torch.randn(2, 4, 9)


@probe
def spectral_norms():  # discriminators
    norm = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(norm(conv(3, 16)), nn.LeakyReLU(), norm(conv(16, 12)), nn.LeakyReLU(), head(12)), picture()


def _edges() -> Tensor:
    return torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])


@probe
def messages_by_index_add():  # graph convolutions, as in public threads on pruning GNNs
    def run(m, x, edges):
        h = m.a(x)
        h = h.new_zeros(x.shape[0], h.shape[1]).index_add(0, edges[1], h[edges[0]])
        return m.head(F.relu(m.b(F.relu(h))))

    return Net(run, a=nn.Linear(5, 16), b=nn.Linear(16, 12), head=nn.Linear(12, 3)), (torch.randn(6, 5), _edges())


@probe
def messages_by_scatter():  # graph attention: a maximum and a sum over the edges of a node
    def run(m, x, edges):
        h = F.relu(m.a(x))
        to = edges[1].view(-1, 1).expand(-1, h.shape[1])
        top = h.new_full(h.shape, -1e9).scatter_reduce(0, to, h[edges[0]], "amax")
        return m.head(top + torch.zeros_like(h).scatter_add_(0, to, h[edges[0]]))

    return Net(run, a=nn.Linear(5, 16), head=nn.Linear(16, 3)), (torch.randn(6, 5), _edges())


@probe
def messages_by_a_sparse_matrix():
    def run(m, x):
        return m.head(torch.sparse.mm(m.near, F.relu(m.b(m.near @ F.relu(m.a(x))))))

    near = (torch.eye(6) + torch.eye(6).roll(1, 0)).to_sparse()
    model = Net(run, a=nn.Linear(5, 16), b=nn.Linear(16, 12), head=nn.Linear(12, 3))
    model.register_buffer("near", near, persistent=False)
    return model, torch.randn(6, 5)


@probe
def segments_pooled():
    def run(m, x, lengths):
        return m.head(torch.segment_reduce(F.relu(m.a(x)), "max", lengths=lengths, axis=0))

    return Net(run, a=nn.Linear(5, 16), head=nn.Linear(16, 3)), (torch.randn(6, 5), torch.tensor([2, 4]))


@probe
def pillars_on_a_canvas():  # PointPillars: features are written behind a slice, of rows that a mask chooses
    def run(m, x, cells):
        x = F.relu(m.a(x))[cells >= 0]
        canvas = torch.zeros(x.shape[1], 16, dtype=x.dtype)
        canvas[:, cells[cells >= 0]] = x.t()
        return m.head(canvas.view(1, -1, 4, 4))

    return Net(run, a=nn.Linear(5, 16), head=head(16)), (torch.randn(4, 5), torch.tensor([3, -1, 9, 0]))


@probe
def rows_by_their_first_channel():
    def run(m, x):
        x = m.a(x)
        return m.head(F.relu(x[x[:, 0] < 9.0]))

    return Net(run, a=nn.Linear(5, 16), head=nn.Linear(16, 3)), torch.randn(12, 5)


@probe
def best_rows_gathered():  # queries of two-stage detectors
    def run(m, x):
        h = F.relu(m.a(x))
        top = m.score(h).squeeze(-1).topk(3, dim=1)[1]
        return m.head(torch.gather(h, 1, top.unsqueeze(-1).expand(-1, -1, h.shape[-1])))

    return Net(run, a=nn.Linear(5, 16), score=nn.Linear(16, 1), head=nn.Linear(16, 3)), torch.randn(2, 7, 5)


@probe
def tokens_mixed_by_a_transform():  # FNet and global filters, along tokens alone
    def run(m, x):
        x = m.a(x)
        return m.head(F.relu(x + torch.fft.fft(x, dim=1).real))

    return Net(run, a=nn.Linear(5, 16), head=nn.Linear(16, 3)), torch.randn(2, 7, 5)


@probe
def rows_pooled_by_windows():  # Funnel: a picture whose columns are channels, and windows one wide
    def run(m, x):
        return m.head(F.avg_pool2d(m.a(x)[:, None], (2, 1), ceil_mode=True)[:, 0].relu())

    return Net(run, a=nn.Linear(5, 16), head=nn.Linear(16, 3)), torch.randn(2, 7, 5)


@probe
def pictures_put_into_text():  # LLaVA and its like: rows of one tensor replace those of another that a mask names
    def run(m, tokens, pixels):
        text, rows = m.a(tokens), m.p(pixels)
        places = tokens == 9
        if places.sum() * text.shape[-1] != rows.numel():
            raise ValueError("expected as many rows as places")
        return m.head(text.masked_scatter(places[..., None].expand_as(text), rows).relu())

    parts = {"a": nn.Embedding(10, 16), "p": nn.Linear(6, 16), "head": nn.Linear(16, 3)}
    return Net(run, **parts), (torch.tensor([[1, 2, 9, 9, 3], [9, 9, 4, 5, 6]]), torch.randn(4, 6))


@probe
def rows_as_often_as_said():  # VITS: how long each sound is follows from the channels, behind a norm over them
    def run(m, x):
        x = m.norm(m.a(x))
        often = torch.ceil(torch.exp(m.often(x)[..., 0]))
        ends = often.cumsum(-1)
        places = torch.arange(int(often.sum(-1).max()), dtype=x.dtype)[:, None]
        there = (places < ends[:, None]) & (places >= (ends - often)[:, None])
        return m.head(m.b(there.to(x.dtype) @ x).relu())

    parts = {"a": nn.Linear(5, 16), "norm": nn.LayerNorm(16), "often": nn.Linear(16, 1), "b": nn.Linear(16, 8)}
    return Net(run, **parts, head=nn.Linear(8, 3)), torch.randn(2, 7, 5)


@probe
def windows_that_overlap():  # Longformer: strides of half a window, a width that is checked, a query divided in place
    def run(m, x):
        x = m.a(x)
        width = x.shape[-1]
        if width != m.width:
            raise ValueError(f"expected {m.width} channels, not {width}")
        x = m.b(x)
        x /= math.sqrt(m.width)
        batch, row, one = x.stride()
        return m.head(x.as_strided((2, 3, 4, width), (batch, 2 * row, row, one)).relu().sum(2))

    layers = {"a": nn.Linear(5, 16), "b": nn.Linear(16, 16), "head": nn.Linear(16, 3)}
    return Net(run, **layers, width=16), torch.randn(2, 8, 5)


@probe
def deformable_convolution():  # torchvision.ops.DeformConv2d, with offsets and a mask
    from torchvision.ops import DeformConv2d

    def run(m, x):
        x = F.relu(m.stem(x))
        one, two, mask = m.offset(x).chunk(3, dim=1)
        return m.head(F.relu(m.d(x, torch.cat([one, two], 1), mask.sigmoid())))

    parts = {"stem": conv(3, 16), "offset": conv(16, 27), "d": DeformConv2d(16, 12, 3, padding=1), "head": head(12)}
    return Net(run, **parts), picture()


@probe
def unfold_and_fold():  # outlook attention
    def run(m, x):
        x = F.unfold(m.a(x), 3, padding=1)
        return m.head(F.fold(x * x.sigmoid(), (8, 8), 3, padding=1))

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@probe
def pool_and_unpool():  # segmenters that go up by the positions of the way down
    def run(m, x):
        x, where = F.max_pool2d(m.a(x), 2, return_indices=True)
        return m.head(F.max_unpool2d(m.b(F.relu(x)), where, 2))

    return Net(run, a=conv(3, 16), b=conv(16, 16), head=head(16)), picture()


@probe
def bags_of_words():
    model = nn.Sequential(nn.EmbeddingBag(20, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))
    return model, torch.randint(0, 20, (3, 5))


@probe
def distances_to_prototypes():
    return Net(
        lambda m, x: torch.cdist(m.a(x), m.prototypes), a=nn.Linear(5, 16), prototypes=nn.Parameter(torch.randn(4, 16))
    ), torch.randn(6, 5)


@probe
def packed_sequences():
    def run(m, tokens):
        packed = nn.utils.rnn.pack_padded_sequence(m.table(tokens), torch.tensor([5, 3]), batch_first=True)
        x, _ = nn.utils.rnn.pad_packed_sequence(m.rnn(packed)[0], batch_first=True)
        return m.head(x)

    parts = {"table": nn.Embedding(20, 12), "rnn": nn.GRU(12, 16, batch_first=True), "head": nn.Linear(16, 3)}
    return Net(run, **parts), torch.randint(0, 20, (2, 5))


@probe
def shuffled_by_a_module():
    return nn.Sequential(conv(3, 16), nn.ReLU(), nn.ChannelShuffle(2), conv(16, 16, groups=2), head(16)), picture()


@probe
def tensor_made_for_nothing():
    def run(m, x):
        x = m.a(x)
        torch.zeros(2, x.shape[1])
        return m.head(F.relu(x))

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@probe
def index_select_permutation():
    def run(m, x):
        return m.head(m.a(x)[:, m.order])

    return Net(run, a=conv(3, 16), order=torch.randperm(16), head=head(16)), picture()


@probe
def in_place_slice_write():
    def run(m, x):
        y = m.a(x).clone()
        y[:, : m.half] = F.relu(y[:, : m.half])
        return m.head(y)

    return Net(run, a=conv(3, 16), half=8, head=head(16)), picture()


@probe
def temporal_shift():
    def run(m, x):
        x = m.a(x)
        y = torch.zeros_like(x)
        fold = x.shape[1] // 4
        y[1:, :fold] = x[:-1, :fold]
        y[:-1, fold : 2 * fold] = x[1:, fold : 2 * fold]
        y[:, 2 * fold :] = x[:, 2 * fold :]
        return m.head(y)

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@probe
def stack_and_sum():
    def run(m, x):
        return m.head(torch.stack([m.a(x), m.b(x)], 0).sum(0))

    return Net(run, a=conv(3, 16), b=conv(3, 16), head=head(16)), picture()


@probe
def repeat_interleave():
    def run(m, x):
        return m.head(m.a(x).repeat_interleave(2, dim=1))

    return Net(run, a=conv(3, 8), head=head(16)), picture()


@probe
def maxout():
    def run(m, x):
        x = m.a(x)
        b, _, h, w = x.shape
        return m.head(x.view(b, 2, -1, h, w).max(dim=1)[0])

    return Net(run, a=conv(3, 16), head=head(8)), picture()


@probe
def frozen_parameters():
    model = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), head(16))
    for parameter in model[:2].parameters():
        parameter.requires_grad_(False)
    return model, picture()


@probe
def nested_dict_outputs():
    def run(m, x):
        y = F.relu(m.a(x))
        return {"main": {"out": m.head(y)}, "extra": [m.other(y)]}

    return Net(run, a=conv(3, 16), head=head(16), other=head(16)), picture()


@probe
def conv1d():
    return nn.Sequential(nn.Conv1d(3, 16, 3), nn.ReLU(), nn.Conv1d(16, 5, 1)), torch.randn(2, 3, 12)


@probe
def conv3d():
    parts = [nn.Conv3d(3, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(), nn.Conv3d(16, 5, 1)]
    return nn.Sequential(*parts), torch.randn(2, 3, 4, 4, 4)


@probe
def unused_branch():
    def run(m, x):
        x = m.a(x)
        m.side(x)
        return m.head(F.relu(x))

    return Net(run, a=conv(3, 16), side=conv(16, 8), head=head(16)), picture()


@probe
def keyword_inputs():
    def run(m, *, left, right):
        return m.head(F.relu(m.a(left) + m.b(right)))

    return Net(run, a=conv(3, 16), b=conv(3, 16), head=head(16)), {"left": picture(), "right": picture()}


def _vectors(read: Callable[[Any, Tensor], Tensor]) -> tuple[nn.Module, Any]:
    """A layer whose one vector of 16 is read by a product of fewer than two dimensions."""

    def run(m, x):
        return read(m, F.relu(m.a(x))[0])

    parts = {"weight": nn.Parameter(torch.randn(5, 16)), "bias": nn.Parameter(torch.randn(5))}
    return Net(run, a=nn.Linear(3, 16), vector=nn.Parameter(torch.randn(16)), **parts), torch.randn(1, 3)


@probe
def matrix_times_vector():
    return _vectors(lambda m, x: torch.mv(m.weight, x))


@probe
def matrix_times_vector_and_bias():
    return _vectors(lambda m, x: torch.addmv(m.bias, m.weight, x))


@probe
def vector_times_vector():
    return _vectors(lambda m, x: torch.dot(m.vector, x))


@probe
def batched_products_and_bias():
    def run(m, x):
        x = F.relu(m.a(x)).unsqueeze(0)
        return torch.baddbmm(m.bias, x, m.weight)

    weight, bias = nn.Parameter(torch.randn(1, 16, 5)), nn.Parameter(torch.randn(1, 4, 5))
    return Net(run, a=nn.Linear(3, 16), weight=weight, bias=bias), torch.randn(4, 3)


@probe
def sum_that_leaves_nan_out():
    def run(m, x):
        x = F.relu(m.a(x))
        return m.head(x * torch.nansum(x, 1, keepdim=True))

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@probe
def convolution_one_wide_over_rows():
    """Channels lie where positions do: tokens of three stages are mixed into one, as CoaT mixes them."""

    def run(m, x):
        rows = torch.stack([F.relu(m.a(x)), F.relu(m.b(x)), F.relu(m.c(x))], 1)
        return m.head(F.relu(m.mix(rows)).squeeze(1))

    parts = {name: nn.Linear(3, 16) for name in "abc"}
    return Net(run, **parts, mix=nn.Conv1d(3, 1, 1), head=nn.Linear(16, 4)), torch.randn(4, 3)


@probe
def norms_of_channels_are_bounded():
    """``renorm`` of each channel over its positions, as spectral-like constraints on features."""
    return Net(lambda m, x: m.head(torch.renorm(m.a(x), 2, 1, 1.0)), a=conv(3, 16), head=head(16)), picture()


@probe
def norms_of_pictures_are_bounded():
    """Of each picture over its channels, too: the norm is then one of the channels that stay."""
    return Net(lambda m, x: m.head(torch.renorm(m.a(x), 2, 0, 1.0)), a=conv(3, 16), head=head(16)), picture()


@probe
def fractional_pooling():
    """The windows of each channel lie at places of its own, which are drawn."""
    return nn.Sequential(conv(3, 16), nn.FractionalMaxPool2d(2, output_size=4), head(16)), picture()


@probe
def slopes_that_are_drawn_in_training():
    return nn.Sequential(conv(3, 16), nn.RReLU(), conv(16, 8), nn.RReLU(inplace=True), head(8)), picture()


@probe
def gates_on_a_diagonal():
    """A gate as a diagonal matrix that is multiplied with, as written by hand (``diag_embed``)."""

    def run(m, x):
        return m.head(torch.bmm(m.a(x)[:, None], torch.diag_embed(torch.sigmoid(m.gate(x))))[:, 0])

    return Net(run, a=nn.Linear(3, 16), gate=nn.Linear(3, 16), head=nn.Linear(16, 4)), torch.randn(2, 3)


@probe
def a_rotation_for_each_channel():
    """Matrix exponentials of the positions of each channel: channels are the batch."""

    def run(m, x):
        x = m.a(x)
        return m.head(x @ torch.matrix_exp(0.1 * (x - x.mT)))

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@probe
def whitened_by_an_inverse():
    """Maps are multiplied with the inverse of their own products, and solved against them."""

    def run(m, x):
        x = m.a(x)
        products = x @ x.mT + torch.eye(8, dtype=x.dtype)
        return m.head(torch.linalg.inv(products) @ x + torch.linalg.solve(products, x))

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@probe
def neighbours_made_sparse_in_forward():
    """A graph network whose adjacency is built of edges and their weights in forward."""

    def run(m, x, edges, weights):
        neighbours = torch.sparse_coo_tensor(edges, weights, (6, 6), check_invariants=False)
        x = F.relu(torch.sparse.mm(neighbours, m.a(x)))
        return m.head(torch.sparse.mm(neighbours, x))

    edges = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 0, 3, 2, 5, 4]])
    return Net(run, a=nn.Linear(3, 16), head=nn.Linear(16, 4)), (torch.randn(6, 3), edges, torch.rand(6) + 0.1)


@probe
def words_times_the_root_of_their_width():
    """Every tutorial's transformer takes the width for that from the table itself, which then follows."""

    def run(m, words):
        x = m.words(words) * math.sqrt(m.words.embedding_dim) + m.places(torch.arange(words.shape[1]))
        return m.head(F.relu(m.f(x)))

    parts = {"words": nn.Embedding(20, 16), "places": nn.Embedding(8, 16), "f": nn.Linear(16, 24)}
    return Net(run, **parts, head=nn.Linear(24, 3)), torch.randint(0, 20, (2, 5))


@probe
def steps_whose_gradient_follows_the_width():
    """Learned quantisers (LSQ): what is added of a step again is what was taken off, whatever the width is."""

    class Quantised(nn.Conv2d):
        def forward(self, x):
            part = 1 / math.sqrt(self.weight.numel())
            step = self.step * part + (self.step * (1 - part)).detach()
            whole = self.weight / step
            return self._conv_forward(x, ((whole.round() - whole).detach() + whole) * step, self.bias)

    layers = [Quantised(3, 16, 3, padding=1), nn.ReLU(), Quantised(16, 24, 3, padding=1), nn.ReLU(), head(24)]
    for layer in (layers[0], layers[2]):
        layer.step = nn.Parameter(torch.tensor([0.01]))
    return nn.Sequential(*layers), picture()


@probe
def words_of_bounded_norms():
    """``nn.Embedding(max_norm=...)``: the table itself is scaled down in forward, by norms over its channels."""

    def run(m, words):
        return m.head(F.relu(m.f(m.words(words))))

    return Net(run, words=nn.Embedding(20, 16, max_norm=2.0), f=nn.Linear(16, 24), head=nn.Linear(24, 3)), (
        torch.randint(0, 20, (2, 5))
    )


@probe
def lengths_that_a_layer_tells():
    """A speech synthesiser repeats each letter as often as a layer says (FastSpeech): sizes follow from values."""

    def run(m, x):
        x = F.relu(m.a(x))
        times = m.length(x)[:, 0].exp().round().long().clamp(1, 4)
        return m.head(F.relu(m.f(torch.repeat_interleave(x, times, dim=0))))

    return Net(run, a=nn.Linear(3, 16), length=nn.Linear(16, 1), f=nn.Linear(16, 24), head=nn.Linear(24, 4)), (
        torch.randn(5, 3)
    )


@probe
def blocks_on_a_diagonal():
    """Two products in one, as ``block_diag`` of two weights: rows and columns of both stand behind each other."""

    def run(m, x):
        both = torch.cat([F.relu(m.a(x)), F.relu(m.b(x))], 1)
        return m.head(both @ torch.block_diag(m.first, m.second))

    weights = {name: nn.Parameter(torch.randn(16, 8)) for name in ("first", "second")}
    return Net(run, a=nn.Linear(3, 16), b=nn.Linear(3, 16), head=nn.Linear(16, 4), **weights), torch.randn(2, 3)


@probe
def a_window_over_time():
    """Steps are weighted by a window that is made in forward."""

    def run(m, x):
        return m.head((F.relu(m.a(x)) * torch.hann_window(x.shape[-1], dtype=x.dtype)).mean(-1))

    return Net(run, a=nn.Conv1d(3, 16, 3, padding=1), head=nn.Linear(16, 4)), torch.randn(2, 3, 12)


@probe
def padded_pairs_in_a_transformer():
    """``nn.Transformer`` with a mask of what is padding, as tutorials on translation call it: widths are checked."""

    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, 16), nn.Linear(16, 20)
            self.both = nn.Transformer(16, 2, 1, 1, 24, batch_first=True)

        def forward(self, source: Tensor, target: Tensor) -> Any:
            later = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=self.head.weight.dtype)
            x = self.both(self.table(source), self.table(target), tgt_mask=later, src_key_padding_mask=source == 0)
            return self.head(x)

    return Translator(), (torch.randint(0, 20, (2, 6)), torch.randint(1, 20, (2, 4)))
