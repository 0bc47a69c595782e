"""BatchNorms brought to the dense network's mean and deviation: exact values in float64, and nothing else touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.masks import MaskCase, apply_masks_, find_slots, remove_masks_
from sapwood.models import Plan, copy_model
from sapwood.pipeline import recover, recover_masked_
from sapwood.recovery import repair_batchnorm
from sapwood.types import ModelBundle, ModelSource, TaskSpec


class Net(nn.Module):
    """Two BatchNorms in a row of layers, and one behind a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.inside, self.inside_norm = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.back, self.back_norm = nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6, affine=False)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        inside = F.relu(self.inside_norm(self.inside(x)), inplace=True)
        return self.head((x + self.back_norm(self.back(inside))).mean(dim=(2, 3)))


def _net() -> Net:
    torch.manual_seed(3)
    model = Net().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.normal_(module.bias)
    return model


def _pictures(count: int = 32) -> Tensor:
    return torch.randn(count, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _outputs(model: nn.Module, inputs: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The mean and deviation of what each BatchNorm gives."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def seen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            del module, inputs
            dims = (0, 2, 3)
            found[name] = (output.mean(dim=dims).clone(), output.std(dim=dims, correction=0).clone())

        return seen

    norms = {name: one for name, one in model.named_modules() if isinstance(one, nn.BatchNorm2d)}
    handles = [norm.register_forward_hook(hook(name)) for name, norm in norms.items()]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    return found


def _masked(dense: nn.Module, sparsity: float = 0.5) -> nn.Module:
    model = copy_model(dense)
    apply_masks_(model, MaskCase("scored", sparsity, layers=("conv",)))
    remove_masks_(model)
    return model


def test_each_channel_of_a_masked_network_has_the_dense_ones_mean_and_deviation() -> None:
    dense, inputs = _net(), _pictures()
    masked = _masked(dense)
    before = {name: value.clone() for name, value in masked.state_dict().items()}
    found = repair_batchnorm(dense, masked, Plan(), [inputs])
    assert found.norms == ("stem_norm", "inside_norm", "back_norm")
    wanted, got = _outputs(dense, inputs), _outputs(found.model, inputs)
    for name in found.norms:
        torch.testing.assert_close(got[name], wanted[name], rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in masked.state_dict().items())
    for name, value in found.model.state_dict().items():
        if "norm" not in name:
            assert torch.equal(value, before[name])
    norm = found.model.get_submodule("inside_norm")
    assert torch.equal(norm.weight.sign(), dense.inside_norm.weight.sign())  # type: ignore[union-attr, operator]


def test_channels_of_a_compact_network_are_those_that_the_plan_keeps() -> None:
    dense, inputs = _net(), _pictures()
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.4))
    found = repair_batchnorm(dense, pruned.model, pruned.plan, [inputs])
    wanted, got = _outputs(dense, inputs), _outputs(found.model, inputs)
    cuts = {cut.tensor: list(cut.kept) for cut in pruned.plan.cuts if cut.dim == 0}
    narrower = 0
    for name in found.norms:
        kept = cuts.get(f"{name}.running_mean", slice(None))
        narrower += len(got[name][0]) < len(wanted[name][0])
        for one, other in zip(got[name], wanted[name], strict=True):
            torch.testing.assert_close(one, other[kept], rtol=1e-9, atol=1e-9)
    assert narrower > 0


