"""Networks as strangers write them: against the dense model with what the plan cuts at zero, from the plan alone."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import ConfigError, ShapeError
from sapwood.graph import ChannelGroup, output_tensors
from sapwood.graph.groups import Member, _all_or_none
from sapwood.models import AttributeEdit, Plan, apply_plan
from sapwood.pipeline import Target, prune
from support.probes import Net, conv, picture
from support.silencing import silence_, silenced
from support.strangers import STRANGERS, Frozen, configured
from support.strangers_today import turned_pairs

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""

assert turned_pairs, "registers its networks"

WIDTHS = {
    "angles_and_sums_of_exponents": {"a.weight": (8, 6), "head.weight": (3, 8)},
    "bilinear_layer": {"both.weight": (10, 8, 6), "head.weight": (3, 10)},
    "cells_in_a_list": {"cells.0.gates.weight": (12, 7, 3, 3), "cells.1.gates.weight": (18, 10, 3, 3)},
    "cells_in_a_list_of_one_width": {"cells.0.gates.weight": (12, 7, 3, 3), "cells.1.gates.weight": (12, 8, 3, 3)},
    "codes_by_private_numbers": {"0.weight": (8, 3, 3, 3), "1.book.weight": (10, 8), "2.weight": (5, 8, 1, 1)},
    "keys_kept_in_buffers": {"qkv.weight": (24, 6), "head.weight": (3, 8)},
    "last_channel_read_for_its_shape": {"a.weight": (8, 6), "places": (5, 8), "head.weight": (3, 8)},
    "modulated_convolution": {"start": (1, 8, 4, 4), "weight": (10, 8, 3, 3), "head.weight": (5, 10, 1, 1)},
    "moved_by_a_matrix": {"look.weight": (8, 3, 3, 3), "how.weight": (6, 8), "a.weight": (12, 3, 3, 3)},
    "parts_cut_at_sums": {"a.weight": (42, 6), "along.weight": (22, 1, 3), "head.weight": (3, 16)},
    "places_times_queries": {"qkv.weight": (24, 6), "places": (9, 8), "head.weight": (3, 8)},
    "powers_of_channels": {"a.weight": (8, 3, 3, 3), "head.weight": (5, 8, 1, 1)},
    "pyramid_of_grouped_kernels": {"plain.weight": (4, 8, 3, 3), "grouped.weight": (4, 4, 5, 5), "norm.weight": (8,)},
    "read_at_several_widths": {"a.weight": (16, 6), "heads.0.weight": (3, 4), "heads.2.weight": (3, 16)},
    "shifted_in_time_by_eighths": {"a.weight": (16, 3, 3, 3), "head.weight": (5, 16, 1, 1)},
    "sound_in_frames": {"a.weight": (8, 9, 1), "head.weight": (3, 8)},
    "split_attention": {"both.weight": (16, 1, 3, 3), "up.weight": (16, 2, 1, 1), "head.weight": (5, 8, 1, 1)},
    "symmetric_weight": {"a.weight": (8, 6), "upper": (8, 8), "head.weight": (3, 8)},
    "volume_read_on_a_grid": {"a.weight": (8, 2, 1, 1, 1), "head.weight": (3, 8, 1, 1, 1)},
    "widths_in_a_dataclass": {"1.qkv.weight": (24, 8), "2.out.weight": (8, 8), "3.weight": (3, 8)},
    "widths_in_a_dict": {"1.qkv.weight": (24, 8), "2.out.weight": (8, 8), "3.weight": (3, 8)},
    "widths_in_a_dict_with_attributes": {"1.qkv.weight": (24, 8), "2.out.weight": (8, 8), "3.weight": (3, 8)},
    "widths_in_slots_of_an_object": {"1.qkv.weight": (24, 8), "2.out.weight": (8, 8), "3.weight": (3, 8)},
    "widths_in_the_body_of_a_class": {"1.qkv.weight": (24, 8), "2.out.weight": (8, 8), "3.weight": (3, 8)},
    "widths_of_numpy": {"a.weight": (8, 6), "head.weight": (3, 40)},
    "widths_in_a_list_of_a_dict": {"a.weight": (8, 3, 3, 3), "b.weight": (12, 8, 3, 3), "head.weight": (3, 768)},
    "widths_in_a_namespace": {"1.qkv.weight": (24, 8), "2.out.weight": (8, 8), "3.weight": (3, 8)},
}
WIDTHS |= {
    "branches_cut_by_a_dict": {"parts.size1.weight": (4, 3, 1, 1), "parts.size5.weight": (20, 3, 5, 5)},
    "checked_before_a_mask_is_made": {"a.weight": (8, 6), "head.weight": (3, 8)},
    "bumps_of_every_channel": {"a.weight": (6, 3, 3, 3), "b.weight": (8, 24, 3, 3), "head.weight": (5, 8, 1, 1)},
    "gated_delta_rule": {"i.weight": (8, 6), "k.weight": (8, 8), "v.weight": (8, 8), "head.weight": (3, 8)},
    "values_of_the_first_layer": {"qk.1.weight": (16, 8), "v.0.weight": (8, 8), "head.weight": (3, 8)},
    "weights_that_the_input_adds_to": {"k.weight": (8, 8), "slow": (8, 8), "head.weight": (3, 8)},
    "complex_numbers_turned": {"q.weight": (16, 16), "v.weight": (16, 16), "head.weight": (3, 16)},
    "even_and_odd_channels": {"a.weight": (8, 3, 3, 3), "even.weight": (5, 4, 3, 3), "odd.weight": (5, 4, 3, 3)},
    "every_other_channel_added": {"a.weight": (8, 3, 3, 3), "b.weight": (4, 8, 3, 3), "head.weight": (5, 4, 1, 1)},
    "exits_that_are_not_taken": {"layers.1.weight": (8, 8), "heads.0.weight": (4, 8), "heads.1.weight": (4, 8)},
    "forces_of_an_energy": {"a.weight": (8, 3), "b.weight": (10, 8), "c.weight": (1, 10)},
    "mean_that_runs_along": {"a.weight": (8, 3, 3, 3), "mean": (8,), "head.weight": (5, 8, 1, 1)},
    "neighbours_turned": {"q.weight": (16, 16), "v.weight": (16, 16), "cos": (5, 2), "head.weight": (3, 16)},
    "places_shifted_by_padding": {"q.weight": (8, 8), "far.weight": (8, 4), "first": (4, 2), "v.weight": (8, 8)},
    "polynomials_of_every_channel": {"0.factors": (5, 8, 5), "1.factors": (8, 6, 5), "2.factors": (6, 3, 5)},
    "queue_of_answers": {"a.weight": (8, 6), "queue": (8, 8), "head.weight": (3, 8)},
    "quarter_turns_averaged": {"a.weight": (8, 3, 3, 3), "head.weight": (5, 8, 1, 1)},
    "rows_of_their_own_lengths": {"a.weight": (8, 6), "b.weight": (10, 8), "head.weight": (3, 10)},
    "scores_by_baddbmm": {"q.weight": (8, 8), "v.weight": (8, 8), "head.weight": (3, 8)},
    "slots_of_experts_by_einsum": {"i.weight": (8, 6), "keys": (8, 2, 2), "up": (2, 8, 10), "head.weight": (3, 8)},
    "teacher_moved_by_lists": {"student.0.weight": (8, 6), "teacher.2.weight": (12, 8), "head.weight": (3, 12)},
    "teacher_with_other_data": {"student.0.weight": (8, 6), "teacher.2.weight": (12, 8), "head.weight": (3, 12)},
    "teacher_written_in_place": {"student.0.weight": (8, 6), "teacher.2.weight": (12, 8), "head.weight": (3, 12)},
}
"""Shapes at half the channels."""


@torch.no_grad()
def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of what code makes without a type
    try:
        each = inputs if isinstance(inputs, tuple) else (inputs,)
        wide = [x.double() if x.is_floating_point() else x for x in each]
        return output_tensors(copy.deepcopy(model).double().eval()(*wide))
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_half_goes_and_the_rest_is_what_it_was(name: str) -> None:
    model, x = STRANGERS[name]()
    pruned = prune(model.eval(), x, target=Target(sparsity=0.5), criterion="random")
    sizes = {key: tuple(tensor.shape) for key, tensor in pruned.model.state_dict().items() if key in WIDTHS[name]}
    assert sizes == WIDTHS[name]
    exact = copy.deepcopy(model).double()
    for found, wanted in zip(
        outputs(apply_plan(exact, pruned.plan), x), outputs(silenced(model, pruned.plan), x), strict=True
    ):
        assert float((found - wanted).abs().max()) <= EXACT * float(wanted.abs().max())


def test_every_stranger_is_judged() -> None:
    assert STRANGERS.keys() == WIDTHS.keys()


@pytest.mark.parametrize(
    "config", [SimpleNamespace(width=16, heads=4), {"width": 16, "heads": 4}], ids=["object", "dict"]
)
def test_a_config_that_layers_share_is_copied_once_and_left_as_it_was(config: Any, tmp_path: Any) -> None:
    model, x = configured(config)
    before = copy.deepcopy(config)
    pruned = prune(model.eval(), x, target=Target(sparsity=0.5))
    small = pruned.model
    assert config == before
    assert small[1].config is small[2].config
    assert small[1].config == type(config)(**{"width": 8, "heads": 4})
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=lambda: configured(config)[0])
    assert config == before
    assert again[2].config == small[2].config
    assert torch.equal(again(x), small(x))


@dataclass(frozen=True)
class Config:
    width: int = 16
    heads: int = 4


@pytest.mark.parametrize("kind", [Config, Frozen])
def test_a_config_that_may_not_change_keeps_widths_whole(kind: Any) -> None:
    """Frozen on purpose: heads stay, with the line that reads them, and the rest goes."""
    pruned = prune(configured(kind())[0].eval(), torch.randn(2, 5, 6), target=Target(sparsity=0.5))
    assert vars(pruned.model[1].config) == vars(kind())
    reasons = {(entry.tensor, entry.dim): entry.reason for entry in pruned.unpruned}
    assert "a shape in the code that no attribute explains" in reasons["1.qkv.weight", 0]
    assert "strangers.py" in reasons["1.qkv.weight", 0]


class Slots(nn.Module):
    """Attention whose numbers, and a layer's name, stand in slots; ``copy.deepcopy`` loses them."""

    __slots__ = ("heads", "out", "width")

    def __init__(self) -> None:
        super().__init__()
        self.width, self.heads = 16, 4
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2)
        return x + self.out(y.reshape(b, t, self.width))


