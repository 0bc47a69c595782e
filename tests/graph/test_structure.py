"""What a run is recorded on: shapes where they tell all, values where the code would make other calls on them."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
import torchvision
from torch import Tensor, nn

import sapwood
from sapwood.graph import Decisions, with_values, without_values
from sapwood.removal import planner


class Shifted(nn.Module):
    """Adds a mask that its code makes by writing numbers, as windowed attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros((2, 4))
        mask[0:1, 0:2] = 1
        return self.down(torch.relu(self.up(x + mask)))


class Divided(Shifted):
    """Divides by a tensor that its code makes of a number."""

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        return self.down(torch.relu(up) / torch.tensor(2.0))


class Recurrent(Shifted):
    """A recurrent layer, which is made of other calls where there are no values."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.GRU(4, 8)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x)[0])


WRITTEN = pytest.mark.skipif(
    torch.__version__ >= "2.15", reason="this PyTorch writes numbers by the same calls anywhere"
)


@pytest.mark.parametrize("make", [pytest.param(Shifted, marks=WRITTEN), Divided, Recurrent])
def test_what_makes_other_calls_on_values_is_recorded_on_values_at_once(make: Callable[[], nn.Module]) -> None:
    model = make().eval()
    assert without_values(model, torch.randn(2, 4)) is None
    with patch.object(planner, "realise", wraps=planner.realise) as realised:
        pruned = sapwood.prune(model, torch.randn(2, 4), target=sapwood.Target(sparsity=0.5))
    assert realised.call_count == 1
    assert pruned.model.down.in_features == 4  # type: ignore[union-attr]


def test_where_numbers_are_written_is_no_obstacle() -> None:
    pruned = sapwood.prune(Shifted().eval(), torch.randn(2, 4), target=sapwood.Target(sparsity=0.5))
    assert pruned.model.down.in_features == 4  # type: ignore[union-attr]


def test_another_model_is_recorded_on_shapes() -> None:
    found = without_values(nn.Linear(4, 3), torch.randn(2, 4))
    assert found is not None
    assert all(parameter.is_meta for parameter in found.model.parameters())


class Boxes(nn.Module):
    """Works on as many boxes as it keeps of those that it finds, of which none stand over each other."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.head, self.last = nn.Linear(4, 1), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        corners = 2.0 * torch.arange(len(x), device=x.device, dtype=x.dtype)[:, None]
        boxes = torch.cat([corners, corners, corners + 1, corners + 1], 1)
        kept = torchvision.ops.nms(boxes, self.scores(x)[:, 0], 0.5)
        return self.last(torch.relu(self.head(x[kept])))


def test_as_many_boxes_are_kept_as_before_or_a_few() -> None:
    model, x = Boxes().double(), torch.randn(30, 4, dtype=torch.float64)
    assert [with_values(model, x, most=most).outputs[0].shape for most in (None, (), (20,), (2,))] == [
        (30, 2),
        (8, 2),
        (20, 2),
        (8, 2),
    ]
    assert with_values(model, x).decisions.kept == [30]
    assert Decisions((0,)).thinned("aten.sort", list(range(20))) == list(range(20))


class Strided(nn.Module):
    """Reads a number off a table of its own, and perhaps another off what it is given."""

    def __init__(self, reads_input: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)
        self.register_buffer("stride", torch.tensor([2.0]))
        self.reads_input = reads_input

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x) * float(self.stride[0])  # type: ignore[index]
        return self.down(up if not self.reads_input or float(up.sum()) < 1e9 else -up)


@pytest.mark.parametrize("reads_input", [True, False])
def test_a_model_that_reads_its_own_tables_alone_is_recorded_once(reads_input: bool) -> None:
    model = Strided(reads_input).eval()
    with patch.object(planner, "_as_if_removed", wraps=planner._as_if_removed) as again:
        pruned = sapwood.prune(model, torch.randn(2, 4), target=sapwood.Target(sparsity=0.5))
    assert again.call_count == int(reads_input)
    assert pruned.model.up.out_features == 4  # type: ignore[union-attr]


class Silent(Boxes):
    """Returns zeros as it is, so that the proof draws other values for its parameters."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


def test_with_values_that_are_drawn_all_runs_work_on_as_many_boxes() -> None:
    model, x = Silent().eval(), torch.randn(30, 4)
    sizes: list[int] = []
    record = planner.with_values

    def watched(*args: object, **options: object) -> object:
        structure = record(*args, **options)  # type: ignore[arg-type]
        sizes.append(len(structure.outputs[0]))
        return structure

    with patch.object(planner, "with_values", watched):
        pruned = sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5))
    assert pruned.verification.passed
    assert pruned.model.head.out_features == 4
    assert sizes == [30]  # what it kept before, and no more than that


class Watching(nn.Module):
    """Hangs hooks on its layers when it runs for the first time, and reads what they collect."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(16, 3)
        self.seen: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "watched"):
            self.watched = True
            for layer in (self.first, self.second):
                layer.register_forward_hook(lambda module, _, made: self.collected.append(made))
        self.collected: list[Tensor] = []
        self.seen.add(len(x))
        self.second(torch.relu(self.first(x)))
        return self.head(torch.cat(self.collected, -1))


def test_hooks_that_a_model_hangs_up_in_its_first_run_are_not_hung_up_twice() -> None:
    torch.manual_seed(0)
    pruned = sapwood.prune(Watching().eval(), torch.randn(2, 4), target=sapwood.Target(sparsity=0.5))
    assert (pruned.model.first.out_features, pruned.model.head.in_features) == (4, 8)
    assert pruned.model.seen == set()
