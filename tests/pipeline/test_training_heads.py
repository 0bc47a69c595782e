"""Heads that only training runs go with the rest: proven in a run as in training as well."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

import sapwood
from sapwood.graph import output_tensors
from sapwood.measure import count_macs
from sapwood.models import apply_plan
from support.probes import conv, head, picture
from support.silencing import silenced

HALF = sapwood.Target(sparsity=0.5)

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""

DROPPED = (
    "is as large as an output, and dropped here: the code may return it elsewhere, as the second head of a detector"
)
DONE = "run in training mode alone; cut with the rest, and proven in that mode as well"


class WithHead(nn.Module):
    """An auxiliary classifier behind the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = conv(3, 16), conv(16, 24), nn.BatchNorm2d(24)
        self.aux = nn.Sequential(conv(16, 12), nn.BatchNorm2d(12), nn.Dropout(), head(12))
        self.head = nn.Linear(24, 5)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(self.a(x))
        return y, self.head(F.relu(self.norm(self.b(y))).mean((2, 3)))

    def forward(self, x: Tensor) -> Any:
        y, scores = self.features(x)
        return (scores, self.aux(y)) if self.training else scores


class WithFeatures(WithHead):
    """Hands on its features in training, as for a distillation; and the head reads them at one size alone."""

    def forward(self, x: Tensor) -> Any:
        y, scores = self.features(x)
        return {"scores": scores, "features": y, "aux": self.aux(y)} if self.training else scores


class WithTargets(WithHead):
    """Wants targets in training, as detectors do."""

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Any:
        y, scores = self.features(x)
        if not self.training:
            return scores
        if targets is None:
            raise ValueError("targets should not be none when in training mode")
        return F.cross_entropy(self.aux(y).mean((2, 3)), targets)


class Inside(nn.Module):
    """The module that asks is one of several, and draws random numbers when it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = conv(3, 16), nn.ModuleDict({"x": _Deep()}), head(16)

    def forward(self, x: Tensor) -> Any:
        result = self.body["x"](F.relu(self.stem(x)))
        return (self.head(result[0]), result[1]) if isinstance(result, tuple) else self.head(result)


class _Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.aux = conv(16, 16), nn.ModuleList([head(16)])

    def forward(self, x: Tensor) -> Any:
        y = x + self.a(x)
        return (y, self.aux[0](F.dropout(y, 0.3, self.training))) if self.training else y


@torch.no_grad()
def distance(model: nn.Module, pruned: sapwood.Pruned, inputs: Tensor, asking: str) -> float:
    """How far apart the compact and the masked model are in training, norms as in evaluation."""
    found = []
    for one in (silenced(model, pruned.plan), apply_plan(copy.deepcopy(model).double(), pruned.plan)):
        one.get_submodule(asking).training = True
        torch.manual_seed(0)
        found.append(output_tensors(one(inputs.double())))
    kept = [(one, other) for one, other in zip(*found, strict=True) if one.shape == other.shape]
    assert len(kept) >= 2
    return max(float((one - other).abs().max() / one.abs().max()) for one, other in kept)


@pytest.mark.parametrize("kind", [WithHead, WithFeatures])
def test_a_head_goes_with_what_it_reads(kind: type[WithHead], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = kind().eval(), picture()
    pruned = sapwood.prune(model, x, target=HALF, criterion="random")
    small = pruned.model
    assert [small.a.out_channels, small.aux[0].in_channels, small.aux[0].out_channels] == [8, 8, 6]
    assert [small.aux[3].in_channels, small.aux[3].out_channels, small.head.out_features] == [6, 5, 5]
    assert distance(model, pruned, x, "") <= EXACT
    assert pruned.verification.passed
    assert pruned.notes == (f"aux.0, aux.1, aux.3: {DONE}",)
    assert pruned.resized_outputs == (("in training.features",) if kind is WithFeatures else ())
    assert not vars(small).keys() - vars(model).keys(), "nothing is left of how it was run"
    loss = sum(one.square().mean() for one in output_tensors(small.train()(x)))
    loss.backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in small.parameters())
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=kind)
    assert torch.equal(again.eval()(x), small.eval()(x))


def test_the_module_that_asks_may_stand_inside_of_others_and_draw_numbers() -> None:
    torch.manual_seed(0)
    model, x = Inside().eval(), picture()
    pruned = sapwood.prune(model, x, target=HALF, criterion="random")
    assert pruned.model.stem.out_channels == pruned.model.body["x"].aux[0].in_channels == 8
    assert pruned.notes == (f"body.x.aux.0: {DONE}",)
    found = [one.shape for one in output_tensors(pruned.model.train()(x))]
    assert found == [one.shape for one in output_tensors(model.train()(x))]


def test_costs_are_those_of_the_evaluated_model() -> None:
    torch.manual_seed(0)
    model, x = WithHead().eval(), picture()
    pruned = sapwood.prune(model, x, target=sapwood.Target(macs=0.5))
    assert pruned.allocation is not None
    assert pruned.allocation.cost == pytest.approx(count_macs(pruned.model, x).total)
    assert 0.35 <= count_macs(pruned.model, x).total / count_macs(model, x).total <= 0.5
    assert pruned.model.aux[0].in_channels == pruned.model.a.out_channels


def test_what_does_not_run_in_training_is_named_with_what_to_do() -> None:
    torch.manual_seed(0)
    model, x = WithTargets().eval(), picture()
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model.a.out_channels == 8
    assert pruned.model.aux[0].in_channels == 16
    (note,) = pruned.notes
    assert re.fullmatch(
        r"aux\.0, aux\.1, aux\.3: not run on the example inputs, and left as it was; code that runs it may meet fewer "
        r"channels now\. As in training the model cannot be pruned on them: targets should not be none when in "
        r"training mode; what it runs there alone is cut along if it can, as with larger pictures, or if ignore keeps "
        r"what it reads",
        note,
    )
    pruned = sapwood.prune(model, {"x": x, "targets": torch.tensor([0, 1])}, target=HALF)
    assert pruned.model.aux[0].in_channels == 8
    loss = pruned.model.train()(x, torch.tensor([0, 1]))
    loss.backward()
    assert torch.isfinite(loss)


class Strict(WithHead):
    """Trains with sixteen channels or not at all."""

    def forward(self, x: Tensor) -> Any:
        y, scores = self.features(x)
        if self.training:
            if y.shape[1] != 16:
                raise ValueError("sixteen channels, please")
            return scores, self.aux(y)
        return scores


def test_training_keeps_nothing_whole_that_could_go_without_it() -> None:
    """What cannot follow is named, with what keeps training right: to leave what it reads."""
    torch.manual_seed(0)
    model, x = Strict().eval(), picture()
    pruned = sapwood.prune(model, x, target=HALF)
    assert [pruned.model.a.out_channels, pruned.model.b.out_channels] == [8, 12]
    (note,) = pruned.notes
    assert "As in training the model cannot be pruned on them: " in note
    assert "sixteen channels, please" in note
    kept = sapwood.prune(model, x, target=HALF, ignore=["a"])
    assert kept.model.b.out_channels == 12
    assert kept.notes == (f"aux.0, aux.1, aux.3: {DONE}",)
    assert [one.shape for one in kept.model.train()(x)] == [one.shape for one in model.train()(x)]


class Noisy(WithHead):
    """Learns what is added in training: no head, and a line without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.randn(16))

    def forward(self, x: Tensor) -> Any:
        y = F.relu(self.a(x))
        if self.training:
            y = y.roll(1, 1) + self.hidden[:, None, None]
        return self.head(F.relu(self.norm(self.b(y))).mean((2, 3)))


