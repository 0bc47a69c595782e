"""``prune`` to a share of the work or of the parameters, with every criterion and allocator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.allocation import ALLOCATORS, layer_work, params_table
from sapwood.criteria import CRITERIA, make_criterion
from sapwood.errors import BudgetError, ConfigError
from sapwood.graph import build_groups, trace
from sapwood.measure import count_macs, count_params
from sapwood.pipeline import Calibration, Pruned, Target, prune
from support.probes import PROBES, Net, conv, picture

ALL = sorted(CRITERIA)
WITHOUT_DATA = [name for name in ALL if not make_criterion(name).needs]
WITH_DATA = [name for name in ALL if make_criterion(name).needs]
NETS = ["chain", "residual", "depthwise", "flatten_to_linear", "c2f"]


def share(pruned: Pruned, model: nn.Module, inputs: Tensor, kind: str) -> float:
    """What is left of a model, as really counted."""
    if kind == "macs":
        return count_macs(pruned.model, inputs).total / count_macs(model, inputs).total
    return count_params(pruned.model) / count_params(model)


def fits_more(pruned: Pruned, model: nn.Module, inputs: Tensor, kind: str, fraction: float) -> list[str]:
    """Groups that could be one channel wider within the budget."""
    analysis = build_groups(trace(model, inputs))
    table = (
        layer_work(analysis).table("macs", "MACs") if kind == "macs" else params_table(analysis, count_params(model))
    )
    sizes = [group.num_channels for group in analysis.groups]
    assert pruned.allocation is not None
    kept = pruned.allocation.kept
    found = []
    for number, (width, size) in enumerate(zip(kept, sizes, strict=True)):
        wider = torch.tensor(kept).numpy().copy()
        wider[number] += 1
        if width < size and table.total(wider) <= fraction * table.total(torch.tensor(sizes).numpy()):
            found.append(analysis.groups[number].name)
    return found


@pytest.mark.parametrize("fraction", [0.75, 0.4])
@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("name", NETS)
def test_the_budget_is_kept_and_used(name: str, kind: str, fraction: float) -> None:
    model, inputs = PROBES[name]()
    model.eval()
    pruned = prune(model, inputs, target=Target(**{kind: fraction}))
    assert pruned.verification.passed
    found = share(pruned, model, inputs, kind)
    assert found <= fraction
    if name == "c2f":  # two of its groups go together
        assert found > 0.9 * fraction
    else:
        assert fits_more(pruned, model, inputs, kind, fraction) == []


def test_a_share_of_one_keeps_everything() -> None:
    model, inputs = PROBES["chain"]()
    assert prune(model, inputs, target=Target(macs=1.0)).plan.cuts == ()


@pytest.mark.parametrize("allocator", sorted(ALLOCATORS))
@pytest.mark.parametrize("kind", ["macs", "params"])
def test_every_allocator_keeps_the_budget(allocator: str, kind: str) -> None:
    model, inputs = PROBES["residual"]()
    model.eval()
    pruned = prune(model, inputs, target=Target(**{kind: 0.5}), allocator=allocator)
    assert pruned.verification.passed
    assert share(pruned, model, inputs, kind) <= 0.5


def test_a_sparsity_over_all_groups_at_once() -> None:
    model, inputs = PROBES["chain"]()
    pruned = prune(model, inputs, target=Target(sparsity=0.5), allocator="global")
    assert pruned.allocation is not None
    assert sum(pruned.allocation.kept) == 20  # of 16 + 24


def classifier() -> nn.Module:
    layers = conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 6), nn.BatchNorm2d(6), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()


def calibration() -> Calibration:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(12, 3, 8, 8, generator=generator)
    labels = torch.randint(3, (12,), generator=generator)
    batches = list(zip(pictures.split(6), labels.split(6), strict=True))
    return Calibration(batches, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))


@pytest.mark.parametrize("criterion", WITHOUT_DATA)
def test_criteria_that_need_no_data(criterion: str) -> None:
    model, inputs = classifier(), picture()
    pruned = prune(model, inputs, target=Target(macs=0.5), criterion=criterion)
    assert pruned.verification.passed
    assert share(pruned, model, inputs, "macs") <= 0.5
    assert pruned.plan == prune(model, inputs, target=Target(macs=0.5), criterion=criterion).plan


@pytest.mark.parametrize("criterion", WITH_DATA)
def test_criteria_that_look_at_data(criterion: str) -> None:
    model, inputs = classifier(), picture()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first, again = (
        prune(model, inputs, target=Target(macs=0.5), criterion=criterion, calibration=calibration()) for _ in range(2)
    )
    assert first.verification.passed
    assert share(first, model, inputs, "macs") <= 0.5
    assert first.plan == again.plan
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("criterion", WITH_DATA)
def test_data_that_is_missing_is_asked_for(criterion: str) -> None:
    message = rf"^criterion {criterion!r} needs .*; expected data to collect that on \(--data, or calibration=\)$"
    with pytest.raises(ConfigError, match=message):
        prune(classifier(), picture(), target=Target(macs=0.5), criterion=criterion)


@pytest.mark.parametrize(("option", "kind"), [("criterion", "criterion"), ("allocator", "allocator")])
def test_unknown_names(option: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown {kind} 'best'; expected one of: "):
        prune(classifier(), picture(), target=Target(macs=0.5), **{option: "best"})  # type: ignore[arg-type]


def test_a_budget_that_nothing_fits() -> None:
    """3 -> 16 -> 24 -> 5 channels on 2 x 64 places; of one channel each: 27 + 9 + 5 = 41 products of 4008 stay."""
    model, inputs = PROBES["chain"]()
    message = (
        r"^budget 513\.024 MACs \(0\.001 of the dense cost\): no allowed widths cost so little; "
        r"expected 5248 to 513024 MACs \(0\.01023 to 1 of the dense cost\)$"
    )
    with pytest.raises(BudgetError, match=message):
        prune(model, inputs, target=Target(macs=0.001))


def test_a_budget_that_nothing_fits_says_what_is_in_the_way() -> None:
    model = Net(lambda m, x: m.b(m.a(x).view(-1, 80)), a=nn.Linear(6, 16), b=nn.Linear(80, 3))
    message = (
        r"expected 720 to 720 MACs \(1 to 1 of the dense cost\); most in the way: \w\.weight\[\d\] and 2 more stay "
        r"whole: a shape in the code that no attribute explains, in aten\.view .* at test_prune_budgets\.py"
    )
    with pytest.raises(BudgetError, match=message):
        prune(model, torch.randn(1, 5, 6), target=Target(macs=0.5))
