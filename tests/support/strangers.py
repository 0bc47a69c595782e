"""Networks as strangers write them, small, each with one way in which code reads its widths; see ``probes.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from support.probes import Net, conv, head, picture

STRANGERS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {}


def stranger(make: Callable[[], tuple[nn.Module, Any]]) -> Callable[[], tuple[nn.Module, Any]]:
    """Adds a network and its example inputs to the list, under the function's name."""
    STRANGERS[make.__name__] = make
    return make


class Cell(nn.Module):
    """A recurrent cell of which the loop around it makes the first state (ConvLSTM)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = conv(inputs + hidden, 3 * hidden)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        forget, keep, new = torch.split(self.gates(torch.cat([x, h], 1)), self.hidden, 1)
        return forget.sigmoid() * h + keep.sigmoid() * new.tanh()

    def start(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), self.hidden, *x.shape[2:])


def looped(widths: tuple[int, int]) -> tuple[nn.Module, Any]:
    def run(m, x):
        for cell in m.cells:
            h = cell.start(x)
            for _ in range(2):
                h = cell(x, h)
            x = h
        return m.head(x)

    cells = nn.ModuleList([Cell(3, widths[0]), Cell(*widths)])
    return Net(run, cells=cells, head=head(widths[1])), picture()


@stranger
def cells_in_a_list():
    return looped((8, 12))


@stranger
def cells_in_a_list_of_one_width():
    return looped((8, 8))


KEYS = ("width", "heads")


def configured(config: Any) -> tuple[nn.Module, Any]:
    """Attention that reads its widths from an object that all layers share."""

    def attention(m, x):
        b, t, _ = x.shape
        width, heads = (m.config[key] if isinstance(m.config, dict) else getattr(m.config, key) for key in KEYS)
        q, k, v = (y.view(b, t, heads, width // heads).transpose(1, 2) for y in m.qkv(x).split(width, -1))
        y = F.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2)
        return x + m.out(y.reshape(b, t, width))

    def layer():
        return Net(attention, qkv=nn.Linear(16, 48), out=nn.Linear(16, 16), config=config)

    return nn.Sequential(nn.Linear(6, 16), layer(), layer(), nn.Linear(16, 3)), torch.randn(2, 5, 6)


@stranger
def widths_in_a_dataclass():
    @dataclass
    class Config:
        width: int = 16
        heads: int = 4

    return configured(Config())


@stranger
def widths_in_a_namespace():
    return configured(SimpleNamespace(width=16, heads=4))


@stranger
def widths_in_a_dict():
    return configured({"width": 16, "heads": 4})


class Settings:
    """Numbers in the body of a class, as minGPT's first configs have them."""

    width = 16
    heads = 4


class Frozen:
    """Numbers that are set once."""

    def __init__(self) -> None:
        vars(self).update(width=16, heads=4)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} is fixed")


class Node(dict):
    """A dict whose items are attributes, as YAML files are read into."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Slotted:
    __slots__ = ("heads", "width")

    def __init__(self) -> None:
        self.width, self.heads = 16, 4


@stranger
def widths_in_the_body_of_a_class():
    return configured(Settings())


@stranger
def widths_in_a_dict_with_attributes():
    return configured(Node(width=16, heads=4))


@stranger
def widths_in_slots_of_an_object():
    return configured(Slotted())


@stranger
def widths_of_numpy():
    def run(m, x):
        return m.head(m.a(x).relu().view(-1, 5 * m.width))

    return Net(run, a=nn.Linear(6, 16), head=nn.Linear(80, 3), width=np.int64(16)), torch.randn(4, 5, 6)


@stranger
def symmetric_weight():
    """Kept as its upper half: a channel goes from both sides."""

    def run(m, x):
        upper = m.upper.triu()
        return m.head(F.relu(m.a(x)) @ (upper + upper.triu(1).mT))

    return Net(run, a=nn.Linear(6, 16), upper=nn.Parameter(torch.randn(16, 16)), head=nn.Linear(16, 3)), torch.randn(
        4, 6
    )


@stranger
def bilinear_layer():
    def run(m, x):
        return m.head(F.relu(m.both(F.relu(m.a(x)), m.b(x).tanh())))

    parts = {"a": nn.Linear(6, 16), "b": nn.Linear(6, 12), "both": nn.Bilinear(16, 12, 20)}
    return Net(run, **parts, head=nn.Linear(20, 3)), torch.randn(5, 6)


@stranger
def last_channel_read_for_its_shape():
    """As BART counts its tokens: the channel is one like any other."""

    def run(m, x):
        x = m.a(x)
        return m.head(F.relu(x + m.places[: x[:, :, -1].shape[1]]))

    return Net(run, a=nn.Linear(6, 16), places=nn.Parameter(torch.randn(5, 16)), head=nn.Linear(16, 3)), torch.randn(
        2, 5, 6
    )


@stranger
def keys_kept_in_buffers():
    def run(m, tokens):
        made = []
        for place in range(tokens.shape[1]):
            q, k, v = m.qkv(tokens[:, place]).chunk(3, -1)
            m.keys[:, place], m.values[:, place] = k, v
            scores = (q[:, None] @ m.keys[:, : place + 1].mT / q.shape[-1] ** 0.5).softmax(-1)
            made.append((scores @ m.values[:, : place + 1])[:, 0])
        return m.head(torch.stack(made, 1))

    parts = {"keys": torch.zeros(2, 4, 16), "values": torch.zeros(2, 4, 16)}
    return Net(run, qkv=nn.Linear(6, 48), **parts, head=nn.Linear(16, 3)), torch.randn(2, 4, 6)


@stranger
def places_times_queries():
    """Distances as in Shaw's attention: keys and places are scaled, not the queries that meet both."""

    def run(m, x):
        q, k, v = m.qkv(x).chunk(3, -1)
        t = x.shape[1]
        far = torch.arange(t)[:, None] - torch.arange(t) + t - 1
        scores = q @ k.mT + torch.einsum("bid,ijd->bij", q, m.places[far])
        return m.head((scores * q.shape[-1] ** -0.5).softmax(-1) @ v)

    parts = {"qkv": nn.Linear(6, 48), "places": nn.Parameter(torch.randn(9, 16))}
    return Net(run, **parts, head=nn.Linear(16, 3)), torch.randn(2, 5, 6)