def test_a_line_that_only_training_runs_keeps_nothing_whole() -> None:
    torch.manual_seed(0)
    model, x = Noisy().eval(), picture()
    pruned = sapwood.prune(model, x, target=HALF)
    assert [pruned.model.a.out_channels, pruned.model.b.out_channels] == [8, 12]
    (note,) = [one for one in pruned.notes if "hidden" in one]
    assert "As in training the model cannot be pruned on them: a.weight read by position in aten.roll" in note


class Hiding(WithHead):
    """Learns what stands where it hides features in training, at places that NumPy or Python draw (SpecAugment)."""

    def __init__(self, held: Any, make: Callable[[], Any]) -> None:
        super().__init__()
        del self.aux
        self.held, self.make, self.hidden = held, make, nn.Parameter(torch.randn(16))

    def draw(self) -> float:
        return self.make() if self.held is None else self.held.random()

    def forward(self, x: Tensor) -> Any:
        y = F.relu(self.a(x)).movedim(1, 3)
        if self.training:
            places = torch.tensor([[self.draw() < 0.5 for _ in range(y.shape[2])] for _ in range(y.shape[1])])
            y = y.clone()
            y[places.expand(y.shape[:3])] = self.hidden.to(y.dtype)
        return self.head(F.relu(self.norm(self.b(y.movedim(3, 1)))).mean((2, 3)))


def by_numpy() -> float:  # a function, which copies of a model share
    return float(np.random.random())  # noqa: NPY002


def by_python() -> float:
    return random.random()


