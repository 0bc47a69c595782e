"""The parts of a training run, each by itself."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sapwood.config import TrainConfig
from sapwood.data.augment import LabelledPicture
from sapwood.errors import ImageError, TrainingError
from sapwood.training.batches import BatchLoader, background_threads
from sapwood.training.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    prefixed,
    read_checkpoint,
    restore_model,
    restore_optimizer,
    write_checkpoint,
)
from sapwood.training.ema import WeightAverage
from sapwood.training.pictures import PictureCache
from sapwood.training.run import make_optimizer
from sapwood.training.saving import Saver
from sapwood.training.schedule import learning_rate


def rates(steps: int, **fields: object) -> list[float]:
    config = TrainConfig.model_validate({"lr": 2.0, "final_lr": 0.1, "warmup_epochs": 2, **fields})
    return [learning_rate(step, total_steps=steps, steps_per_epoch=10, config=config) for step in range(steps)]


def test_cosine_warms_up_and_falls_to_its_end() -> None:
    values = rates(1000)
    assert values[:20] == pytest.approx([2.0 * (step + 1) / 20 for step in range(20)])
    assert max(values) == 2.0
    assert values[20:] == sorted(values[20:], reverse=True)
    assert values[510] == pytest.approx(0.2 + 1.8 / 2)  # half way from 20 to 1000
    assert values[-1] == pytest.approx(0.2, abs=1e-4)


def test_one_cycle_rises_for_three_tenths() -> None:
    values = rates(1000, schedule="one_cycle")
    assert values[0] == pytest.approx(0.08)
    assert values.index(max(values)) == 300
    assert max(values) == 2.0
    assert values[-1] == pytest.approx(0.2, abs=1e-4)


def test_constant_stays_after_the_warm_up() -> None:
    assert rates(40, schedule="constant")[19:] == [2.0] * 21
    assert rates(40, schedule="constant", warmup_epochs=0) == [2.0] * 40


def test_a_run_shorter_than_its_warm_up() -> None:
    assert rates(5, warmup_epochs=3) == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])


def test_the_average_follows_its_equation() -> None:
    model = nn.Linear(2, 1)
    average = WeightAverage(model, decay=0.5)
    expected = model.weight.detach().clone()
    for number in range(12):
        with torch.no_grad():
            model.weight += 1
        average.update(model)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert torch.allclose(average.state["weight"], expected)


def test_no_decay_keeps_the_last_weights_and_integers_are_copied() -> None:
    model = nn.BatchNorm1d(3)
    average = WeightAverage(model, decay=0.0)
    model(torch.randn(8, 3))
    average.update(model)
    assert all(torch.equal(average.state[name], value) for name, value in model.state_dict().items())
    assert average.state["num_batches_tracked"] == 1


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_do_not_depend_on_threads(threads: int) -> None:
    loader = BatchLoader(
        lambda epoch, indices: (epoch, list(indices)), count=11, batch_size=4, seed=7, num_threads=threads
    )
    assert len(loader) == 2
    assert list(loader.epoch(3)) == [(3, indices) for indices in loader.indices(3)]
    assert loader.indices(3) != loader.indices(4)
    seen = [index for indices in loader.indices(3) for index in indices]
    assert len(set(seen)) == 8
    assert set(seen) <= set(range(11))


def test_batches_are_prepared_where_a_core_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    for threads, expected in ((4, 0), (8, 0), (2, 1)):
        monkeypatch.setattr("torch.get_num_threads", lambda count=threads: count)
        assert background_threads("auto", torch.device("cpu")) == expected
        assert background_threads("auto", torch.device("cuda")) == 1
        assert background_threads(3, torch.device("cpu")) == 3


def test_fewer_pictures_than_a_batch_make_one() -> None:
    loader = BatchLoader(lambda _, indices: sorted(indices), count=3, batch_size=8, seed=0, num_threads=1)
    assert list(loader.epoch(0)) == [[0, 1, 2]]


def test_an_error_in_a_thread_is_raised_and_the_threads_end() -> None:
    def make(epoch: int, indices: object) -> int:
        raise ImageError("broken")

    loader = BatchLoader(make, count=100, batch_size=2, seed=0, num_threads=2)
    with pytest.raises(ImageError, match="broken"):
        list(loader.epoch(0))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sapwood-loader")]


def pictures(count: int, loads: list[int]) -> list[object]:
    def reader(index: int) -> object:
        def read() -> LabelledPicture:
            loads.append(index)
            picture = np.full((40, 20, 3), index, np.uint8)
            return LabelledPicture(picture, np.array([[0, 0, 20, 40]], np.float32), np.array([index]))

        return read

    return [reader(index) for index in range(count)]


def test_pictures_are_kept_as_far_as_the_budget_goes() -> None:
    loads: list[int] = []
    cache = PictureCache(pictures(4, loads), max_side=20, budget_bytes=2 * 20 * 10 * 3)  # type: ignore[arg-type]
    for _ in range(3):
        for index in range(4):
            number, example = cache.read(index)
            assert number == index
            assert example.picture.shape == (20, 10, 3)
            assert (example.picture == index).all()
            assert example.boxes.tolist() == [[0, 0, 10, 20]]
    assert [loads.count(index) for index in range(4)] == [1, 1, 3, 3]


def small_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_an_optimizer_goes_on_from_its_tensors(name: str, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({"optimizer": name})
    first, second = (small_network().to(memory_format=torch.channels_last) for _ in range(2))
    second.load_state_dict(first.state_dict())
    optimizers = [make_optimizer(model, config) for model in (first, second)]

    def step(which: int) -> None:
        torch.manual_seed(1)
        (first, second)[which](torch.rand(4, 3, 3, 3)).square().sum().backward()
        optimizers[which].step()
        optimizers[which].zero_grad()

    step(0)
    saved = Checkpoint(prefixed("o", optimizer_tensors(optimizers[0])), {"epoch": 1})
    write_checkpoint(tmp_path / "c", saved.copied())
    second.load_state_dict(first.state_dict())
    read = read_checkpoint(tmp_path / "c")
    assert read.record == {"epoch": 1}
    restore_optimizer(optimizers[1], read.part("o"))
    step(0)
    step(1)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_only_filters_and_matrices_decay() -> None:
    decayed, kept = make_optimizer(small_network(), TrainConfig(weight_decay=0.1)).param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [4, 2]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert [parameter.ndim for parameter in kept["params"]] == [1, 1, 1, 1]


def test_a_copied_checkpoint_stays_as_it_was(tmp_path: Path) -> None:
    weight, history = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), [{"epoch": 1}]
    copied = Checkpoint({"weight": weight, "same": weight}, {"history": history}).copied()
    weight.zero_()
    history.append({"epoch": 2})
    write_checkpoint(tmp_path / "c", copied)
    (tmp_path / "plain").touch()
    assert (tmp_path / "c").stat().st_mode == (tmp_path / "plain").stat().st_mode
    read = read_checkpoint(tmp_path / "c")
    assert read.record == {"history": [{"epoch": 1}]}
    assert torch.equal(read.tensors["weight"], torch.ones(2, 3, 4, 5))
    assert torch.equal(read.tensors["same"], torch.ones(2, 3, 4, 5))


def test_a_saver_raises_what_its_job_raised_once_and_goes_on() -> None:
    done: list[int] = []
    saver = Saver()
    saver.wait()

    def fail() -> None:
        raise TrainingError("no room")

    saver.start(fail)
    with pytest.raises(TrainingError, match="no room"):
        saver.start(lambda: done.append(1))
    saver.start(lambda: done.append(2))
    saver.wait()
    assert done == [2]


def test_a_checkpoint_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(TrainingError, match=r"c\.safetensors: no such file; expected a checkpoint of `sapwood train`"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"c\.safetensors: is empty; expected a checkpoint of `sapwood train`"):
        read_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match=r"a safetensors file, but not a checkpoint"):
        read_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"sapwood_training": json.dumps({"schema": 9})})
    with pytest.raises(TrainingError, match=r"a checkpoint of schema 9; this version reads 1"):
        read_checkpoint(path)
    write_checkpoint(path, Checkpoint({"weight": torch.zeros(1)}, {}))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(TrainingError, match=r"c\.safetensors: is damaged, or something else \(SafetensorError"):
        read_checkpoint(path)


def test_a_checkpoint_of_another_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"run/c: a checkpoint of another model: bias is \(3,\) there and \(2,\) in"
    ):
        restore_model(nn.Linear(4, 2), nn.Linear(4, 3).state_dict(), "run/c")
