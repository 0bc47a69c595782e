"""Widths that stand in attributes which no forward reads, and other methods do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.models import load_model
from sapwood.models.places import integers
from sapwood.removal import repair, unread
from sapwood.removal.unread import NO_WIDTH, WIDTH

HALF = sapwood.Target(sparsity=0.5)


class Branches(nn.Module):
    """A convolution beside an identity, merged into one by a method that reads the block's own widths."""

    def __init__(self, width: int, heads: int = 16) -> None:
        super().__init__()
        self.in_channels = self.out_channels = self.groups = width
        self.num_heads = heads
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)

    def merged(self) -> nn.Conv2d:
        one = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1, groups=self.groups)
        weight = self.conv.weight.detach().clone()
        weight[:, 0, 1, 1] += 1
        one.weight.data, one.bias.data = weight, self.conv.bias.detach()
        return one


class Halves(nn.Module):
    """Cuts in two by ``chunk``; what exporters call cuts at the attribute."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c = width
        self.cv1, self.m, self.cv2 = (
            nn.Conv2d(16, 2 * width, 1),
            nn.Conv2d(width, width, 1),
            nn.Conv2d(3 * width, 16, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat([one, other, other + self.m(other)], 1))

    def forward_split(self, x: Tensor) -> Tensor:
        one, other = self.cv1(x).split((self.c, self.c), 1)
        return self.cv2(torch.cat([one, other, other + self.m(other)], 1))


def test_a_block_merges_its_branches_after_pruning() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Branches(16), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    block = pruned.model[1]
    assert (block.in_channels, block.out_channels, block.groups, block.num_heads) == (8, 8, 8, 16)
    x = torch.randn(2, 8, 8, 8)
    torch.testing.assert_close(torch.relu(block.merged()(x)), block(x))
    assert pruned.notes == ()
    again = sapwood.prune(copy.deepcopy(pruned.model), torch.randn(2, 3, 8, 8), target=HALF)
    assert again.model[1].in_channels == 4


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry a run beside the recorded one."""
    runs: list[None] = []
    for module in (repair, unread):
        monkeypatch.setattr(module, "follow", lambda *given, right=module.follow: (runs.append(None), right(*given))[1])
    return runs


