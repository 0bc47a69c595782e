"""More networks as strangers write them: layers of 2025 and 2026, small; see ``strangers.py``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from support.probes import Net, conv, head, picture
from support.strangers import stranger


def turned_pairs(turn: Any, **parts: Any) -> tuple[nn.Module, Any]:
    """Attention whose queries and keys are turned by their places."""

    def run(m, x):
        x = m.e(x)
        q, k, v = (y.view(*y.shape[:2], 4, -1).transpose(1, 2) for y in (m.q(x), m.k(x), m.v(x)))
        y = F.scaled_dot_product_attention(turn(m, q), turn(m, k), v)
        return m.head(y.transpose(1, 2).flatten(2))

    layers = {name: nn.Linear(32, 32) for name in "qkv"}
    return Net(run, e=nn.Linear(6, 32), **layers, **parts, head=nn.Linear(32, 3)), torch.randn(2, 5, 6)


def angles() -> Tensor:
    return torch.outer(torch.arange(5.0), 1.0 / 10000 ** (torch.arange(0, 8, 2) / 8))


@stranger
def neighbours_turned():
    """Rotary positions of pairs side by side, cut out with steps (GPT-J, RoFormer)."""

    def turn(m, x):
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack((even * m.cos - odd * m.sin, odd * m.cos + even * m.sin), -1).flatten(-2)

    return turned_pairs(turn, cos=angles().cos(), sin=angles().sin())


@stranger
def complex_numbers_turned():
    """The same as products of complex numbers, as Llama's first code has it."""

    def turn(m, x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * torch.complex(m.cos, m.sin)).flatten(-2)

    return turned_pairs(turn, cos=angles().cos(), sin=angles().sin())


@stranger
def even_and_odd_channels():
    def run(m, x):
        x = m.a(x).relu()
        return m.even(x[:, ::2]) + m.odd(x[:, 1::2])

    return Net(run, a=conv(3, 16), even=conv(8, 5), odd=conv(8, 5)), picture()


@stranger
def every_other_channel_added():
    """A shortcut that takes every other channel, as small residual networks on CIFAR do."""

    def run(m, x):
        x = m.a(x).relu()
        return m.head((m.b(x) + x[:, ::2]).relu())

    return Net(run, a=conv(3, 16), b=conv(16, 8), head=head(8)), picture()


@stranger
def scores_by_baddbmm():
    """Positions are added to the scores by the call that makes them, with the scale in it (BLOOM, diffusers)."""

    def run(m, x):
        x = m.e(x)
        b, t, d = x.shape
        each = d // m.heads
        q, k, v = (y.view(b, t, m.heads, each).transpose(1, 2).reshape(-1, t, each) for y in (m.q(x), m.k(x), m.v(x)))
        scores = torch.baddbmm(m.far.repeat(b, 1, 1), q, k.mT, beta=1.0, alpha=each**-0.5).softmax(-1)
        return m.head((scores @ v).view(b, m.heads, t, each).transpose(1, 2).reshape(b, t, d))

    layers = {name: nn.Linear(16, 16) for name in "qkv"}
    return Net(run, e=nn.Linear(6, 16), **layers, far=torch.randn(4, 1, 5), heads=4, head=nn.Linear(16, 3)), (
        torch.randn(2, 5, 6)
    )


@stranger
def forces_of_an_energy():
    """What is returned is the gradient of a network by its input (interatomic potentials)."""

    def run(m, x):
        def energy(x):
            return m.c(F.gelu(m.b(torch.tanh(m.a(x))))).sum()

        return torch.func.grad(energy)(x)

    return Net(run, a=nn.Linear(3, 16), b=nn.Linear(16, 20), c=nn.Linear(20, 1)), torch.randn(5, 3)


@stranger
def quarter_turns_averaged():
    def run(m, x):
        x = m.a(x).relu()
        return m.head(sum(x.rot90(turns, (2, 3)) for turns in range(4)))

    return Net(run, a=conv(3, 16), head=head(16)), picture()


@stranger
def polynomials_of_every_channel():
    """Chebyshev polynomials of each feature, whose number no attribute says (a Kolmogorov-Arnold network)."""

    class Layer(nn.Module):
        def __init__(self, inputs: int, outputs: int, degree: int = 4) -> None:
            super().__init__()
            self.inputs, self.outputs, self.degree = inputs, outputs, degree
            self.factors = nn.Parameter(torch.randn(inputs, outputs, degree + 1))
            self.register_buffer("powers", torch.arange(degree + 1))

        def forward(self, x: Tensor) -> Tensor:
            angle = torch.tanh(x).view(-1, self.inputs, 1).expand(-1, -1, self.degree + 1).acos()
            return torch.einsum("bid,iod->bo", (angle * self.powers).cos(), self.factors).view(-1, self.outputs)

    return nn.Sequential(Layer(5, 16), Layer(16, 12), Layer(12, 3)), torch.randn(6, 5)


