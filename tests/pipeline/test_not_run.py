"""Modules that the example inputs do not run are named: they stay as they were, and code that runs them may fail."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sapwood
from support.probes import Net, conv, head, picture


def domains(m: nn.Module, x: Tensor, domain: int = 1) -> Tensor:
    """A norm for each data set, as those have that train on several."""
    result: Tensor = m.head(m.norms[domain](m.a(x)).relu())
    return result


NORMS = {"a": conv(3, 16), "head": head(16)}


@pytest.mark.parametrize(("norms", "named"), [(3, ["norms.0", "norms.2"]), (6, ["norms.0", "norms.2", "norms.3"])])
def test_what_is_not_run_is_named_with_a_note(norms: int, named: list[str]) -> None:
    parts = nn.ModuleList([nn.BatchNorm2d(16) for _ in range(norms)])
    model = Net(domains, **NORMS, norms=parts).eval()
    pruned = sapwood.prune(model, picture(), target=sapwood.Target(sparsity=0.5))
    assert pruned.model.a.out_channels == 8
    reason = "is read by no call when the model runs on the example inputs"
    asleep = {one.tensor for one in pruned.unpruned if one.reason == reason}
    run = {"norms.1.weight", "norms.1.bias"}
    assert asleep == {name for name, _ in model.named_parameters() if name.startswith("norms")} - run
    more = " and 2 more" if norms == 6 else ""
    assert pruned.notes == (
        f"{', '.join(named)}{more}: not run on the example inputs, and left as it was; "
        "code that runs it may meet fewer channels now",
    )


def test_nothing_is_said_where_all_is_run_or_nothing_went() -> None:
    half = sapwood.Target(sparsity=0.5)
    ran = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), head(16)).eval()
    assert sapwood.prune(ran, picture(), target=half).notes == ()
    model = Net(domains, **NORMS, norms=nn.ModuleList([nn.BatchNorm2d(16) for _ in range(3)])).eval()
    whole = sapwood.prune(model, picture(), target=half, ignore=["a"])
    assert whole.plan.cuts == ()
    assert whole.notes == ()


def test_shared_parameters_count_as_read_by_either_name() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        result: Tensor = m.head(m.b(x))
        return result

    shared = conv(3, 16)
    model = Net(run, a=shared, b=shared, head=head(16)).eval()
    pruned = sapwood.prune(model, picture(), target=sapwood.Target(sparsity=0.5))
    assert not any("read by no call" in one.reason for one in pruned.unpruned)
    assert torch.equal(pruned.model.a.weight, pruned.model.b.weight)
