"""What holds for every operator that has a rule, each inside a tiny model; a wrong rule fails by its name.

How operators are called stands in ``tests/support/families.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import sapwood
from sapwood.allocation import layer_work
from sapwood.graph import Analysis, build_groups, output_tensors, trace
from sapwood.measure import count_macs
from sapwood.models import copy_model
from sapwood.ops import NEVER_CHANNELS, RULES, Call
from sapwood.ops.facts import FACTS
from sapwood.pipeline import Pruned
from support.dependence import observed
from support.operators import Example, examples
from support.scenes import CONVS, Scene

ELSEWHERE = {
    "aten._fused_rms_norm": "CUDA",
    "aten._grouped_mm": "float32 alone: tests/pipeline/test_experts.py",
    "aten._scaled_dot_product_attention_math_for_mps": "MPS",
    "aten._scaled_dot_product_efficient_attention": "CUDA",
    "aten._scaled_dot_product_flash_attention": "CUDA",
    "aten.cudnn_batch_norm": "CUDA",
    "aten.linear": "MPS; taken apart elsewhere",
    "aten.max_pool2d": "MPS; taken apart elsewhere",
    "aten.mkldnn_max_pool2d": "tensors in oneDNN's layout",
    "aten.mkldnn_max_pool3d": "tensors in oneDNN's layout",
}
"""Operators that no run on this device calls, and where they are called."""

if torch.__version__ < "2.15":
    ELSEWHERE |= {"aten.ldexp": "taken apart by this PyTorch", "aten.ldexp_": "taken apart by this PyTorch"}

CLOSE = 1e-12
"""float64, sums of a few dozen numbers in another order."""

EXACT = {"rel": 1e-9}
"""Products of whole numbers, through fractions."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are quicker on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def models(name: str) -> list[tuple[Example, Scene, Tensor, Analysis]]:
    """Every model around an operator, its input, and what hangs on what in it."""
    found = [(example, *example.scene()) for example in examples(name)]
    return [(example, scene, x, build_groups(trace(scene, x))) for example, scene, x in found]


def recorded(example: Example, scene: Scene, x: Tensor, analysis: Analysis) -> bool:
    """Whether a run calls the operator itself: others are taken apart before anybody sees them."""
    found = bool(calls(analysis, example.name))
    if not found:
        with torch.inference_mode():
            found = any(call.name == example.name for call in trace(scene, x).calls)
    return found


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_run_calls_it(name: str) -> None:
    called = any(recorded(*model) for model in models(name))
    if name in ELSEWHERE:
        assert not called, f"{name} is called here: take it out of ELSEWHERE"
    else:
        assert called, f"no run calls {name}: PyTorch has none, or takes it apart first; its rule is dead, remove it"


def frozen_as(analysis: Analysis, tensor: str, dim: int) -> str | None:
    """Why no index of a dimension can go, where that is so."""
    axis, atoms = analysis.axes[tensor][dim], analysis.context.atoms
    return atoms.frozen_reason(int(axis.ravel()[0])) if axis.size and atoms.is_frozen(axis).all() else None


HERE = sorted(set(RULES) - set(ELSEWHERE))


@pytest.mark.parametrize("name", HERE)
def test_grouped(name: str) -> None:
    """Every tensor of the call has axes of its sizes; every dimension of a parameter goes, or says why not."""
    for example, _, _, analysis in models(name):
        assert not analysis.barriers
        for call in calls(analysis, name):
            for output in call.tensor_outputs():
                assert tuple(len(axis) for axis in analysis.context.axes(output)) == output.shape
        grouped = {(member.tensor, member.dim) for group in analysis.groups for member in group.members}
        said = {(entry.tensor, entry.dim) for entry in analysis.unpruned if entry.reason}
        for tensor, sizes in analysis.shapes.items():
            for dim, size in enumerate(sizes):
                known = (tensor, dim) in grouped | said or frozen_as(analysis, tensor, dim) == NEVER_CHANNELS
                assert size == 1 or known, f"{example.form}: {tensor}[{dim}] is nowhere"


