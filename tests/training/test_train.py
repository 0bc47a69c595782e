"""Training end to end on networks of a few layers: it learns, it can be killed, it names what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sapwood.config import AugmentConfig, TrainConfig
from sapwood.errors import ConfigError, ImageError, TrainingError
from sapwood.models import load_model
from sapwood.tasks import evaluate
from sapwood.training import train
from sapwood.types import ClassificationDataset, DetectionDataset, DetectionSample, ModelBundle, Picture

STILL = AugmentConfig(horizontal_flip=0, scale=0, aspect=0, translate=0, hue=0, saturation=0, brightness=0, mosaic=0)


class KilledError(Exception):
    """Stands for a signal that ends the process."""


def kill_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise KilledError

    return progress


def states_equal(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_writes_what_it_says(
    sober_detector: ModelBundle, digits: DetectionDataset, tmp_path: Path
) -> None:
    config = TrainConfig(
        epochs=150, batch_size=2, lr=0.01, optimizer="adamw", eval_every=75, warmup_epochs=4, augment=STILL
    )
    few = replace(digits, samples=digits.samples[:2])
    steps = []
    before = {name: value.clone() for name, value in sober_detector.model.state_dict().items()}
    result = train(
        sober_detector,
        few,
        config=config,
        run_dir=tmp_path / "run",
        val_dataset=few,
        progress=lambda *at: steps.append(at),
    )
    assert result.evaluation is not None
    assert result.evaluation.value > 0.9
    assert result.history[-1]["total"] < 0.2 * result.history[0]["total"]
    assert steps == [(done, 150) for done in range(1, 151)]
    assert all(torch.equal(value, before[name]) for name, value in sober_detector.model.state_dict().items())
    lines = [json.loads(line) for line in result.files["metrics"].read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 151))
    assert [line["epoch"] for line in lines if "mAP@0.5" in line] == [75, 150]
    assert {"box", "objectness", "class", "total", "lr", "images_per_second"} <= lines[0].keys()
    again = load_model(str(result.files["cfg"]), weights=result.files["best"])
    assert evaluate(again, few).metrics == result.evaluation.metrics
    assert result.bundle.source.weights == str(result.files["best"])
    assert not result.bundle.model.training


@pytest.mark.parametrize("change", [{}, {"optimizer": "adamw", "schedule": "one_cycle", "channels_last": False}])
def test_a_killed_run_resumes_to_the_same_bits(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path, change: dict[str, object]
) -> None:
    config = short.model_copy(update=change)
    whole = train(detector, digits, config=config, run_dir=tmp_path / "whole", val_dataset=digits)
    with pytest.raises(KilledError):  # in the third epoch, after two checkpoints
        train(detector, digits, config=config, run_dir=tmp_path / "cut", val_dataset=digits, progress=kill_at(8))
    resumed = train(
        detector,
        digits,
        config=config.model_copy(update={"resume": True, "loader_threads": 3, "cache_mb": 0}),
        run_dir=tmp_path / "cut",
        val_dataset=digits,
    )
    for name in ("best", "last"):
        assert resumed.files[name].read_bytes() == whole.files[name].read_bytes()
    assert states_equal(resumed.bundle.model, whole.bundle.model)
    timings = {"seconds", "images_per_second", "loader_wait_share", "eval_seconds"}
    first, second = (
        [{key: value for key, value in record.items() if key not in timings} for record in result.history]
        for result in (whole, resumed)
    )
    assert first == second


def test_killed_before_the_first_checkpoint_it_starts_again(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    config = short.model_copy(update={"resume": True, "epochs": 1})
    with pytest.raises(KilledError):
        train(detector, digits, config=config, run_dir=tmp_path / "run", progress=kill_at(2))
    result = train(detector, digits, config=config, run_dir=tmp_path / "run")
    assert len(result.history) == 1


def test_a_finished_run_resumes_to_its_result(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    first = train(detector, digits, config=short, run_dir=tmp_path)
    again = train(detector, digits, config=short.model_copy(update={"resume": True}), run_dir=tmp_path)
    assert states_equal(first.bundle.model, again.bundle.model)
    assert again.history == first.history


def test_a_run_is_not_overwritten_nor_resumed_as_another(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    config = short.model_copy(update={"epochs": 1})
    train(detector, digits, config=config, run_dir=tmp_path)
    with pytest.raises(
        TrainingError, match=r"holds a run already; go on with it by --resume \(resume=True\), or choose another"
    ):
        train(detector, digits, config=config, run_dir=tmp_path)
    other = config.model_copy(update={"resume": True, "lr": 0.5})
    with pytest.raises(TrainingError, match=r"begun with another config: lr 0.01 there and 0.5 here"):
        train(detector, digits, config=other, run_dir=tmp_path)


DYING_RUN = """
import os, sys
from sapwood.config import TrainConfig
from sapwood.data import digits_dataset
from sapwood.models import load_model
from sapwood.training import train