@stranger
def slots_of_experts_by_einsum():
    """A product of one slot alone would go another way: two slots stay, and all else goes (soft mixtures)."""

    def run(m, x):
        x = m.i(x)
        sent = torch.einsum("bnd,dep->bnep", x, m.keys).sigmoid()
        slots = torch.einsum("bnd,bnep->bepd", x, sent)
        made = torch.einsum("beph,ehd->bepd", F.gelu(torch.einsum("bepd,edh->beph", slots, m.up)), m.down)
        return m.head(torch.einsum("bepd,bnep->bnd", made, sent))

    parts = {"keys": (16, 4, 2), "up": (4, 16, 20), "down": (4, 20, 16)}
    parameters = {name: nn.Parameter(torch.randn(shape) / 4) for name, shape in parts.items()}
    return Net(run, i=nn.Linear(6, 16), **parameters, head=nn.Linear(16, 3)), torch.randn(2, 5, 6)


@stranger
def places_shifted_by_padding():
    """Distances become positions by zeros and another view; the sum of scores is divided (Transformer-XL)."""

    def run(m, x):
        x = m.e(x)
        b, t, _ = x.shape
        q, k, v = (y.view(b, t, 4, -1).transpose(1, 2) for y in (m.q(x), m.k(x), m.v(x)))
        far = m.far(m.places).view(2 * t - 1, 4, -1).permute(1, 2, 0)
        shifted = F.pad((q + m.second[:, None]) @ far, (1, 0)).view(b, 4, 2 * t, t)[:, :, 1:]
        scores = (q + m.first[:, None]) @ k.mT + shifted.reshape(b, 4, t, 2 * t - 1)[..., :t]
        y = (scores / q.shape[-1] ** 0.5).softmax(-1) @ v
        return m.head(y.transpose(1, 2).flatten(2))

    parts = {name: nn.Linear(16, 16) for name in "qkv"} | {"far": nn.Linear(8, 16), "places": torch.randn(9, 8)}
    parts |= {name: nn.Parameter(torch.randn(4, 4)) for name in ("first", "second")}
    return Net(run, e=nn.Linear(6, 16), **parts, head=nn.Linear(16, 3)), torch.randn(2, 5, 6)


@stranger
def mean_that_runs_along():
    """A buffer that each run writes to, in place: a run that is compared begins where the other began."""

    def run(m, x):
        x = m.a(x)
        m.mean.lerp_(x.mean((0, 2, 3)), 0.1)
        return m.head((x - m.mean[:, None, None]).relu())

    return Net(run, a=conv(3, 16), mean=torch.zeros(16), head=head(16)), picture()


@stranger
def queue_of_answers():
    """Answers are compared with those of runs before, and take the places of some of them (contrastive learning)."""

    def run(m, x):
        x = m.a(x).relu()
        scores = x @ m.queue
        m.queue[:, : len(x)] = x.mT
        return m.head(x), scores

    return Net(run, a=nn.Linear(6, 16), queue=torch.randn(16, 8), head=nn.Linear(16, 3)), torch.randn(4, 6)


def student_and_teacher(follow: Any) -> tuple[nn.Module, Any]:
    """A teacher whose weights move towards the student's each time that the two are run (self-supervised learning)."""

    def run(m, x):
        with torch.no_grad():
            follow(list(m.teacher.parameters()), list(m.student.parameters()))
        return m.head(m.student(x)), m.teacher(x)

    student, teacher = (nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12)) for _ in range(2))
    return Net(run, student=student, teacher=teacher, head=nn.Linear(12, 3)), torch.randn(4, 6)


@stranger
def teacher_with_other_data():
    def follow(teacher, student):
        for one, other in zip(teacher, student, strict=True):
            one.data = one.data * 0.9 + other.data * 0.1

    return student_and_teacher(follow)


@stranger
def teacher_written_in_place():
    def follow(teacher, student):
        for one, other in zip(teacher, student, strict=True):
            one.data.mul_(0.9).add_(other.data, alpha=0.1)

    return student_and_teacher(follow)


@stranger
def teacher_moved_by_lists():
    return student_and_teacher(lambda teacher, student: torch._foreach_lerp_(teacher, student, 0.1))


@stranger
def exits_that_are_not_taken():
    """What the first head makes is an output where the code is content with it, and here it is not."""

    def run(m, x):
        for layer, leave in zip(m.layers, m.heads, strict=True):
            x = layer(x).tanh()
            chances = leave(x).softmax(-1)
            if chances.max().item() > 0.999:
                break
        return chances

    layers = nn.ModuleList([nn.Linear(6, 16), nn.Linear(16, 16)])
    return Net(run, layers=layers, heads=nn.ModuleList([nn.Linear(16, 4) for _ in layers])), torch.randn(4, 6)


