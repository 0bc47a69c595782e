"""Runs in each of two processes (see test_processes.py); the first writes what was found."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.config import AugmentConfig, TrainConfig
from sapwood.data import digits_dataset
from sapwood.errors import TrainingError
from sapwood.models import copy_model, load_model
from sapwood.training import TrainResult, find_processes, train
from sapwood.training.processes import Alone, Processes


def main(place: Path, cfg: Path) -> None:
    torch.set_num_threads(1)
    processes = find_processes()
    found = {
        "batchnorm": batchnorm(processes),
        **detector(processes, cfg),
        "errors": processes.gathered(refused(processes)),
    }
    if processes.index == 0:
        place.write_text(json.dumps(found))


def apart(first: Any, second: Any) -> float:
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def batchnorm(processes: Processes) -> dict[str, Any]:
    """Outputs, gradients and running statistics of two shares against those of the whole batch."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4, momentum=None)).double()
    whole = torch.randn(6, 2, 5, 5, dtype=torch.float64) * 3 + 10
    share = whole[processes.index * 3 : processes.index * 3 + 3]
    shared = processes.placed(copy_model(plain))
    joined = processes.joined(shared)
    outputs: Tensor = joined(share)
    outputs.pow(3).mean().backward()
    expected = plain(whole)
    expected.pow(3).mean().backward()
    gradients, wanted = (
        {name: parameter.grad for name, parameter in model.named_parameters()} for model in (shared, plain)
    )
    return {
        "processes": processes.count,
        "outputs": float((outputs - expected[processes.index * 3 : processes.index * 3 + 3]).abs().max()),
        "gradients": apart(gradients, wanted),
        "running": apart(shared.state_dict(), plain.state_dict()),
    }


def detector(processes: Processes, cfg: Path) -> dict[str, Any]:
    """A detector trained by both, by one alone, and by both with a break between epochs; float64."""
    bundle = load_model(str(cfg))
    bundle = replace(bundle, model=copy_model(bundle.model).double())
    digits = digits_dataset("train", size=(64, 64), num_images=12)
    config = TrainConfig(epochs=2, batch_size=4, lr=0.01, augment=AugmentConfig(mosaic=0), eval_every=1, init="keep")

    def trained(name: str, **changes: Any) -> TrainResult:
        again = config.model_copy(update={"resume": True}) if changes.pop("resume", False) else config
        return train(bundle, digits, config=again, run_dir=cfg.parent / name, val_dataset=digits, **changes)

    together = trained("both")
    try:
        trained("broken", plugins=lambda trained: [Breaks()])
    except KeyboardInterrupt:
        broken = trained("broken", resume=True)
    if processes.index:
        return {}
    sys.modules["sapwood.training.train"].find_processes = Alone  # type: ignore[attr-defined]
    alone = trained("alone")
    states = [result.bundle.model.state_dict() for result in (together, alone, broken)]
    return {
        "detector": {
            "steps": 3 * len(together.history),
            "apart": apart(states[0], states[1]),
            "alone_moved": apart(states[1], bundle.model.state_dict()),
            "losses_apart": max(
                abs(one["total"] - other["total"]) for one, other in zip(together.history, alone.history, strict=True)
            ),
            "mAP_apart": abs(together.evaluation.value - alone.evaluation.value),
        },
        "resumed": {"apart": apart(states[0], states[2])},
    }


class Breaks:
    """Ends a run in its second epoch, in every process."""

    name = "breaks"

    def after_step_(self, model: nn.Module, *, step: int, total_steps: int, lr: float) -> dict[str, float]:
        if step == 5:
            raise KeyboardInterrupt
        return {}

    def is_done(self, *, step: int, total_steps: int) -> bool:
        return True

    def settle_(self, state: Any) -> None:
        pass

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        pass


def refused(processes: Processes) -> str:
    """What a process gets of an error in the first."""

    def fail() -> None:
        raise TrainingError("the first says no")

    try:
        processes.from_first(fail)
    except TrainingError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