def test_what_nothing_reads_is_set_for_no_run_more(runs: list[None]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Branches(16), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    assert (pruned.model[1].in_channels, len(runs)) == (8, 1)


class Heads(nn.Module):
    """Attention by hand, between positions that its code makes of numbers: it reads one width, and keeps another."""

    def __init__(self, read: bool = False) -> None:
        super().__init__()
        self.hidden_size, self.head_dim, self.read = 16, 8, read
        self.qkv, self.out = nn.Linear(6, 48), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.arange(x.shape[1]).unsqueeze(-1) / 10.0
        shape = (len(x), x.shape[1], -1, self.head_dim)
        q, k, v = (one.reshape(shape).transpose(1, 2) for one in self.qkv(x).chunk(3, -1))
        divisor = self.hidden_size if self.read else 4.0
        mixed = ((q @ k.transpose(-1, -2)) / divisor).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


def test_what_else_is_in_the_way_is_repaired_with_it_set(runs: list[None]) -> None:
    pruned = sapwood.prune(Heads().eval(), torch.randn(2, 5, 6), target=HALF)
    assert (pruned.model.qkv.out_features, pruned.model.hidden_size, pruned.model.head_dim) == (24, 8, 4)
    assert len(runs) == 3, "one that fails, one with a number that does not help, and the right one"


def test_what_is_read_is_right_as_it_is() -> None:
    pruned = sapwood.prune(Heads(read=True).eval(), torch.randn(2, 5, 6), target=HALF)
    assert pruned.verification.passed
    assert (pruned.model.qkv.out_features, pruned.model.hidden_size) == (24, 16)


def test_the_way_of_exporters_works_after_pruning() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Halves(8), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    block = pruned.model[1]
    assert block.c == 4
    x = torch.randn(2, block.cv1.in_channels, 6, 6)
    assert torch.equal(block.forward_split(x), block(x))


def test_a_number_that_may_be_either_of_two_widths_is_left_and_named() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width = 16
            self.a, self.b, self.c = nn.Linear(3, 16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(self.b(torch.relu(self.a(x)))))

    pruned = sapwood.prune(Two().eval(), torch.randn(2, 3), target=HALF)
    assert (pruned.model.a.out_features, pruned.model.width) == (8, 16)
    assert pruned.notes == ("width is 16 still, which was a width: it cannot be told which one",)


def test_the_width_of_what_a_headless_network_returns_is_right_as_it_is() -> None:
    class Headless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_features = 16
            self.a, self.b, self.c = nn.Linear(3, 16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(self.b(torch.relu(self.a(x)))))

    pruned = sapwood.prune(Headless().eval(), torch.randn(2, 3), target=HALF)
    assert (pruned.model.a.out_features, pruned.model.c.out_features, pruned.model.num_features) == (8, 16, 16)
    assert pruned.notes == ()


def test_a_run_on_numbers_made_in_forward_is_repeated() -> None:
    """Attributes are set, and the run compared with the one before, where code makes tensors of its own."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width = 16
            self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) * torch.tensor([0.5, 2.0]).sum() + torch.linspace(0, 1, 6))

        def widths(self) -> int:
            return self.width

    pruned = sapwood.prune(Shifted(), torch.randn(1, 3, 8, 8), target=sapwood.Target(sparsity=0.5))
    assert (pruned.model.width, pruned.model.a.out_channels) == (8, 8)
    assert pruned.verification.passed


@pytest.mark.parametrize(
    ("attribute", "became", "is_named"),
    [
        ("in_channels", 8, False),
        ("hidden_size", 8, False),
        ("hidden_dim", 8, False),
        ("groups", 8, False),
        ("c", 8, False),
        ("image_size", 16, False),
        ("input_shape", 16, False),
        ("num_classes", 16, False),
        ("budget", 16, True),
        ("size", 16, True),
        ("patch_dim", 16, True),
    ],
)
def test_a_number_is_set_where_its_name_says_that_it_is_a_width(attribute: str, became: int, is_named: bool) -> None:
    """Of a number that is equal to a width by chance nothing else could tell."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)
            setattr(self, attribute, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    pruned = sapwood.prune(Named(), torch.randn(1, 3, 8, 8), target=sapwood.Target(sparsity=0.5))
    assert getattr(pruned.model, attribute) == became
    assert any(attribute in note for note in pruned.notes) == is_named


class Positioned(Branches):
    """Keeps a table that the code makes of numbers alone, of the sizes of a tensor, and reads it beside the model's."""

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.arange(x.shape[-1]) + torch.zeros_like(x[0, 0].detach())
        return super().forward(x) * waves.sin().prod(0)


def test_numbers_that_the_code_makes_are_compared_by_their_values() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Positioned(16), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    assert pruned.model[1].in_channels == 8
    assert pruned.verification.passed


def test_a_width_follows_in_a_model_that_works_with_tensors_of_numbers() -> None:
    class Anchored(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            return x * torch.arange(x.shape[-1], dtype=x.dtype).div(2)  # as a detector's positions are made

    torch.manual_seed(0)
    model = Anchored(nn.Conv2d(3, 16, 3), Halves(8), nn.Conv2d(16, 4, 1)).eval()
    assert sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF).model[1].c == 4


class Multiplied(nn.Module):
    """Several filters a channel, and a method that makes the layer again: no tensor has the width that it reads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_chs, self.out_chs, self.i, self.save = width, 2 * width, 16, [16, 4]
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))

    def again(self) -> nn.Conv2d:
        one = nn.Conv2d(self.in_chs, self.out_chs, 3, padding=1, groups=self.in_chs)
        one.load_state_dict(self.conv.state_dict())
        return one


def test_what_a_depthwise_layer_reads_follows_and_indices_of_layers_do_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), Multiplied(16), nn.Conv2d(32, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    block = pruned.model[2]
    assert (block.in_chs, block.out_chs, block.i, block.save) == (8, 16, 16, [16, 4])
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(torch.relu(block.again()(x)), block(x))
    assert pruned.notes == ()


def test_numbers_that_the_code_makes_are_no_obstacle_to_setting_a_width() -> None:
    class Scaled(Branches):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (torch.arange(6.0, device=x.device) * 2 + 1)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Scaled(16), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    assert (pruned.model[1].in_channels, pruned.notes) == (8, ())


class Told(nn.Linear):
    """A layer of a user's own, of which PyTorch's attributes are right whatever else is equal to them."""


class Pose(nn.Module):
    """As heads for key points of ultralytics: the number of outputs is a width of hidden layers, too."""

    def __init__(self) -> None:
        super().__init__()
        self.nk, self.no = 24, 24
        self.hidden_size = self.head_hidden_size = 32
        self.a, self.b, self.c, self.d = Told(8, 32), Told(32, 24), Told(24, 24), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(x)))))))


def test_numbers_of_outputs_are_no_widths_and_hidden_sizes_of_heads_are() -> None:
    pruned = sapwood.prune(Pose(), torch.randn(2, 8), target=HALF)
    assert pruned.model.d.weight.shape == (24, 12)
    assert (pruned.model.nk, pruned.model.no) == (24, 24)
    assert (pruned.model.hidden_size, pruned.model.head_hidden_size) == (16, 16)
    assert pruned.notes == ()


def test_numbers_of_layers_of_a_darknet_network_are_taken_for_no_widths() -> None:
    network = load_model("builtin:digits").model
    found = {place.attribute for place, _ in integers("", network)}
    assert found
    assert {name for name in found if not NO_WIDTH.search(name) or WIDTH.search(name)} == set()


def test_a_number_that_forward_reads_is_right_as_it_is() -> None:
    """Sixteen frequencies, and sixteen channels beside them: nothing is said of the first."""

    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = 16
            self.a, self.b, self.c = nn.Linear(3, 16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.waves(self.c(torch.relu(self.b(torch.relu(self.a(x))))))

        def waves(self, x: Tensor) -> Tensor:
            return x * torch.arange(1, self.n + 1).sin().mean()

    assert sapwood.prune(Waves().eval(), torch.randn(2, 3), target=HALF).notes == ()