@pytest.mark.parametrize("name", HERE)
def test_pruned_and_proven(name: str) -> None:
    """Half of the channels go where they can, and what stays computes what the dense model does without them."""
    for example, scene, x, analysis in models(name):
        seen = {key: value.clone() for key, value in scene.state_dict().items()}
        pruned = sapwood.prune(scene, x, target=HALF)
        assert pruned.verification.passed
        assert all(torch.equal(value, seen[key]) for key, value in scene.state_dict().items())
        cuts = {(cut.tensor, cut.dim): len(cut.kept) for cut in pruned.plan.cuts}
        source = next((key for key in (*SOURCES, *cuts) if key[0] in analysis.shapes), None)
        assert (source in cuts) == example.goes, f"{example.form} {pruned.unpruned}"
        if is_sum_of_channels(example, scene, analysis):
            compare_with_silenced(example, scene, x, pruned)
        compare_costs(pruned, x)


HALF = sapwood.Target(sparsity=0.5)

SOURCES = (("before.0.weight", 0), ("own.table", 1), ("own.v", 0))
"""The dimension that is asked about: of the first layer before the operator, or of the parameter it reads instead."""


def calls(analysis: Analysis, name: str) -> list[Call]:
    return [call for call in analysis.graph.calls if call.name == name]


def is_sum_of_channels(example: Example, scene: Scene, analysis: Analysis) -> bool:
    """Whether a channel that nobody reads is as good as none: not where numbers are pooled over channels."""
    channel = 1 if scene.layout in CONVS else -1
    for call in calls(analysis, example.name):
        if call.facts.random or call.facts.reads_values:
            return False
        pooled = call.facts.pooled_dims(call) if example.name not in SUMS else ()
        if pooled and channel % len(call.args[0].shape) in pooled:
            return False
    return True


SUMS = {"aten.sum", "aten.nansum"}
"""Reductions to which a zero adds nothing."""


def compare_with_silenced(example: Example, scene: Scene, x: Tensor, pruned: Pruned) -> None:
    """Against the dense model with the removed channels at zero where the next layer reads them, and where it sums."""
    silenced = copy_model(scene)
    adds_up = FACTS[example.name].sum is not None or example.name in SUMS
    readers = [cut for cut in pruned.plan.cuts if cut.tensor == "own.after" and not adds_up]
    with torch.no_grad():
        parameters = dict(silenced.named_parameters())
        for cut in readers or pruned.plan.cuts:
            gone = sorted(set(range(cut.width)) - set(cut.kept))
            parameters[cut.tensor].index_fill_(cut.dim, torch.tensor(gone), 0.0)
        wanted, found = (output_tensors(model(x)) for model in (silenced, pruned.model))
    assert len(wanted) == len(found)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one, rtol=CLOSE, atol=CLOSE, msg=lambda text: f"{example.form}: {text}")


def compare_costs(pruned: Pruned, x: Tensor) -> None:
    """What the tables say is what is counted."""
    analysis = build_groups(trace(pruned.model, x))
    kept = np.array([group.num_channels for group in analysis.groups], dtype=np.int64)
    counted = count_macs(pruned.model, x)
    unknown = {entry.split(" (")[0].replace("::", ".") for entry in counted.uncounted}
    assert unknown == {name for name in unknown if FACTS[name].uncounted}, "what has a formula is counted"
    assert layer_work(analysis).table("macs", "MACs").total(kept) == pytest.approx(counted.total, **EXACT)


@pytest.mark.parametrize("name", HERE)
def test_what_is_called_constant_is_constant(name: str) -> None:
    """Half of the weights are zero, so that some of what is read is constant; another input changes none of it."""
    for example, scene, x, analysis in models(name):
        graph = analysis.graph
        if graph.reads_values:
            continue  # other inputs, other calls
        half, compared = copy_model(scene), 0
        with torch.no_grad():
            for parameter in half.parameters():
                parameter[: len(parameter) // 2] = 0
        for one, other in zip(observed(half, x, graph), observed(half, x.flip(-1) + 0.3, graph), strict=True):
            for value, mask, again in zip(one[1], one[2], other[1], strict=True):
                if overwritten(one[0].call, value is one[1][0]):
                    continue
                assert torch.equal(value[~mask].nan_to_num(), again[~mask].nan_to_num()), (
                    f"{example.form}: {one[0].call}"
                )
                compared += int((~mask).sum())
        assert compared > 0, f"{example.form}: weights, at the least, are constant"


def overwritten(call: Call, first: bool) -> bool:
    """Whether the tensor that a call writes into held nothing yet: memory that was only taken."""
    return first and call.facts.copies