replace, seen = os.replace, []

def dying_replace(source, target):
    if str(target).endswith("checkpoint.safetensors"):
        seen.append(target)
        if len(seen) == 2:
            os.kill(os.getpid(), 9)
    replace(source, target)

os.replace = dying_replace
dataset = digits_dataset("train", size=(64, 64), num_images=12)
train(load_model(sys.argv[1]), dataset, config=TrainConfig(epochs=3, batch_size=4), run_dir=sys.argv[2])
"""


def test_killed_while_writing_it_resumes_from_the_checkpoint_before(
    detector: ModelBundle, digits: DetectionDataset, tiny_cfg: Path, tmp_path: Path
) -> None:
    arguments = [sys.executable, "-c", DYING_RUN, str(tiny_cfg), str(tmp_path / "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    died = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert list((tmp_path / "cut").glob(".checkpoint.safetensors.*"))
    config = TrainConfig(epochs=3, batch_size=4)
    whole = train(detector, digits, config=config, run_dir=tmp_path / "whole")
    steps: list[int] = []
    resumed = train(
        detector,
        digits,
        config=config.model_copy(update={"resume": True}),
        run_dir=tmp_path / "cut",
        progress=lambda done, total: steps.append(done),
    )
    assert resumed.files["last"].read_bytes() == whole.files["last"].read_bytes()
    assert steps == [4, 5, 6, 7, 8, 9]  # the first epoch, of three steps, was the dead process's
    assert len(resumed.files["metrics"].read_text().splitlines()) == 3
    assert len(list((tmp_path / "cut").iterdir())) == len(list((tmp_path / "whole").iterdir()))  # nothing half written


def test_a_checkpoint_that_cannot_be_written_stops_the_run(
    detector: ModelBundle, digits: DetectionDataset, tmp_path: Path
) -> None:
    directory = tmp_path / "run"

    def lose_the_directory(done: int, total: int) -> None:
        if done == 2:
            directory.write_text("a file where the directory was")

    config = TrainConfig(epochs=3, batch_size=4)
    with pytest.raises(TrainingError, match=r"checkpoint.safetensors: cannot be written \(.*File exists"):
        train(detector, digits, config=config, run_dir=directory, progress=lose_the_directory)


def test_a_place_that_cannot_be_written_is_refused_before_the_first_step(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"file/run: .*/file is a file; expected a folder"):
        train(
            detector, digits, config=short, run_dir=tmp_path / "file" / "run", progress=lambda *_: pytest.fail("step")
        )


def test_it_leaves_randomness_as_it_was(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(detector, digits, config=short.model_copy(update={"epochs": 1}), run_dir=tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_loss_that_is_not_finite_stops_the_run(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    config = short.model_copy(update={"lr": 1e30, "clip_norm": None, "warmup_epochs": 1.0})
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at epoch 1, step \d \(lr .*Lower lr, lengthen"):
        train(detector, digits, config=config, run_dir=tmp_path)


def test_weights_that_are_not_finite_are_named(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    with torch.no_grad():
        detector.model.layers[1].conv.weight[0] = float("nan")
    with pytest.raises(TrainingError, match=r"layers.1.conv.weight holds values that are not finite"):
        train(detector, digits, config=short.model_copy(update={"init": "keep"}), run_dir=tmp_path)


def broken(sample: DetectionSample) -> DetectionSample:
    def load() -> Picture:
        raise ImageError(f"{sample.image_id}.jpg: is empty; expected a picture")

    return replace(sample, load=load)


def test_a_broken_picture_stops_the_run_or_is_skipped(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    name = digits.samples[2].image_id
    damaged = replace(digits, samples=(*digits.samples[:2], broken(digits.samples[2]), *digits.samples[3:]))
    with pytest.raises(ImageError, match=rf"{name}.jpg: is empty"):
        train(detector, damaged, config=short, run_dir=tmp_path / "stops")
    config = short.model_copy(update={"on_bad": "skip", "epochs": 1})
    result = train(detector, damaged, config=config, run_dir=tmp_path / "skips")
    assert result.skipped == (f"{name}.jpg: is empty; expected a picture",)
    assert result.history[0]["skipped"] == 1
    nothing = replace(digits, samples=tuple(broken(sample) for sample in digits.samples[:3]))
    with pytest.raises(TrainingError, match=r"none of the 3 training pictures can be read; the first: .* is empty"):
        train(detector, nothing, config=config, run_dir=tmp_path / "nothing")


def test_masked_weights_stay_masked(
    detector: ModelBundle, digits: DetectionDataset, short: TrainConfig, tmp_path: Path
) -> None:
    conv = detector.model.layers[1].conv
    prune.l1_unstructured(conv, "weight", amount=0.5)
    config = short.model_copy(update={"epochs": 2, "init": "keep"})
    result = train(detector, digits, config=config, run_dir=tmp_path, val_dataset=digits)
    twin = result.bundle.model.layers[1].conv
    assert torch.equal(twin.weight_mask, conv.weight_mask)
    assert not torch.equal(twin.weight_orig, conv.weight_orig)
    written = load_model(str(result.files["cfg"]), weights=result.files["best"]).model.layers[1].conv.weight
    assert ((written == 0) == (conv.weight_mask == 0)).all()


def test_a_classifier_takes_the_same_loop(
    classifier: ModelBundle, shades: ClassificationDataset, tmp_path: Path
) -> None:
    config = TrainConfig(epochs=12, batch_size=8, lr=0.1, eval_every=6, augment=AugmentConfig(brightness=0.1))
    result = train(classifier, shades, config=config, run_dir=tmp_path, val_dataset=shades)
    assert result.evaluation is not None
    assert result.evaluation.metrics["top-1"] >= 0.95
    assert set(result.files) == {"metrics"}
    assert result.history[-1]["total"] < 0.5 * result.history[0]["total"]


def test_probabilities_are_trained_as_such(
    classifier: ModelBundle, shades: ClassificationDataset, tmp_path: Path
) -> None:
    config = TrainConfig(epochs=1, batch_size=32, lr=0.01, precision="float32")
    logits = train(classifier, shades, config=config, run_dir=tmp_path / "a")
    softmax = replace(
        classifier,
        model=nn.Sequential(classifier.model, nn.Softmax(dim=1)),
        task=replace(classifier.task, outputs="probabilities"),
    )
    probabilities = train(softmax, shades, config=config, run_dir=tmp_path / "b")
    assert probabilities.history[0]["total"] == pytest.approx(logits.history[0]["total"], abs=1e-5)


def test_model_and_data_must_fit(
    detector: ModelBundle, digits: DetectionDataset, shades: ClassificationDataset, short: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"for the task 'detection' and shades holds classes"):
        train(detector, shades, config=short, run_dir=tmp_path)
    with pytest.raises(TrainingError, match=r"digits train: no pictures to train on"):
        train(detector, replace(digits, samples=()), config=short, run_dir=tmp_path)
    fewer = replace(digits, class_names=digits.class_names[:7])
    with pytest.raises(TrainingError, match=r"the model has 10 classes and digits train 7 .*num_classes: data"):
        train(detector, fewer, config=short, run_dir=tmp_path)


def test_classifier_and_data_must_fit(
    classifier: ModelBundle, digits: DetectionDataset, shades: ClassificationDataset, tmp_path: Path
) -> None:
    config = TrainConfig(epochs=1, batch_size=4)
    with pytest.raises(
        TrainingError, match=r"tests:tiny is for the task 'classification' and digits train holds boxes"
    ):
        train(classifier, digits, config=config, run_dir=tmp_path)
    with pytest.raises(TrainingError, match=r"anchors: auto is for Darknet networks; tests:tiny is none"):
        train(classifier, shades, config=config.model_copy(update={"anchors": "auto"}), run_dir=tmp_path)
    more = replace(shades, samples=tuple(replace(sample, label=7) for sample in shades.samples))
    with pytest.raises(TrainingError, match=r"label 7 in the data; the model has classes 0 to 1"):
        train(classifier, more, config=config, run_dir=tmp_path)
    frozen = replace(classifier, model=classifier.model.requires_grad_(False))
    with pytest.raises(TrainingError, match=r"the model has no trainable parameters"):
        train(frozen, shades, config=config, run_dir=tmp_path)
