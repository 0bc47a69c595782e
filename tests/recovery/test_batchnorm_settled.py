"""BatchNorms settled on what they read: the same network in evaluation mode, and in training mode the same again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.models import Plan
from sapwood.pipeline.recovering import RecoverMethod, recover
from sapwood.recovery import DistillConfig, Rule, settle_batchnorm
from sapwood.types import ModelBundle, ModelSource, TaskSpec


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    )  # fmt: skip
    with torch.no_grad():
        for norm in (made[1], made[4]):
            for tensor in (norm.weight, norm.running_var):
                tensor.uniform_(0.5, 2.0)
            for tensor in (norm.bias, norm.running_mean):
                tensor.uniform_(-0.5, 0.5)
    return made.eval()


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_computes_what_it_did_and_in_training_the_same(pictures: Tensor) -> None:
    model = network().double()
    wanted = model(pictures)
    assert (model.train()(pictures) - wanted).abs().max() > 0.01
    model = network().double()
    found = settle_batchnorm(model, pictures.split(8))
    assert found.norms == ("1", "4")
    assert torch.allclose(found.model(pictures), wanted, rtol=0, atol=1e-12)
    assert torch.allclose(found.model.train()(pictures), wanted, rtol=0, atol=1e-9)
    assert torch.equal(model(pictures), wanted), "what was given is as it was"


def test_what_is_masked_or_shared_stays(pictures: Tensor) -> None:
    model = network().double()
    assert settle_batchnorm(model, [pictures], keep=["1.bias"]).norms == ("4",)
    model[4] = nn.BatchNorm2d(8, affine=False).double().eval()
    assert settle_batchnorm(model, [pictures]).norms == ("1",)


@pytest.mark.parametrize("method", ["reconstruct", "distill"])
def test_a_recovered_network_trains_on_from_where_it_is(method: RecoverMethod, pictures: Tensor) -> None:
    dense = network()
    inputs = pictures.float()
    pruned = sapwood.prune(dense, inputs[:1], target=sapwood.Target(sparsity=0.5))
    task = TaskSpec("classification", (8, 8), tuple("abcd"))
    bundle = ModelBundle(dense, inputs[:1], task, ModelSource("a network", "session"))
    recovered = recover(bundle, pruned, inputs.split(8), method, config=DistillConfig(steps=4, batch_size=8)).model
    with torch.no_grad():
        wanted = recovered(inputs)
        assert torch.allclose(recovered.train()(inputs), wanted, rtol=0, atol=1e-3)


def test_the_functions_settle_as_the_pipeline_does(pictures: Tensor) -> None:
    dense, batches = network(), list(pictures.float().split(8))
    pruned = sapwood.prune(dense, batches[0], target=sapwood.Target(sparsity=0.5))
    task = TaskSpec("classification", (8, 8), tuple("abcd"))
    bundle = ModelBundle(dense, batches[0], task, ModelSource("a network", "session"))
    config = DistillConfig(steps=4, batch_size=8)
    solved = sapwood.reconstruct(dense, pruned.model, pruned.plan, batches)
    raw = sapwood.reconstruct(dense, pruned.model, pruned.plan, batches, settle=False)
    refined = sapwood.distill(dense, raw.model, pruned.plan, batches, task, config=config)
    for found, method in ((solved, "reconstruct"), (refined, "distill")):
        with torch.no_grad():
            joined = torch.cat(batches)
            wanted = found.model(joined)
            assert torch.allclose(found.model.train()(joined), wanted, rtol=0, atol=1e-3), method
    with torch.no_grad():
        assert (raw.model.train()(joined) - raw.model.eval()(joined)).abs().max() > 0.01, "that is what is settled"
        recovered = recover(bundle, pruned, batches, "reconstruct").model
        looked = sapwood.reconstruct(dense, pruned.model, pruned.plan, batches, views=4).model
        assert torch.equal(recovered.eval()(joined), looked.eval()(joined))


def test_what_a_rule_holds_is_not_settled(pictures: Tensor) -> None:
    dense, batches = network(), list(pictures.float().split(8))
    gain = dense[1].weight
    rules = {"1.weight": Rule(torch.arange(len(gain)) > 2), "3.weight": Rule(torch.rand_like(dense[3].weight) > 0.5)}
    found = sapwood.reconstruct(dense, dense, Plan(), batches, rules=rules)
    assert (found.model[1].weight[:3] == 0).all()
    assert torch.equal(found.model[1].running_mean, dense[1].running_mean)
    assert not torch.equal(found.model[4].running_mean, dense[4].running_mean)