def test_what_a_module_keeps_in_slots_is_copied_and_set(tmp_path: Any) -> None:
    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), Slots(), nn.Linear(16, 3)).eval()

    model, masked, x = made(), made(), torch.randn(2, 5, 6)
    pruned = prune(model, x, target=Target(sparsity=0.5))
    small: Any = pruned.model
    assert (small[1].width, small[1].qkv.weight.shape, model[1].width) == (8, (24, 8), 16)
    masked.load_state_dict(model.state_dict())
    silence_(masked, pruned.plan)
    torch.testing.assert_close(small(x), masked(x))
    sapwood.save(pruned, tmp_path / "small")
    assert torch.equal(sapwood.load(tmp_path / "small", model=made)(x), small(x))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda m, x: m.a(torch.nested.as_nested_tensor([x[0, :2], x[1]])).relu(), r"the model makes .* at test_str"),
        (
            lambda m, x: m.a(torch.nested.as_nested_tensor([x[0, :2], x[1]], layout=torch.jagged)),
            r"returns a nested tensor that has no one shape; expected .* plain ones returned: their values\(\)",
        ),
    ],
    ids=["made", "returned"],
)
def test_nested_tensors_that_have_no_shape_are_refused_with_what_to_do(run: Any, message: str) -> None:
    model = Net(run, a=nn.Linear(6, 3)).eval()
    with pytest.raises(ConfigError, match=message):
        prune(model, torch.randn(2, 5, 6), target=Target(sparsity=0.5))
    nested = torch.nested.nested_tensor([torch.randn(2, 6), torch.randn(3, 6)])
    with pytest.raises(ConfigError, match="example_inputs is or holds a nested tensor"):
        prune(model, nested, target=Target(sparsity=0.5))