DRAWN: dict[str, Callable[[], Any]] = {
    "numpy": by_numpy,
    "python": by_python,
    "numpy's, held": lambda: np.random.default_rng(1),
    "numpy's old one, held": lambda: np.random.RandomState(1),
    "python's, held": lambda: random.Random(1),
}
"""Where numbers between 0 and 1 come from, or what makes a generator that a module holds."""


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_hidden_at_drawn_places_goes_along(name: str) -> None:
    torch.manual_seed(0)
    make = DRAWN[name]
    model, x = Hiding(make() if "held" in name else None, make).eval(), picture()
    before = str((np.random.get_state(), random.getstate()))  # noqa: NPY002
    following = copy.deepcopy(model).draw() if "held" in name else None
    pruned = sapwood.prune(model, x, target=HALF)
    if "held" in name:
        assert model.draw() == following
    assert str((np.random.get_state(), random.getstate())) == before  # noqa: NPY002
    assert pruned.model.hidden.shape == (8,)
    assert f"hidden: {DONE}" in pruned.notes
    _losses(pruned.model.train()(torch.cat([x, -x]))).backward()


def _losses(result: Any) -> Tensor:
    total: Tensor = sum(one.float().square().mean() for one in output_tensors(result))  # type: ignore[assignment]
    return total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options", "size", "read"),
    [
        (models.googlenet, {"init_weights": False}, 64, ("aux1.fc1.weight", "aux2.conv.conv.weight")),
        (models.inception_v3, {"init_weights": False}, 299, ("AuxLogits.conv0.conv.weight", "AuxLogits.fc.weight")),
        (models.segmentation.fcn_resnet50, {"weights_backbone": None}, 64, ("aux_classifier.0.weight",)),
    ],
)
def test_heads_of_torchvision(make: Any, options: dict[str, Any], size: int, read: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    kind = {"aux_loss": True} if make is models.segmentation.fcn_resnet50 else {"aux_logits": True}
    model, x = make(weights=None, **kind, **options).eval(), torch.randn(1, 3, size, size)
    pruned = sapwood.prune(model, x, target=HALF, criterion="random")
    for key in read:
        dense, small = model.get_parameter(key).shape, pruned.model.get_parameter(key).shape
        assert small[1] <= 0.55 * dense[1], key
    assert distance(model, pruned, x, "") <= 10 * EXACT
    assert not any("not run on the example inputs" in note for note in pruned.notes)
    _losses(pruned.model.train()(torch.cat([x, -x]))).backward()
    assert all(parameter.grad is not None for parameter in pruned.model.parameters())


@pytest.mark.slow
def test_pictures_that_are_too_small_for_the_head_are_named() -> None:
    model = models.inception_v3(weights=None, aux_logits=True, init_weights=False).eval()
    pruned = sapwood.prune(model, torch.randn(1, 3, 139, 139), target=HALF)
    (note,) = [note for note in pruned.notes if "not run on the example inputs" in note]
    assert "As in training the model cannot be pruned on them: " in note
    assert "Kernel size can't be greater than actual input size" in note
    assert "as with larger pictures" in note
    assert pruned.verification.passed


class TwoHeads(nn.Module):
    """A detector's two heads, of which each call returns one; the other is run as well."""

    def __init__(self, other: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16), nn.ReLU())
        self.heads = nn.ModuleList(nn.Sequential(conv(16, 12), nn.ReLU(), conv(12, 4)) for _ in range(2))
        self.other = other

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        found = [head(y).flatten(2).transpose(1, 2) for head in self.heads]
        return found[self.other]


def test_what_a_dropped_head_makes_keeps_its_size_and_what_leads_to_it_goes() -> None:
    torch.manual_seed(0)
    model, inputs = TwoHeads().eval(), picture()
    pruned = sapwood.prune(model, inputs, target=HALF)
    shapes = {name: tuple(tensor.shape[:2]) for name, tensor in pruned.model.named_parameters() if tensor.dim() == 4}
    assert shapes == {
        "body.0.weight": (8, 3),
        "heads.0.0.weight": (6, 8),
        "heads.0.2.weight": (4, 6),
        "heads.1.0.weight": (6, 8),
        "heads.1.2.weight": (4, 6),
    }
    reasons = {entry.reason for entry in pruned.unpruned if entry.tensor == "heads.1.2.weight"}
    assert reasons == {DROPPED}
    for one in (model, pruned.model):
        one.other = True
    reference = silenced(model, pruned.plan)
    with torch.no_grad():
        torch.testing.assert_close(pruned.model.double()(inputs.double()), reference(inputs.double()))


def test_what_evaluation_does_is_recorded_once() -> None:
    """Recorded, followed, masked, compact: one run each in both modes."""
    runs: list[bool] = []

    class Counted(WithHead):
        def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
            runs.append(self.training)
            return super().features(x)

    pruned = sapwood.prune(Counted().eval(), picture(), target=HALF)
    assert any(DONE in note for note in pruned.notes)
    assert len(runs) == 2 * sum(runs)
