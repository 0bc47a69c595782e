"""Operators that carry rows along: against the dense model with what the plan cuts at zero, from the plan alone."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import CheckFailedError
from sapwood.graph import output_tensors
from sapwood.models import apply_plan
from sapwood.pipeline import Target, compact, prune
from support.probes import PROBES, Net
from support.silencing import silenced

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""

WIDTHS = {
    "bags_of_words": {"0.weight": (20, 8), "2.weight": (6, 8)},
    "best_rows_gathered": {"a.weight": (8, 5), "head.weight": (3, 8)},
    "convolution_one_wide_over_rows": {"a.weight": (8, 3), "mix.weight": (1, 3, 1), "head.weight": (4, 8)},
    "deformable_convolution": {"stem.weight": (8, 3, 3, 3), "d.weight": (6, 8, 3, 3), "offset.weight": (27, 8, 3, 3)},
    "distances_to_prototypes": {"a.weight": (8, 5), "prototypes": (4, 8)},
    "messages_by_a_sparse_matrix": {"a.weight": (8, 5), "b.weight": (6, 8)},
    "messages_by_index_add": {"a.weight": (8, 5), "b.weight": (6, 8)},
    "messages_by_scatter": {"a.weight": (8, 5), "head.weight": (3, 8)},
    "packed_sequences": {"table.weight": (20, 6), "rnn.weight_ih_l0": (24, 6), "head.weight": (3, 8)},
    "pillars_on_a_canvas": {"a.weight": (8, 5), "head.weight": (5, 8, 1, 1)},
    "pictures_put_into_text": {"a.weight": (10, 8), "p.weight": (8, 6), "head.weight": (3, 8)},
    "pool_and_unpool": {"a.weight": (8, 3, 3, 3), "b.weight": (8, 8, 3, 3)},
    "rows_by_their_first_channel": {"a.weight": (8, 5), "head.weight": (3, 8)},
    "rows_pooled_by_windows": {"a.weight": (8, 5), "head.weight": (3, 8)},
    "segments_pooled": {"a.weight": (8, 5), "head.weight": (3, 8)},
    "shuffled_by_a_module": {"0.weight": (8, 3, 3, 3)},
    "tokens_mixed_by_a_transform": {"a.weight": (8, 5), "head.weight": (3, 8)},
    "unfold_and_fold": {"a.weight": (8, 3, 3, 3), "head.weight": (5, 8, 1, 1)},
}
"""Shapes at half the channels."""


def double(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(double, value))
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


@torch.no_grad()
def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    inputs = double(inputs)
    return output_tensors(model.double().eval()(*inputs if isinstance(inputs, tuple) else (inputs,)))


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_half_goes_and_the_rest_is_what_it_was(name: str) -> None:
    model, inputs = PROBES[name]()
    pruned = prune(model.eval(), inputs, target=Target(sparsity=0.5), criterion="random")
    assert {key: tuple(pruned.model.get_parameter(key).shape) for key in WIDTHS[name]} == WIDTHS[name]
    wanted = outputs(silenced(model, pruned.plan, None), inputs)
    found = outputs(apply_plan(model, pruned.plan), inputs)
    assert all(
        float((one - two).abs().max()) <= EXACT * float(two.abs().max()) for one, two in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_it_trains_a_step(name: str) -> None:
    model, inputs = PROBES[name]()
    small = prune(model.eval(), inputs, target=Target(sparsity=0.5)).model.train()
    before = {key: parameter.detach().clone() for key, parameter in small.named_parameters()}
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    made = output_tensors(small(*inputs if isinstance(inputs, tuple) else (inputs,)))
    try:
        sum(output.square().sum() for output in made).backward()
    except RuntimeError as error:  # early releases of PyTorch lack a few derivatives
        if "is not implemented" not in str(error):
            raise
        pytest.skip(str(error))
    optimizer.step()
    assert any(not torch.equal(before[key], parameter) for key, parameter in small.named_parameters())


def test_a_mask_that_leaves_no_row_proves_nothing() -> None:
    model = Net(lambda m, x: m.head(x[x[:, 0] > 0]), head=nn.Linear(4, 3))
    with pytest.raises(CheckFailedError, match="nothing was compared"):
        compact(model, -torch.rand(6, 4))


def test_learned_rows_without_a_batch_go_through_a_norm() -> None:
    """Its statistics, one a row, follow the rows; channels stay here, over which it would pool."""
    model, inputs = PROBES["latents_that_attend"]()
    pruned = prune(model.eval(), inputs, target=Target(sparsity=0.5), ignore={"norm": "kept"})
    assert pruned.model.latents.shape == (6, 16)
    assert pruned.model.q.weight.shape == (8, 16)
    assert prune(model, inputs, target=Target(sparsity=0.5)).model.latents.shape == (6, 8)
    (rows,) = (cut.kept for cut in pruned.plan.cuts if cut.tensor == "latents")
    fewer = dataclasses.replace(pruned.plan, cuts=tuple(cut for cut in pruned.plan.cuts if cut.tensor != "latents"))
    masked = silenced(model, fewer, None)
    masked.latents = nn.Parameter(masked.latents[list(rows)])
    (found,), (wanted,) = outputs(apply_plan(model, pruned.plan), inputs), outputs(masked, inputs)
    assert float((found - wanted).abs().max()) <= EXACT * float(wanted.abs().max())


def test_sizes_that_values_decide_may_be_others_in_the_compact_model() -> None:
    """Its norm is taken over what is kept, and so it says other lengths than the model with weights at zero."""
    model, inputs = PROBES["rows_as_often_as_said"]()
    with torch.no_grad():
        model.often.weight.mul_(4)
    pruned = prune(model.eval(), inputs, target=Target(sparsity=0.5))
    assert pruned.model.a.weight.shape == (8, 5)
    assert pruned.model.b.weight.shape == (4, 8)
    (found,), (at_zero,) = outputs(pruned.model, inputs), outputs(silenced(model, pruned.plan, None), inputs)
    assert found.shape[1] != at_zero.shape[1]
    (kept,) = (cut.kept for cut in pruned.plan.cuts if cut.tensor == "a.weight")
    masked = silenced(model, pruned.plan, None)
    masked.norm = Kept(masked.norm, list(kept))
    (wanted,) = outputs(masked, inputs)
    assert float((found - wanted).abs().max()) <= 1e-6 * float(wanted.abs().max())  # found comes from float32 weights


class Kept(nn.Module):
    """A layer norm over some channels, at which the others are zero behind it."""

    def __init__(self, norm: nn.LayerNorm, kept: list[int]) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, x: Tensor) -> Tensor:
        own, made = self.kept, torch.zeros_like(x)
        weight, bias = self.norm.weight[own], self.norm.bias[own]
        made[..., own] = nn.functional.layer_norm(x[..., own], (len(own),), weight, bias, self.norm.eps)
        return made


def test_windows_that_overlap_let_channels_through() -> None:
    """The code checks a width, which an attribute says, and divides by its root in place: that is undone."""
    model, inputs = PROBES["windows_that_overlap"]()
    pruned = prune(model.eval(), inputs, target=Target(sparsity=0.5))
    assert pruned.model.width == 8
    assert pruned.model.b.weight.shape == (8, 8)
    small = apply_plan(copy.deepcopy(model).double(), pruned.plan)
    (found,), (wanted,) = outputs(small, inputs), outputs(silenced(model, pruned.plan), inputs)
    assert float((found - wanted).abs().max()) <= EXACT * float(wanted.abs().max())