def test_a_loop_that_ends_by_values_may_have_a_width_of_its_own() -> None:
    """As long as something is to go the loop is recorded without it, and goes on for another time once nothing is."""

    def run(m: Any, x: Tensor) -> Any:
        before, x = torch.zeros(4, 16), m.a(x)
        for _ in range(30):
            now = torch.tanh(m.again(before) * 0.3 + x)
            if (now - before).norm() < 1e-4:
                break
            before = now
        return m.head(now)

    torch.manual_seed(0)
    model = Net(run, a=nn.Linear(6, 16), again=nn.Linear(16, 16), head=nn.Linear(16, 3)).eval()
    pruned = prune(model, torch.randn(4, 6), target=Target(sparsity=0.5))
    assert pruned.plan.cuts == ()
    reasons = {(entry.tensor, entry.dim): entry.reason for entry in pruned.unpruned}
    assert "no attribute explains, in aten.zeros" in reasons["a.weight", 0]


def test_biases_go_with_weights_that_code_adds_up_itself() -> None:
    """Asymmetric kernels of one convolution (ACNet): the layers that hold them fit together afterwards."""

    def run(m: Any, x: Tensor) -> Any:
        kernel = m.square.weight + F.pad(m.flat.weight, (0, 0, 1, 1))
        return m.head(F.conv2d(m.a(x).relu(), kernel, m.square.bias, padding=1).relu())

    parts = {"a": conv(3, 16), "square": conv(16, 24), "flat": nn.Conv2d(16, 24, (1, 3)), "head": conv(24, 3)}
    pruned = prune(Net(run, **parts).eval(), picture(), target=Target(sparsity=0.5))
    small: Any = pruned.model
    assert small.flat.bias.shape == (12,)
    assert small.flat(torch.randn(1, 8, 4, 4)).shape == (1, 12, 4, 2)
    assert pruned.notes == ()


