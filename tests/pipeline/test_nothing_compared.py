"""A model whose outputs can prove nothing is neither verified nor exported nor compiled: the error says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import CheckFailedError, EngineError, EngineMissingError
from sapwood.export import EXPORTERS, ExportOptions, export_darknet
from sapwood.models import Plan, apply_plan
from sapwood.models.darknet import DarknetNetwork, parse_cfg
from sapwood.removal import dense as removal_dense
from sapwood.removal import proof
from sapwood.removal.difference import relative_error
from sapwood.removal.silenced import compact_outputs
from sapwood.runtime import RUNTIMES, check_session
from sapwood.runtime import compile as compile_model

QUARTER = sapwood.Target(sparsity=0.25)


class Ending(nn.Module):
    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.end = end
        with torch.no_grad():
            self.first.weight[:3] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.last(torch.relu(self.first(x))))


NOTHING: dict[str, Callable[[Tensor], Tensor]] = {
    "nan": lambda y: y * float("nan"),
    "infinite": lambda y: y.exp() * float("inf"),
    "empty": lambda y: y[:, :0],
}
SOMETHING: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": lambda y: y * 0.0,
    "whole numbers": lambda y: y.argmax(1),
    "some infinite": lambda y: torch.cat([y, y.exp() * float("inf")], dim=1),
    "flags": lambda y: y > 0,
}
nothing = pytest.mark.parametrize("end", NOTHING.values(), ids=NOTHING)
something = pytest.mark.parametrize("end", SOMETHING.values(), ids=SOMETHING)


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@nothing
@pytest.mark.parametrize("exact", [True, False])
def test_compact_says_that_nothing_was_compared(end: Callable[[Tensor], Tensor], exact: bool, picture: Tensor) -> None:
    with pytest.raises(
        CheckFailedError, match=r"^nothing was compared: no value that the masked model returns is finite"
    ):
        sapwood.compact(Ending(end).eval(), picture, exact=exact)


@nothing
def test_prune_says_that_nothing_was_compared(end: Callable[[Tensor], Tensor], picture: Tensor) -> None:
    with pytest.raises(
        CheckFailedError, match=r"^nothing was compared: what the masked model returns is empty, zero or"
    ):
        sapwood.prune(Ending(end).eval(), picture, target=QUARTER)


@nothing
def test_exporters_say_that_nothing_was_compared(
    end: Callable[[Tensor], Tensor], picture: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt2"
    with pytest.raises(CheckFailedError, match=r"nothing was compared: none of the \d+ values that the PyTorch model"):
        EXPORTERS["torch-export"].export(Ending(end).eval(), picture, path, ExportOptions())
    assert not path.exists()


@nothing
def test_runtimes_and_the_engine_say_that_nothing_was_compared(
    end: Callable[[Tensor], Tensor], picture: Tensor
) -> None:
    model = Ending(end).eval()
    session = RUNTIMES["torch"].load(model, picture, threads=1)
    with pytest.raises(CheckFailedError, match=r"the loaded model: nothing was compared"):
        check_session(session, model, picture)
    try:
        compile_model(Ending(SOMETHING["zero"]).eval(), picture, threads=1)
    except EngineMissingError as error:
        pytest.skip(str(error))
    with pytest.raises(
        EngineError, match=r"nothing was compared: no value that the model|sizes must be positive|weights are NaN"
    ):
        compile_model(model, picture, threads=1)


@something
def test_what_can_be_compared_is(end: Callable[[Tensor], Tensor], picture: Tensor, tmp_path: Path) -> None:
    model = Ending(end).eval()
    with torch.no_grad():
        wanted = model(picture)
    compacted = sapwood.compact(model, picture)
    assert compacted.verification.passed
    assert compacted.model.first.out_channels == 5
    with torch.no_grad():
        assert torch.allclose(compacted.model(picture).float(), wanted.float(), atol=1e-5)
    exported = EXPORTERS["torch-export"].export(model, picture, tmp_path / "net.pt2", ExportOptions())
    assert exported.max_relative_error == 0.0
    try:
        compiled = compile_model(model, picture, threads=1)
    except EngineMissingError:
        return
    assert compiled(picture).shape == wanted.shape


def test_inputs_of_its_own_that_tell_nothing_are_no_fault(picture: Tensor) -> None:
    """The logarithm of negative numbers is NaN; the example has none."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        model[0].weight[:3] = 0

    class Logarithm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.log()).mean()

    assert sapwood.compact(Logarithm().eval(), picture.abs() + 0.1).verification.passed


def test_a_darknet_network_that_overflows_is_not_exported(tmp_path: Path) -> None:
    layer = "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n"
    network = DarknetNetwork(parse_cfg(f"[net]\nwidth=8\nheight=8\nchannels=3\n{layer}{layer}"))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e30)
    with pytest.raises(CheckFailedError, match=r"net\.cfg and .*net\.weights, read back: nothing was compared"):
        export_darknet(network, tmp_path / "net.cfg")


LOWEST = torch.finfo(torch.float64).min


def test_values_that_stand_for_infinities_hide_no_difference() -> None:
    """Attention masks are filled with the lowest number of a type; beside it everything else is nothing."""
    mask = torch.tensor([0.0, LOWEST], dtype=torch.float64)
    one, other = torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, 2.5]).double()
    assert relative_error([other, mask], [one, mask], answers=1) == 0.25
    assert relative_error([other, mask], [one, mask]) == 0.25
    assert relative_error([torch.cat([other, mask])], [torch.cat([one, mask])]) == 0.25
    assert relative_error([one, mask], [one, mask / 2]) == math.inf


def test_what_was_chosen_from_measures_no_output() -> None:
    """What a code compares may be of any size."""
    one, other, large = (torch.tensor([value], dtype=torch.float64) for value in (1.0, 1.5, 1e9))
    assert relative_error([other, large], [one, large], answers=1) == 0.5
    assert relative_error([large, other], [large, one], answers=1) == pytest.approx(0.5e-3)


def with_a_head_of_zeros() -> Ending:
    """As vision transformers and the added branches of diffusion models begin."""
    model = Ending(lambda y: y)
    for parameter in model.last.parameters():
        nn.init.zeros_(parameter)
    return model.eval()


def test_where_the_masked_model_returns_zeros_only_one_with_other_values_is_compared(
    picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(model: nn.Module, *given: Any, **named: Any) -> list[Tensor]:
        ran.append(bool(model.last.weight.any()))
        return compact_outputs(model, *given, **named)

    monkeypatch.setattr(proof, "compact_outputs", run)
    found = sapwood.prune(with_a_head_of_zeros(), picture, target=QUARTER)
    assert ran == [True]
    assert found.verification.passed
    assert found.verification.distance_from_dense is None

    def wrong(model: nn.Module, plan: Plan) -> nn.Module:
        compact = apply_plan(model, plan)
        with torch.no_grad():
            compact.last.weight.copy_(compact.last.weight.flip(1))
        return compact

    for place in (proof, removal_dense):
        monkeypatch.setattr(place, "apply_plan", wrong)
    with pytest.raises(CheckFailedError, match="differs from the masked one by"):
        sapwood.prune(with_a_head_of_zeros(), picture, target=QUARTER)
