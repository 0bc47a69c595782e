"""Single weights that go with compensation: against least squares and every subset, and through a whole network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sapwood.errors import ConfigError
from sapwood.masks import MaskCase, NOfM, Pattern, Unstructured, apply_masks_, find_slots, parse_pattern, remove_masks_
from sapwood.models import Plan, copy_model
from sapwood.pipeline import recover_masked_
from sapwood.recovery import DistillConfig, Rule, reconstruct
from sapwood.recovery.reconstruction.masked import choose, solve_masked
from sapwood.types import ModelBundle, ModelSource, TaskSpec


def _system(unknowns: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A Gram matrix of correlated inputs, and the weights that solve it."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(unknowns, unknowns, generator=generator, dtype=torch.float64)
    rows = torch.randn(4 * unknowns, unknowns, generator=generator, dtype=torch.float64) @ mix
    weight = torch.randn(1, unknowns, outputs, generator=generator, dtype=torch.float64)
    gram = (rows.T @ rows / len(rows))[None]
    return gram, gram @ weight, weight


def _loss(gram: Tensor, right: Tensor, weight: Tensor) -> float:
    return float((0.5 * weight * (gram @ weight) - weight * right).sum())


def test_solution_on_a_mask_is_that_of_each_output_by_itself() -> None:
    gram, right, weight = _system(12, 5)
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    found = solve_masked(gram, right, weight, mask)
    for output in range(5):
        own = mask[0, :, output]
        exact = torch.linalg.solve(gram[0][own][:, own], right[0, own, output])
        torch.testing.assert_close(found[0, own, output], exact, rtol=1e-6, atol=1e-8)
    assert (found[~mask] == 0).all()


def test_output_without_any_weight_left_is_zero() -> None:
    gram, right, weight = _system(6, 2)
    mask = torch.ones(weight.shape, dtype=torch.bool)
    mask[:, :, 1] = False
    found = solve_masked(gram, right, weight, mask)
    torch.testing.assert_close(found[..., 0], weight[..., 0], rtol=1e-6, atol=1e-8)
    assert (found[..., 1] == 0).all()


def test_chosen_weights_are_nearly_the_best_subset_and_better_than_the_largest() -> None:
    lost_by_choice, lost_by_magnitude = [], []
    for seed in range(20):
        gram, right, weight = _system(10, 1, seed)
        whole = _loss(gram, right, weight)
        mask = choose(gram, right, weight, pattern=Unstructured(), num_kept=5, shape=(1, 10))
        assert int(mask.sum()) == 5

        def lost(kept: Tensor, gram: Tensor = gram, right: Tensor = right, whole: float = whole) -> float:
            return _loss(gram, right, solve_masked(gram, right, torch.zeros_like(right), kept)) - whole

        subsets = []
        for places in itertools.combinations(range(10), 5):
            subset = torch.zeros_like(mask)
            subset[0, list(places), 0] = True
            subsets.append(lost(subset))
        largest = torch.zeros_like(mask)
        largest[0, weight[0, :, 0].abs().topk(5).indices, 0] = True
        lost_by_choice.append(lost(mask) / min(subsets))
        lost_by_magnitude.append(lost(largest) / min(subsets))
    choice, magnitude = (sum(map(torch.tensor, some)) / 20 for some in (lost_by_choice, lost_by_magnitude))
    assert 1.0 - 1e-6 <= choice < 1.5 < magnitude


class Net(nn.Module):
    """Convolutions with and without BatchNorm, groups, a transposed convolution, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=2, bias=False)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.up(torch.relu(self.grouped(x))))
        return self.head(x.mean(dim=(2, 3)))


def _net() -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(0)
    model = Net()
    nn.init.uniform_(model.norm.weight, 0.5, 1.5)
    model.norm.running_mean.normal_(std=0.2)
    return model.eval(), [torch.randn(32, 3, 8, 8) for _ in range(3)]


def _masked(model: nn.Module, blocks: str = "unstructured", sparsity: float | None = 0.7) -> nn.Module:
    masked = copy_model(model)
    apply_masks_(masked, MaskCase("scored", sparsity, layers=("conv", "linear"), blocks=blocks))
    return masked


def _rules(masked: nn.Module, pattern: Pattern | None) -> dict[str, Rule]:
    return {slot.name: Rule(slot.mask != 0, pattern) for slot in find_slots(masked) if slot.mask is not None}