@stranger
def rows_of_their_own_lengths():
    """Sequences side by side in one tensor, with no padding between them."""

    def run(m, x, ends):
        x = torch.nested.nested_tensor_from_jagged(x, ends)
        return m.head(m.b(m.a(x).relu()).relu()).values()

    layers = {"a": nn.Linear(6, 16), "b": nn.Linear(16, 20), "head": nn.Linear(20, 3)}
    return Net(run, **layers), (torch.randn(8, 6), torch.tensor([0, 3, 8]))


@stranger
def gated_delta_rule():
    """A state of keys and values that each step reads, corrects and lets fade (Gated DeltaNet)."""

    def run(m, x):
        x = m.i(x)
        q, k, v = m.q(x), F.normalize(m.k(x), dim=-1), m.v(x)
        fade, rate = m.fade(x).sigmoid(), m.rate(x).sigmoid()
        state, found = x.new_zeros(len(x), k.shape[-1], v.shape[-1]), []
        for step in range(x.shape[1]):
            key, value = k[:, step, :, None], v[:, step, None, :]
            kept = state - rate[:, step, :, None] * key @ (key.transpose(1, 2) @ state)
            state = fade[:, step, :, None] * kept + rate[:, step, :, None] * key @ value
            found.append((q[:, step, None] @ state)[:, 0])
        return m.head(torch.stack(found, 1))

    layers = {name: nn.Linear(16, 16) for name in "qkv"} | {name: nn.Linear(16, 1) for name in ("fade", "rate")}
    return Net(run, i=nn.Linear(6, 16), **layers, head=nn.Linear(16, 3)), torch.randn(2, 4, 6)


@stranger
def weights_that_the_input_adds_to():
    """A matrix of the layer's own and one that keys and values make (fast weights, Titans)."""

    def run(m, x):
        x = m.i(x)
        fast = torch.einsum("btk,btv->bkv", m.k(x), m.v(x)) / x.shape[1]
        return m.head(torch.bmm(x, m.slow + fast))

    slow = nn.Parameter(torch.randn(16, 16) / 4)
    return (
        Net(run, i=nn.Linear(6, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16), slow=slow, head=nn.Linear(16, 3)),
        torch.randn(2, 5, 6),
    )


@stranger
def bumps_of_every_channel():
    """A map through radial basis functions, which stand beside its channels for the next convolution (KAN)."""

    def run(m, x):
        bumps = torch.exp(-((m.a(x).unsqueeze(2) - m.centres.view(1, 1, -1, 1, 1)) ** 2))
        return m.head(m.b(bumps.flatten(1, 2)).relu())

    return Net(run, a=conv(3, 12), centres=torch.linspace(-1, 1, 4), b=conv(48, 16), head=conv(16, 5, 1)), picture()


@stranger
def values_of_the_first_layer():
    """Each layer's values are mixed with those of the first, by numbers that are learned (value residual)."""

    def run(m, x):
        x, first = m.i(x), None
        for both, values, share in zip(m.qk, m.v, m.shares, strict=True):
            q, k = both(x).chunk(2, -1)
            own = values(x)
            first = own if first is None else first
            own = share * own + (1 - share) * first
            x = x + F.scaled_dot_product_attention(q.sin(), k.sin(), own, scale=4.0)
        return m.head(x)

    layers = {"qk": [nn.Linear(16, 32) for _ in range(2)], "v": [nn.Linear(16, 16) for _ in range(2)]}
    lists = {name: nn.ModuleList(each) for name, each in layers.items()}
    shares = nn.ParameterList([nn.Parameter(torch.tensor(0.7)) for _ in range(2)])
    return Net(run, i=nn.Linear(6, 16), **lists, shares=shares, head=nn.Linear(16, 3)), torch.randn(2, 5, 6)


@stranger
def branches_cut_by_a_dict():
    """What three branches made is cut again by one call, at widths in a dict by their names (Inception-like)."""

    def run(m, x):
        both = torch.cat([m.parts[name](x) for name in sorted(m.parts)], 1)
        return m.head(
            torch.cat([one.relu() for one in both.split([m.widths[name] for name in sorted(m.widths)], 1)], 1)
        )

    parts = nn.ModuleDict({f"size{size}": conv(3, 8 * size, size) for size in (1, 3, 5)})
    widths = {name: part.out_channels for name, part in parts.items()}
    return Net(run, parts=parts, widths=widths, head=conv(72, 5, 1)), picture()


@stranger
def checked_before_a_mask_is_made():
    """A width is checked in words without numbers, and what comes next reads only a mask (``nn.Transformer``)."""

    class Masked(nn.Module):
        def forward(self, x, there):
            return x * torch.zeros_like(there, dtype=x.dtype).masked_fill(there, 1.0)[..., None]

    def run(m, x, there):
        x = m.a(x)
        if x.shape[-1] != m.model_width:
            raise RuntimeError("the feature number has to be equal to model_width")
        return m.head(m.masked(x, there).relu())

    parts = {"a": nn.Linear(6, 16), "masked": Masked(), "head": nn.Linear(16, 3)}
    return Net(run, **parts, model_width=16), (torch.randn(2, 5, 6), torch.rand(2, 5) > 0.3)
