"""BatchNorm statistics measured anew: those of the pictures, and nothing else touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.recovery import reestimate_batchnorm


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4))
    for module in (model[1], model[4]):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def test_statistics_are_those_of_all_batches() -> None:
    model = _network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [torch.randn(16, 3, 8, 8) + shift for shift in (0.0, 1.0)]
    found = reestimate_batchnorm(model, batches)
    assert found.norms == ("1", "4")
    with torch.no_grad():
        values = [model[0](batch) for batch in batches]
    mean = torch.stack([one.mean(dim=(0, 2, 3)) for one in values]).mean(dim=0)
    var = torch.stack([one.var(dim=(0, 2, 3)) for one in values]).mean(dim=0)
    torch.testing.assert_close(found.model[1].running_mean, mean)  # type: ignore[index]
    torch.testing.assert_close(found.model[1].running_var, var)  # type: ignore[index]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, value in found.model.state_dict().items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(value, before[name])
    assert not found.model.training
    assert found.model[1].momentum == model[1].momentum  # type: ignore[index]


def test_norm_that_does_not_run_keeps_its_statistics() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
            self.spare.running_mean.fill_(3.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    found = reestimate_batchnorm(Spare(), [torch.randn(8, 2)])
    assert found.norms == ("used",)
    assert found.model.spare.running_mean.tolist() == [3.0, 3.0]  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("model", "batches", "message"),
    [
        (_network(), [], "no batch to measure"),
        (nn.Sequential(nn.Linear(2, 2)), [torch.randn(4, 2)], "has no BatchNorm with running statistics that ran"),
    ],
)
def test_nothing_to_measure_is_refused(model: nn.Module, batches: list[torch.Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reestimate_batchnorm(model, batches)