def test_layers_in_a_plain_list_are_named() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.layers, self.head = nn.Linear(6, 16), [nn.Linear(16, 16)], nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.layers[0](self.a(x)))

    pruned = prune(Hidden().eval(), torch.randn(2, 6), target=Target(sparsity=0.5))
    assert [note.partition(":")[0] for note in pruned.notes] == ["layers"]
    assert "nn.ModuleList" in pruned.notes[0]


def test_groups_of_a_norm_across_two_parts_lose_as_many_each() -> None:
    """What comes up and what a shortcut brings, the latter with groups of its own (U-Nets of diffusion models)."""

    def run(m: Any, x: Tensor) -> Any:
        x = m.a(x)
        x = x + m.same(m.own(x).relu())
        return m.head(m.norm(torch.cat([m.wide(m.b(x).relu()), x], 1)).relu())

    parts = {"a": conv(3, 16), "own": nn.GroupNorm(4, 16), "same": conv(16, 16), "b": conv(16, 8), "wide": conv(8, 32)}
    model = Net(run, **parts, norm=nn.GroupNorm(4, 48), head=conv(48, 3)).eval()
    pruned = prune(model, picture(), target=Target(sparsity=0.5))
    kept = {cut.tensor: cut.kept for cut in pruned.plan.cuts if cut.dim == 0}
    assert [len(kept[name]) for name in ("a.weight", "wide.weight")] == [8, 16]
    for name, groups in (("norm.weight", 12), ("own.weight", 4)):
        assert np.bincount(np.array(kept[name]) // groups).tolist() == [groups // 2] * 4
    assert pruned.verification.passed


def test_a_buffer_written_in_the_run_is_not_scaled() -> None:
    """Keys that a cache holds are made anew: the queries are scaled, and what stood in the cache is left alone."""
    model, x = STRANGERS["keys_kept_in_buffers"]()
    plan = prune(model.eval(), x, target=Target(sparsity=0.5)).plan
    assert {entry.tensor for entry in plan.rescales} == {"qkv.weight", "qkv.bias"}


def test_a_vector_that_products_meet_is_scaled_as_a_whole() -> None:
    """The scores of a learned query, over the root of its width: no row of it belongs to a row of the result."""

    def run(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return ((y @ m.query) / y.shape[-1] ** 0.5).softmax(-1)[:, None] @ m.v(x)

    parts = {"a": nn.Linear(6, 16), "query": nn.Parameter(torch.randn(16)), "v": nn.Linear(6, 3)}
    model, x = Net(run, **parts).eval(), torch.randn(2, 5, 6)
    pruned = prune(model, x, target=Target(sparsity=0.5))
    assert pruned.model.a.weight.shape == (8, 6)
    (found,), (wanted,) = (outputs(one, x) for one in (apply_plan(model, pruned.plan), silenced(model, pruned.plan)))
    assert float((found - wanted).abs().max()) <= 1e-6 * float(wanted.abs().max())  # rounded to float32 by the plan


def test_plans_reach_no_data_of_pytorch_itself() -> None:
    plan = Plan(attributes=(AttributeEdit("", "_modules.a", 1, 2),))
    with pytest.raises(ShapeError, match=r"the plan sets _modules\.a of ''; the model has no config there"):
        apply_plan(nn.Sequential(nn.Linear(2, 2)), plan)


def test_a_dimension_that_needs_one_unit_in_several_columns_is_named() -> None:
    """As behind the shuffles of a ShuffleNetV1 whose groups do not divide: some indices need it here, others there."""
    members = [Member("norm", 0, np.array(column)) for column in ([0, 0, -1], [-1, -1, 0])]
    groups = [ChannelGroup("conv[0]", (7,), tuple(members))]
    (entry,) = _all_or_none(groups, {"norm"}, lambda name, dim: None)
    assert (entry.tensor, entry.dim) == ("norm", 0)
    assert "overlap" in entry.reason
    groups = [ChannelGroup("conv[0]", (7,), (members[0],))]
    (entry,) = _all_or_none(groups, {"norm"}, lambda name, dim: f"{name}[{dim}] is an output")
    assert entry.reason == "norm[0] is an output"  # of the index that needs no unit


def test_a_matrix_made_for_each_picture_keeps_what_is_added_to_it_whole() -> None:
    """PointNet's transform of features, plus the identity: it may come out whole, and ends in no recursion."""

    def run(m: Any, x: Tensor) -> Any:
        x = m.a(x).relu()
        turn = (m.turn(x.amax(2)) + torch.eye(16).flatten()).view(-1, 16, 16)
        return m.head(torch.bmm(x.transpose(2, 1), turn).transpose(2, 1)), turn

    model = Net(run, a=nn.Conv1d(3, 16, 1), turn=nn.Linear(16, 256), head=nn.Conv1d(16, 4, 1)).eval()
    pruned = prune(model, torch.randn(2, 3, 10), target=Target(sparsity=0.5))
    assert pruned.verification.passed
    assert any(entry.tensor == "turn.weight" for entry in pruned.unpruned)


def test_a_number_that_is_worked_out_once_is_set_in_a_model_that_never_ran(tmp_path: Any) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads, self.both, self.out = 4, nn.Linear(16, 48), nn.Linear(16, 16)

        @functools.cached_property
        def each(self) -> int:
            return 16 // self.heads

        def forward(self, x: Tensor) -> Any:
            q, k, v = self.both(x).view(*x.shape[:2], 3, self.heads, self.each).permute(2, 0, 3, 1, 4)
            return self.out(F.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).flatten(2))

    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), Attention(), nn.Linear(16, 3)).eval()

    model, x = made(), torch.randn(2, 5, 6)
    model(x)
    pruned = prune(model, x, target=Target(sparsity=0.5))
    sapwood.save(pruned, tmp_path / "small")
    assert torch.equal(sapwood.load(tmp_path / "small", model=made)(x), pruned.model(x))