def _apart(one: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        return float((one(inputs) - other(inputs)).square().mean())


@pytest.mark.parametrize("pattern", [None, Unstructured()], ids=["given masks", "chosen anew"])
def test_weights_that_stay_take_over(pattern: Pattern | None) -> None:
    model, batches = _net()
    masked = _masked(model)
    rules = _rules(masked, pattern)
    found = reconstruct(model, model, Plan(), batches, rules=rules)
    assert set(found.left_alone) == {"up.weight"}, "a transposed convolution cannot be solved"
    parameters = dict(found.model.named_parameters())
    assert set(found.masks) == set(rules)
    for name, mask in found.masks.items():
        assert (parameters[name][~mask] == 0).all(), "masked also where it cannot be solved"
        assert int(mask.sum()) == int(rules[name].mask.sum())
        if pattern is None:
            assert torch.equal(mask, rules[name].mask)
    seen, unseen = batches[0], torch.randn(64, 3, 8, 8)
    for inputs in (seen, unseen):
        assert _apart(found.model, model, inputs) < 0.7 * _apart(masked, model, inputs)


def test_pattern_holds_in_what_is_chosen() -> None:
    model, batches = _net()
    masked = copy_model(model)
    apply_masks_(masked, MaskCase("scored", layers=("linear",), pattern="head*", blocks="2:4"))
    found = reconstruct(model, model, Plan(), batches, rules=_rules(masked, NOfM(2, 4)))
    windows = found.masks["head.weight"].reshape(-1, 4)
    assert (windows.sum(dim=1) == 2).all()
    assert torch.equal(dict(found.model.named_parameters())["head.weight"].reshape(-1, 4) != 0, windows)


def test_rule_that_does_not_fit_is_refused() -> None:
    model, batches = _net()
    with pytest.raises(ConfigError, match="'nothing' is no parameter"):
        reconstruct(model, model, Plan(), batches, rules={"nothing": Rule(torch.ones(1, dtype=torch.bool))})
    with pytest.raises(ConfigError, match=r"expected torch.bool, \(4, 8\)"):
        reconstruct(model, model, Plan(), batches, rules={"head.weight": Rule(torch.ones(4, 8))})


@pytest.mark.parametrize("method", ["reconstruct", "distill"])
@pytest.mark.parametrize("blocks", ["unstructured", "2x1"])
def test_masked_model_keeps_its_masks_alive(method: str, blocks: str) -> None:
    model, batches = _net()
    masked = _masked(model, blocks)
    before = {slot.name: int(slot.mask.sum()) for slot in find_slots(masked) if slot.mask is not None}
    source = ModelSource("net", "module")
    bundle = ModelBundle(masked, batches[0][:1], TaskSpec("classification", (8, 8)), source)
    apart = _apart(masked, model, batches[0])
    record = recover_masked_(
        bundle,
        model,
        batches,
        method,  # type: ignore[arg-type]
        pattern=parse_pattern(blocks),
        config=DistillConfig(steps=4, batch_size=8),
    )
    assert record is not None
    assert record.method == method
    assert record.num_pictures == 96
    slots = [slot for slot in find_slots(masked) if slot.mask is not None]
    assert {slot.name: int(slot.mask.sum()) for slot in slots} == before  # type: ignore[union-attr]
    assert _apart(masked, model, batches[0]) < apart
    plain = copy_model(masked)
    remove_masks_(plain)
    assert _apart(plain, masked, batches[0]) == 0.0
    weights = dict(plain.named_parameters())
    assert all((weights[slot.name][slot.mask == 0] == 0).all() for slot in slots)


def test_shared_weights_have_one_mask_that_is_chosen_once() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    second.weight, second.bias = first.weight, first.bias
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    pictures = torch.randn(64, 4, 6, 6)
    masked = copy_model(model)
    apply_masks_(masked, MaskCase("scored", 0.5, layers=("conv",)))
    bundle = ModelBundle(masked, pictures[:1], TaskSpec("classification", (6, 6)), ModelSource("net", "module"))
    apart = _apart(masked, model, pictures)
    recover_masked_(bundle, model, [pictures], "reconstruct", pattern=Unstructured())
    assert torch.equal(masked[0].weight_mask, masked[2].weight_mask)  # type: ignore[index]
    assert masked[0].weight_orig is masked[2].weight_orig  # type: ignore[index]
    shared = masked[0].weight_orig  # type: ignore[index]
    assert (shared[masked[0].weight_mask == 0] == 0).all()  # type: ignore[index]
    assert int((shared != 0).sum()) == 8, "half of 16 stay"
    assert _apart(masked, model, pictures) < apart


def test_model_without_masks_is_refused() -> None:
    model, batches = _net()
    bundle = ModelBundle(model, batches[0][:1], TaskSpec("classification", (8, 8)), ModelSource("net", "module"))
    with pytest.raises(ConfigError, match="no live mask"):
        recover_masked_(bundle, model, batches, "reconstruct")
    assert recover_masked_(replace(bundle, model=_masked(model)), model, batches, "none") is None
