"""Masks that grow: exact counts along the cubic schedule, zeros that stay zero, runs that can be killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood.config import GradualConfig, SparseConfig, TrainConfig, parse_config
from sapwood.errors import ConfigError, TrainingError
from sapwood.pipeline import training_plugins
from sapwood.training import train
from sapwood.training.gradual import Gradual
from sapwood.types import DetectionDataset, ModelBundle


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 3, bias=False))


def zeros(model: nn.Module) -> list[int]:
    return [int((one.weight == 0).sum()) for one in model if isinstance(one, nn.Conv2d)]


def test_zeros_follow_the_schedule() -> None:
    model = network()
    gradual = Gradual(model, GradualConfig(sparsity=0.8, start=0.2, end=0.7, every=1))
    sizes = (144, 288)
    for step in range(1, 11):
        with torch.no_grad():
            for parameter in model.parameters():  # what an optimizer does
                parameter.add_(0.1 * torch.randn_like(parameter))
        gradual.after_step_(model, step=step, total_steps=10, lr=0.1)
        progress = min(1.0, max(0.0, (step - 2) / 5))
        wanted = 0.8 * (1.0 - (1.0 - progress) ** 3)
        assert zeros(model) == [pytest.approx(wanted * size, abs=1.0) for size in sizes]
        assert gradual.is_done(step=step, total_steps=10) == (step >= 7)
    state = {name: torch.ones_like(value) for name, value in model.state_dict().items()}
    gradual.settle_(state)
    for name, value in model.state_dict().items():
        assert torch.equal(state[name] == 0, value == 0)


def test_the_least_go_and_stay_gone_at_the_end() -> None:
    model = network()
    gradual = Gradual(model, GradualConfig(sparsity=0.5, end=0.5, every=1, budget="global", ignore=("0.weight",)))
    gradual.after_step_(model, step=5, total_steps=10, lr=0.1)
    weight = model[2].weight.detach()
    assert zeros(model) == [0, 144]
    original = network()[2].weight.detach()
    gone = weight == 0
    assert float(original[gone].abs().max()) <= float(original[~gone].abs().min())
    with torch.no_grad():
        weight[gone] = 100.0
    gradual.after_step_(model, step=6, total_steps=10, lr=0.1)
    assert torch.equal(model[2].weight == 0, gone)


def test_windows_lose_one_after_the_other() -> None:
    model = network()
    gradual = Gradual(model, GradualConfig(blocks="2:4", pattern="2.*", end=1.0, every=1))
    found = []
    for step in range(1, 11):
        gradual.after_step_(model, step=step, total_steps=10, lr=0.1)
        windows = (model[2].weight.reshape(-1, 4) == 0).sum(1)
        assert int(windows.min()) == int(windows.max())
        found.append(int(windows.max()))
    assert found == sorted(found)
    assert set(found) == {0, 1, 2} or set(found) == {1, 2}
    assert found[-1] == 2
    assert zeros(model)[0] == 0


def test_silenced_channels_can_be_removed() -> None:
    model, inputs = network(), torch.randn(1, 2, 8, 8)
    bundle = _bundle(model, inputs)
    config = TrainConfig(gradual=GradualConfig(sparsity=0.5, blocks="channels", end=0.5, every=1))
    (gradual,) = training_plugins(config)(bundle)
    gradual.after_step_(model, step=10, total_steps=10, lr=0.1)
    compact = sapwood.compact(model.eval(), inputs)
    assert compact.model[0].weight.shape[0] == 4
    torch.testing.assert_close(compact.model(inputs), model(inputs))


def _bundle(model: nn.Module, inputs: torch.Tensor) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(model=model, example_inputs=inputs)


@pytest.mark.parametrize(("options", "message"), [
    ({"blocks": "3y"}, "blocks"),
    ({"ignore": ("1.weight",)}, "ignore '1.weight'; expected the name of a parameter"),
    ({"blocks": "channels"}, "channels need to be known; expected an analysis"),
])  # fmt: skip
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Gradual(network(), GradualConfig(**options))


def test_what_cannot_be_masked_is_named() -> None:
    with pytest.raises(TrainingError, match=r"gradual: 0.weight: .*; leave it out with `ignore`"):
        Gradual(nn.Sequential(nn.Conv2d(3, 3, 1)), GradualConfig(blocks="2:4"))
    with pytest.raises(TrainingError, match="nothing is selected"):
        Gradual(network(), GradualConfig(ignore=("0.weight", "2.weight")))
    with pytest.raises(ConfigError, match=r"start 0.7 and end 0.6; expected the start before the end"):
        parse_config(TrainConfig, {"gradual": {"start": 0.7}}, where="test")


@pytest.mark.parametrize("change", [
    {"gradual": GradualConfig(sparsity=0.7, every=1, end=0.8)},
    {"sparse": SparseConfig(method="growing", strength=0.1, options={"every": 1})},
    {"sparse": SparseConfig(method="group_lasso"), "gradual": GradualConfig(sparsity=0.5, blocks="channels", every=2)},
], ids=["gradual", "growing", "both"])  # fmt: skip
def test_a_killed_run_resumes_to_the_same_bits(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path, change: dict[str, Any]
) -> None:
    config = short.model_copy(update=change)
    plugins = training_plugins(config)
    whole = train(detector, digits, config=config, run_dir=tmp_path / "whole", val_dataset=digits, plugins=plugins)

    def kill(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            detector,
            digits,
            config=config,
            run_dir=tmp_path / "cut",
            plugins=plugins,
            val_dataset=digits,
            progress=kill,
        )
    again = config.model_copy(update={"resume": True})
    resumed = train(detector, digits, config=again, run_dir=tmp_path / "cut", plugins=plugins, val_dataset=digits)
    for name in ("best", "last"):
        assert resumed.files[name].read_bytes() == whole.files[name].read_bytes()
    masked = [value for name, value in whole.bundle.model.state_dict().items() if name.endswith("conv.weight")]
    if "gradual" in change:
        fraction = sum(int((value == 0).sum()) for value in masked) / sum(value.numel() for value in masked)
        assert fraction >= 0.45


def test_a_teacher_pulls_outputs_to_its_own(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    alone = short.model_copy(update={"distill_weight": 0.0, "epochs": 8})
    led = short.model_copy(update={"distill_weight": 10.0, "epochs": 8})
    found = [
        train(detector, digits, config=config, run_dir=tmp_path / str(number), teacher=detector)
        for number, config in enumerate((alone, led))
    ]
    last = [result.history[-1]["divergence"] for result in found]
    assert last[1] < last[0]


def test_a_teacher_for_something_else_is_named(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    from dataclasses import replace

    other = replace(detector, task=replace(detector.task, input_size=(96, 96)))
    with pytest.raises(TrainingError, match=r"the teacher's input_size is \(96, 96\); expected the model's, \(64"):
        train(detector, digits, config=short, run_dir=tmp_path, teacher=other)