@stranger
def sound_in_frames():
    def run(m, x):
        power = torch.fft.rfft(x.unfold(-1, 16, 8)).abs()
        return m.head(F.relu(m.a(power.mT)).unfold(-1, 3, 2).amax((2, 3)))

    return Net(run, a=nn.Conv1d(9, 16, 1), head=nn.Linear(16, 3)), torch.randn(2, 80)


@stranger
def moved_by_a_matrix():
    """A spatial transformer."""

    def run(m, x):
        grid = F.affine_grid(m.how(F.relu(m.look(x)).mean((2, 3))).view(-1, 2, 3), list(x.shape), align_corners=False)
        return m.head(F.relu(m.a(F.grid_sample(x, grid, align_corners=False))))

    return Net(run, look=conv(3, 16), how=nn.Linear(16, 6), a=conv(3, 24), head=head(24)), picture()


@stranger
def volume_read_on_a_grid():
    def run(m, x):
        grid = torch.tensor([[[[[0.1, -0.3, 0.5], [0.7, 0.2, -0.6]]]]], dtype=x.dtype).expand(len(x), -1, -1, -1, -1)
        return m.head(F.grid_sample(F.relu(m.a(x)), grid, align_corners=True))

    return Net(run, a=nn.Conv3d(2, 16, 1), head=nn.Conv3d(16, 3, 1)), torch.randn(2, 2, 4, 4, 4)


@stranger
def powers_of_channels():
    def run(m, x):
        x = F.relu(m.a(x))
        return m.head(x), torch.diagonal(x.flatten(2) @ x.flatten(2).mT, dim1=1, dim2=2).sum(-1)

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@stranger
def angles_and_sums_of_exponents():
    def run(m, x):
        x = m.a(x)
        return m.head(torch.logaddexp(torch.atan(x), torch.asinh(x)) + torch.exp2(x.sigmoid()))

    return Net(run, a=nn.Linear(6, 16), head=nn.Linear(16, 3)), torch.randn(5, 6)


@stranger
def codes_by_private_numbers():
    """A VQ-VAE whose numbers stand behind underscores, as in the code that most copy."""

    class Codes(nn.Module):
        def __init__(self, number: int, width: int) -> None:
            super().__init__()
            self._width, self._number = width, number
            self.book = nn.Embedding(number, width)

        def forward(self, x: Tensor) -> Tensor:
            rows = x.permute(0, 2, 3, 1).contiguous()
            flat = rows.view(-1, self._width)
            chosen = torch.cdist(flat, self.book.weight).argmin(1, keepdim=True)
            ones = torch.zeros(len(chosen), self._number, dtype=x.dtype).scatter_(1, chosen, 1)
            return (ones @ self.book.weight).view(rows.shape).permute(0, 3, 1, 2).contiguous()

    return nn.Sequential(conv(3, 16), Codes(10, 16), head(16)), picture()