def test_of_several_batches_the_moments_are_of_all_values() -> None:
    """One BatchNorm alone reads what is the same in every batch's run, so that its values can be computed at once."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double().eval()
    masked = _masked(dense, 0.5)
    inputs = _pictures(7)
    batches = [inputs[:4], inputs[4:] + 2.0]
    found = repair_batchnorm(dense, masked, Plan(), batches)
    everything = torch.cat(batches)
    torch.testing.assert_close(
        _outputs(found.model, everything)["1"], _outputs(dense, everything)["1"], rtol=1e-9, atol=1e-9
    )


def test_a_channel_that_is_constant_gives_the_dense_mean() -> None:
    dense, inputs = _net(), _pictures()
    masked = copy_model(dense)
    with torch.no_grad():
        masked.get_parameter("inside.weight")[2] = 0.0
    found = repair_batchnorm(dense, masked, Plan(), [inputs])
    mean, deviation = _outputs(found.model, inputs)["inside_norm"]
    wanted = _outputs(dense, inputs)["inside_norm"]
    assert deviation[2] == 0.0
    torch.testing.assert_close(mean, wanted[0], rtol=1e-9, atol=1e-9)
    others = [0, 1, 3, 4, 5, 6, 7]
    torch.testing.assert_close(deviation[others], wanted[1][others], rtol=1e-9, atol=1e-9)
    assert all(bool(value.isfinite().all()) for value in found.model.state_dict().values())


def test_gains_that_two_norms_share_stay_and_their_statistics_move() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).double().eval()
    dense[3].weight, dense[3].bias = dense[1].weight, dense[1].bias
    inputs = _pictures()
    masked = _masked(dense, 0.3)
    found = repair_batchnorm(dense, masked, Plan(), [inputs])
    wanted, got = _outputs(dense, inputs), _outputs(found.model, inputs)
    for name in ("1", "3"):
        torch.testing.assert_close(got[name], wanted[name], rtol=1e-9, atol=1e-9)
    assert torch.equal(found.model.get_parameter("1.weight"), dense[1].weight)
    assert found.model.get_parameter("3.weight") is found.model.get_parameter("1.weight")


def test_a_norm_that_runs_twice_is_of_both_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)) + self.norm(self.conv(x + 1.0))

    torch.manual_seed(0)
    dense = Twice().double().eval()
    inputs = _pictures()
    found = repair_batchnorm(dense, _masked(dense, 0.4), Plan(), [inputs])

    def moments(model: nn.Module) -> tuple[Tensor, Tensor]:
        norm, conv = model.get_submodule("norm"), model.get_submodule("conv")
        with torch.no_grad():
            values = norm(torch.cat([conv(inputs), conv(inputs + 1.0)]))
        return values.mean(dim=(0, 2, 3)), values.std(dim=(0, 2, 3), correction=0)

    torch.testing.assert_close(moments(found.model), moments(dense), rtol=1e-9, atol=1e-9)


def test_the_pipeline_repairs_masked_and_compact_networks() -> None:
    dense, inputs = _net(), _pictures()
    bundle = ModelBundle(dense, inputs[:1], TaskSpec("classification", (8, 8)), ModelSource("net", "module"))
    wanted = _outputs(dense, inputs)
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.4))
    recovered = recover(bundle, pruned, [inputs], "batchnorm")
    assert recovered.recovery is not None
    assert recovered.recovery.norms == ("stem_norm", "inside_norm", "back_norm")
    masked = copy_model(dense)
    apply_masks_(masked, MaskCase("scored", 0.5, layers=("conv",)))
    masks = {slot.name: slot.mask.clone() for slot in find_slots(masked) if slot.mask is not None}
    record = recover_masked_(
        ModelBundle(masked, bundle.example_inputs, bundle.task, bundle.source), dense, [inputs], "batchnorm"
    )
    assert record is not None
    assert record.method == "batchnorm"
    assert all(torch.equal(slot.mask, masks[slot.name]) for slot in find_slots(masked) if slot.mask is not None)
    for name, moments in _outputs(masked, inputs).items():
        torch.testing.assert_close(moments, wanted[name], rtol=1e-9, atol=1e-9)


class Optional(nn.Module):
    """Runs its BatchNorm a number of times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.norm, self.times = nn.BatchNorm1d(2), times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.norm(x)
        return x


@pytest.mark.parametrize(
    ("dense", "pruned", "batches", "error", "message"),
    [
        (Optional(1), Optional(1), [], ConfigError, "no batch to repair BatchNorms on"),
        (
            nn.Linear(2, 2),
            nn.Linear(2, 2),
            [torch.randn(4, 2)],
            ConfigError,
            "has no BatchNorm with running statistics that ran; there is none to repair",
        ),
        (
            Optional(1),
            Optional(2),
            [torch.randn(4, 2)],
            CheckFailedError,
            "BatchNorm norm runs 2 times in the pruned network and 1 times in the dense one",
        ),
        (
            nn.Sequential(nn.BatchNorm1d(2)),
            nn.Sequential(nn.BatchNorm1d(1)),
            [torch.randn(4, 1)],
            CheckFailedError,
            "0.weight has 1 rows and the plan keeps 2",
        ),
    ],
)
def test_what_cannot_be_repaired_is_refused(
    dense: nn.Module, pruned: nn.Module, batches: list[Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        repair_batchnorm(dense, pruned, Plan(), batches)
