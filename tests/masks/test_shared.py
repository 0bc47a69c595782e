"""Parameters that modules share, under masks that they do not; masked weights that are read without their module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

import sapwood
from sapwood.criteria import CRITERIA
from sapwood.errors import ConfigError, EngineMissingError, ShapeError
from sapwood.export import EXPORTERS, ExportOptions
from sapwood.export.flat import plain_copy
from sapwood.masks import MaskCase, apply_masks_, distinct_slots, masking_state, remove_masks_
from sapwood.measure import count_nonzeros, count_params
from sapwood.measure.size import effective_state
from sapwood.models import Cut, Plan, apply_plan, copy_model, live_masks
from sapwood.models.live_masks import used_parts
from sapwood.pipeline import Calibration, recover_masked_
from sapwood.runtime import compile as compile_model
from sapwood.types import ModelBundle, ModelSource, TaskSpec

FLOAT32 = 1e-6
"""Of sums of some ten numbers near 1, in another order."""


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.second.weight = self.first.weight
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(torch.relu(self.second(torch.relu(self.first(x)))))
        return result


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Embedding(10, 8), nn.Linear(8, 8)
        self.second = nn.Linear(8, 10, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(torch.relu(self.middle(self.first(x))))
        return result


class Borrowed(nn.Module):
    """Reads a weight without calling its module."""

    def __init__(self) -> None:
        super().__init__()
        self.lent, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(torch.relu(functional.linear(x, self.lent.weight, self.lent.bias)))
        return result


PICTURE, TOKENS = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(1)), torch.arange(10).reshape(2, 5)
KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "convolutions": (Convolutions, PICTURE),
    "head": (Head, TOKENS),
}
MASKED: dict[str, tuple[str, ...]] = {"first": ("first",), "second": ("second",), "other masks": ("first", "second")}


def masked(kind: str, holders: tuple[str, ...], *, structured: bool = False) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, inputs = KINDS[kind]
    model = make().eval()
    for number, name in enumerate(holders):
        module = model.get_submodule(name)
        if structured:
            prune.ln_structured(module, "weight", amount=3 + number, n=2, dim=0)
        else:
            prune.random_unstructured(module, "weight", amount=0.5)
    return model, inputs


@torch.no_grad()
def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    result: Tensor = model(inputs)
    return result


each = pytest.mark.parametrize("holders", MASKED.values(), ids=MASKED)
both_kinds = pytest.mark.parametrize("kind", KINDS)
structures = pytest.mark.parametrize("structured", [False, True], ids=["weights", "slices"])


@each
@both_kinds
@structures
def test_masks_become_permanent_without_another_output(kind: str, holders: tuple[str, ...], structured: bool) -> None:
    model, inputs = masked(kind, holders, structured=structured)
    wanted = outputs(model, inputs)
    plain = plain_copy(model)
    assert torch.equal(outputs(plain, inputs), wanted)
    assert torch.equal(outputs(model, inputs), wanted)
    twin = copy_model(model)
    names = remove_masks_(twin)
    assert names == tuple(f"{name}.weight" for name in holders)
    assert sorted(twin.state_dict()) == sorted(KINDS[kind][0]().state_dict())
    first, second = twin.get_parameter("first.weight"), twin.get_parameter("second.weight")
    assert first is not second
    assert torch.equal(outputs(twin, inputs), wanted)
    assert first.requires_grad
    assert second.requires_grad


@both_kinds
def test_equal_masks_leave_the_parameter_shared(kind: str) -> None:
    model, inputs = masked(kind, ("first",))
    prune.custom_from_mask(model.get_submodule("second"), "weight", model.get_buffer("first.weight_mask"))
    wanted, own = outputs(model, inputs), model.get_parameter("first.weight_orig")
    remove_masks_(model)
    assert model.get_parameter("first.weight") is model.get_parameter("second.weight") is own
    assert torch.equal(outputs(model, inputs), wanted)


def test_three_holders_and_two_masks() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3)))
    model[1].weight = model[2].weight = model[0].weight
    mask = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).expand(4, 4)
    for number, own in ((0, mask), (1, 1.0 - mask), (2, mask)):
        prune.custom_from_mask(model[number], "weight", own)
    wanted = outputs(model, torch.eye(4))
    remove_masks_(model)
    assert model[0].weight is model[2].weight
    assert model[1].weight is not model[0].weight
    assert torch.equal(outputs(model, torch.eye(4)), wanted)


@each
@both_kinds
def test_each_mask_on_a_shared_parameter_is_described(kind: str, holders: tuple[str, ...]) -> None:
    model, _ = masked(kind, holders)
    state = masking_state(model)
    described = {
        one.name: (one.live, one.num_zeros > 0) for one in state.tensors if one.name.startswith(("first", "second"))
    }
    assert described["first.weight"] == ("first" in holders, "first" in holders)
    assert described["second.weight"] == ("second" in holders, "second" in holders)
    plain = plain_copy(model)
    assert (state.num_params, state.num_zeros) == (count_params(plain), count_params(plain) - count_nonzeros(plain))
    assert count_params(model) == count_params(plain)
    assert count_nonzeros(model) == count_nonzeros(plain)
    stored = effective_state(model)
    assert all(torch.equal(stored[name], tensor) for name, tensor in plain.state_dict().items())
    assert len(distinct_slots(model)) == len(distinct_slots(plain))


@each
@both_kinds
@structures
def test_compacting_gives_the_network_with_its_masks(
    kind: str, holders: tuple[str, ...], structured: bool, tmp_path: Path
) -> None:
    model, inputs = masked(kind, holders, structured=structured)
    wanted = outputs(model, inputs)
    compacted = sapwood.compact(model, inputs)
    assert compacted.verification.passed
    assert float((outputs(compacted.model, inputs) - wanted).abs().max()) <= FLOAT32
    directory = sapwood.save(compacted, tmp_path / "small")
    again = sapwood.load(directory, model=KINDS[kind][0])
    assert torch.equal(outputs(again, inputs), outputs(compacted.model, inputs))


@each
def test_the_engine_computes_the_network_with_its_masks(holders: tuple[str, ...]) -> None:
    model, inputs = masked("convolutions", holders)
    try:
        compiled = compile_model(model, inputs, threads=1)
    except EngineMissingError as error:
        pytest.skip(str(error))
    assert float((compiled(inputs) - outputs(model, inputs)).abs().max()) <= 10 * FLOAT32


@each
def test_an_exported_file_computes_the_network_with_its_masks(holders: tuple[str, ...], tmp_path: Path) -> None:
    model, inputs = masked("convolutions", holders)
    path = tmp_path / "net.pt2"
    EXPORTERS["torch-export"].export(model, inputs, path, ExportOptions())
    program = torch.export.load(path).module()
    assert float((program(inputs)[0].detach() - outputs(model, inputs)).abs().max()) <= FLOAT32


def test_half_precision_masks_that_are_read_directly_are_exported(tmp_path: Path) -> None:
    model, inputs = readers("borrowed")
    wanted = outputs(model, inputs).detach()
    EXPORTERS["torch-export"].export(model.half(), inputs.half(), tmp_path / "net.pt2", ExportOptions())
    found = torch.export.load(tmp_path / "net.pt2").module()(inputs).detach()  # files are of float32
    scale = float(wanted.abs().max())
    assert float((found - wanted).abs().max()) <= 16 * torch.finfo(torch.float16).eps * scale  # weights were rounded


@each
@both_kinds
@pytest.mark.parametrize("criterion", ["l2", "taylor"])
def test_pruning_under_live_masks_that_are_not_shared(kind: str, holders: tuple[str, ...], criterion: str) -> None:
    model, inputs = masked(kind, holders)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    calibration = Calibration([inputs], lambda network, batch: network(batch).square().mean())
    pruned = sapwood.prune(
        model, inputs, target=sapwood.Target(sparsity=0.25), criterion=criterion, calibration=calibration
    )
    assert pruned.verification.passed
    assert outputs(pruned.model, inputs).isfinite().all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    if kind == "head":
        assert pruned.model.get_buffer(f"{holders[0]}.weight_mask").shape == (10, 6)
        shared = pruned.model.first._parameters, pruned.model.second._parameters  # type: ignore[union-attr]
        first, second = ({id(one) for one in own.values() if one is not None} for own in shared)
        assert first == second


@both_kinds
def test_pruning_after_our_own_masks(kind: str) -> None:
    make, inputs = KINDS[kind]
    torch.manual_seed(0)
    model = make().eval()
    apply_masks_(model, MaskCase("l1_unstructured", 0.5, pattern="first.weight"))
    assert set(live_masks(model)) == {"first.weight", "second.weight"}
    assert sapwood.prune(model, inputs, target=sapwood.Target(sparsity=0.25)).verification.passed


def test_a_weight_counts_where_any_holder_uses_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[0].weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    model[1].weight = model[0].weight
    prune.custom_from_mask(model[1], "weight", torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert used_parts(model) == {}
    prune.custom_from_mask(model[0], "weight", torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert used_parts(model)["0.weight_orig"].tolist() == [[True, False], [False, True]]


def test_different_masks_on_one_parameter_are_not_recovered() -> None:
    model, inputs = masked("convolutions", ("first", "second"))
    bundle = ModelBundle(model, inputs, TaskSpec("none"), ModelSource("here", "session"))
    with pytest.raises(ConfigError, match=r"first.weight and second.weight share a parameter under different masks"):
        recover_masked_(bundle, Convolutions(), [inputs], method="batchnorm")


def test_a_plan_that_treats_a_shared_tensor_apart_is_refused() -> None:
    plan = Plan((Cut("first.weight", 0, 8, (0, 1)), Cut("second.weight", 0, 8, (0, 2))))
    with pytest.raises(ShapeError, match=r"does other things to first.weight than to second.weight; the model shares"):
        apply_plan(Convolutions(), plan)
    same = Plan((Cut("first.weight", 0, 8, (0, 1)), Cut("second.weight", 0, 8, (0, 1))))
    assert apply_plan(Convolutions(), same).second.weight.shape == (2, 8, 3, 3)


def test_names_that_shared_a_tensor_are_cut_together() -> None:
    plan = Plan((Cut("first.weight", 0, 8, (0, 1)),), aliases={"first.weight": ("first.weight", "second.weight")})
    apart = Convolutions()
    apart.second.weight = nn.Parameter(apart.first.weight.detach().clone())
    for model in (apart, Convolutions()):
        assert apply_plan(model, plan).second.weight.shape == (2, 8, 3, 3)


def normed(norm: Callable[..., nn.Module], *, mask: str | None = None) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = norm(nn.Linear(8, 8))
    if mask is not None:
        prune.random_unstructured(layer, mask, amount=0.5)
    return layer


def readers(name: str) -> tuple[nn.Module, Any]:
    """Models that read a weight which a hook computes, before that hook ran or without it."""
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    sequence = x[:, None].expand(2, 5, 8) + torch.arange(5.0)[:, None] / 5
    model: nn.Module
    if name == "borrowed":
        model = Borrowed()
        prune.random_unstructured(model.lent, "weight", amount=0.5)
        return model, x
    if name == "borrowed weight_norm":
        model = Borrowed()
        model.lent = normed(nn.utils.weight_norm)  # type: ignore[assignment]
        return model, x
    if name == "weight_norm":
        return nn.Sequential(normed(nn.utils.weight_norm, mask="weight_v"), nn.ReLU(), nn.Linear(8, 4)), x
    if name == "attention":
        model = nn.MultiheadAttention(8, 2, batch_first=True)
        prune.random_unstructured(model.out_proj, "weight", amount=0.5)
        return model, (sequence, sequence, sequence)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for layer in (model.linear1, model.self_attn.out_proj):
        prune.random_unstructured(layer, "weight", amount=0.5)
    return model, sequence


READERS = ("borrowed", "borrowed weight_norm", "weight_norm", "attention", "encoder layer")


def first_output(model: nn.Module, inputs: Any) -> Tensor:
    with torch.no_grad():
        found = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    result: Tensor = found[0] if isinstance(found, tuple) else found
    return result


@pytest.mark.parametrize("name", READERS)
def test_weights_that_are_read_before_their_hook_ran(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = readers(name)
    model.eval()
    wanted = first_output(model, inputs)
    pruned = sapwood.prune(model, inputs, target=sapwood.Target(sparsity=0.25))
    assert pruned.verification.passed
    assert first_output(pruned.model, inputs).shape == wanted.shape
    if name != "attention":  # which reads the same tensor three times, all of it
        assert count_params(pruned.model) < count_params(model)
    compacted = sapwood.compact(model, inputs)
    assert compacted.verification.passed
    assert float((first_output(compacted.model, inputs) - wanted).abs().max()) <= FLOAT32
    assert torch.equal(first_output(model, inputs), wanted)


def test_what_pruning_kept_is_what_the_masks_left() -> None:
    torch.manual_seed(0)
    model, inputs = readers("borrowed")
    model.eval()
    pruned = sapwood.prune(model, inputs, target=sapwood.Target(sparsity=0.5))
    (kept,) = {cut.kept for cut in pruned.plan.cuts if cut.tensor == "lent.weight_orig"}
    weight = (model.lent.weight_orig * model.lent.weight_mask)[list(kept)]  # type: ignore[union-attr]
    assert torch.equal(pruned.model.lent.weight, weight)  # type: ignore[union-attr]
    assert len(kept) == 4


def test_every_criterion_reads_shared_parameters_under_masks() -> None:
    model, inputs = masked("head", ("second",))
    names = [name for name in CRITERIA if not CRITERIA[name].needs]
    assert "l2" in names
    for name in names:
        pruned = sapwood.prune(model, inputs, target=sapwood.Target(sparsity=0.25), criterion=name)
        assert pruned.verification.passed, name