@stranger
def split_attention():
    """Branches weighed against each other, by a fully connected layer in groups (ResNeSt)."""

    def run(m, x):
        x = m.both(x)
        branches = x.chunk(2, 1)
        pooled = sum(branches).mean((2, 3), keepdim=True)
        weights = (
            m.up(m.down(pooled).relu()).view(len(x), 2, 2, -1).transpose(1, 2).softmax(1).reshape(len(x), -1, 1, 1)
        )
        return m.head(sum(part * weight for part, weight in zip(branches, weights.chunk(2, 1), strict=True)))

    parts = {"down": conv(16, 8, 1, groups=2), "up": conv(8, 32, 1, groups=2)}
    return Net(run, both=conv(4, 32, groups=4), **parts, head=head(16)), picture(4)


@stranger
def shifted_in_time_by_eighths():
    """Each eighth of the channels is of another frame, as many as the width says (temporal shift modules)."""

    def run(m, x):
        x = m.a(x)
        frames = x.view(-1, 4, *x.shape[1:])
        eighth = frames.shape[2] // 8
        out = torch.zeros_like(frames)
        out[:, :-1, :eighth] = frames[:, 1:, :eighth]
        out[:, 1:, eighth : 2 * eighth] = frames[:, :-1, eighth : 2 * eighth]
        out[:, :, 2 * eighth :] = frames[:, :, 2 * eighth :]
        return m.head(out.view(x.shape))

    return Net(run, a=conv(3, 32), head=head(32)), torch.randn(8, 3, 6, 6)


@stranger
def widths_in_a_list_of_a_dict():
    """The last width of a list decides how the map is flattened."""

    def run(m, x):
        x = m.b(m.a(x).relu()).relu()
        return m.head(x.reshape(-1, m.arch["dims"][1] * x.shape[2] * x.shape[3]))

    arch = {"dims": [16, 24], "name": "small"}
    return Net(run, a=conv(3, 16), b=conv(16, 24), head=nn.Linear(24 * 64, 3), arch=arch), picture()


@stranger
def pyramid_of_grouped_kernels():
    """A plain convolution and a grouped one behind each other in one dimension (PyConv): each loses channels."""

    def run(m, x):
        x = m.a(x)
        return m.head(m.norm(torch.cat([m.plain(x), m.grouped(x)], 1)).relu())

    parts = {"plain": conv(16, 8), "grouped": conv(16, 8, 5, groups=2), "norm": nn.BatchNorm2d(16)}
    return Net(run, a=conv(3, 16), **parts, head=head(16)), picture()


@stranger
def parts_cut_at_sums():
    """One projection of which three parts go ways of their own, one of them of two widths in one (Mamba-2)."""

    def run(m, x):
        b, t, _ = x.shape
        gate, both, step = m.a(x).split([m.inner, m.inner + 2 * m.state, m.heads], -1)
        both = m.along(both.transpose(1, 2)).transpose(1, 2)
        values, keys, queries = both.split([m.inner, m.state, m.state], -1)
        values = values.view(b, t, m.heads, m.each) * step.sigmoid()[..., None]
        seen = torch.einsum("btn,bsn,bshp->bthp", queries, keys, values)
        return m.head(seen.reshape(b, t, m.inner) * gate)

    sizes = {"inner": 32, "state": 6, "heads": 4, "each": 8}
    parts = {"a": nn.Linear(6, 2 * 32 + 2 * 6 + 4), "along": nn.Conv1d(44, 44, 3, padding=1, groups=44)}
    return Net(run, **parts, **sizes, head=nn.Linear(32, 3)), torch.randn(2, 5, 6)


@stranger
def modulated_convolution():
    """Each picture has weights of its own, and is a group of one convolution (StyleGAN2)."""

    def run(m, z):
        x, style = m.start.expand(len(z), -1, -1, -1), m.style(z)
        b, c, h, w = x.shape
        weight = m.weight[None] * style[:, None, :, None, None]
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        y = F.conv2d(x.reshape(1, -1, h, w), weight.reshape(-1, c, 3, 3), padding=1, groups=b)
        return m.head(F.leaky_relu(y.view(b, m.width, h, w) + m.bias[:, None, None], 0.2))

    parts = {"start": nn.Parameter(torch.randn(1, 16, 4, 4)), "weight": nn.Parameter(torch.randn(20, 16, 3, 3))}
    parts |= {"style": nn.Linear(7, 16), "bias": nn.Parameter(torch.randn(20))}
    return Net(run, **parts, width=20, head=head(20)), torch.randn(2, 7)


@stranger
def read_at_several_widths():
    """Three heads read the first 8, 16 and 32 features (Matryoshka embeddings)."""

    def run(m, x):
        z = m.a(x)
        return [one(z[:, :width]) for one, width in zip(m.heads, m.widths, strict=True)]

    heads = nn.ModuleList([nn.Linear(width, 3) for width in (8, 16, 32)])
    return Net(run, a=nn.Linear(6, 32), heads=heads, widths=[8, 16, 32]), torch.randn(4, 6)
