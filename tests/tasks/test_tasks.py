"""A task is one entry: whoever measures, trains, compares or shows asks it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sapwood.cli.common import OnBad, open_data
from sapwood.comparing.pictures import find_in
from sapwood.config import TrainConfig
from sapwood.data import open_unlabelled
from sapwood.errors import ConfigError, NoDataSetError, SavedModelError, TrainingError
from sapwood.models import load_saved, save_model
from sapwood.tasks import TASKS, Measuring, Sighting, divergence, evaluate, open_pictures, task_loss
from sapwood.training.objectives import OBJECTIVES, AnyLoss, make_objective
from sapwood.types import (
    ClassificationDataset,
    DetectionDataset,
    Evaluation,
    ModelBundle,
    ModelSource,
    TaskSpec,
    TextDataset,
)


@dataclass(frozen=True)
class Page:
    """A data set of the new task."""

    name: str = "page"


class Reading:
    """A new task, as another package would register it."""

    title: ClassVar[str] = "a reader"
    trainable: ClassVar[str] = "a reader"
    labels: ClassVar[str] = "words"
    dataset: ClassVar[type[Any]] = Page
    has_temperature: ClassVar[bool] = False
    distill_rate: ClassVar[float] = 0.5

    def open_data(self, path: Any, **options: Any) -> Any:
        return Page(f"{path} {options['split']} {options['on_bad']}")

    def evaluate(self, bundle: ModelBundle, dataset: Any, how: Measuring) -> Evaluation:
        return Evaluation("words", {"words": 0.5}, {}, how.batch_size, {})

    def find(self, bundle: ModelBundle, pictures: Any, **options: Any) -> list[list[Sighting]]:
        return [[Sighting(0, 0.25)] for _ in pictures]

    def loss(self, bundle: ModelBundle, labels: Any) -> Any:
        return lambda model, batch: torch.tensor(float(batch))

    def divergence(
        self, task: TaskSpec, outputs: Any, reference: Any, model: nn.Module, *, temperature: float
    ) -> Tensor:
        return torch.as_tensor(abs(outputs - reference) * temperature)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> ModelBundle:
    monkeypatch.setattr(TASKS, "_entries", {**TASKS._entries, "reading": Reading()})
    task = TaskSpec("reading", class_names=("word",))
    return ModelBundle(nn.Linear(1, 1), (), task, ModelSource("my:reader", "factory"))


def test_a_task_that_was_registered_is_asked(reader: ModelBundle) -> None:
    assert evaluate(reader, Page(), batch_size=3).num_images == 3  # type: ignore[arg-type]
    assert task_loss(reader)(reader.model, 2) == 2
    assert divergence(reader.task, 1, 3, reader.model, temperature=2.0) == 4
    assert open_data(reader, "book", "val", OnBad.skip).name == "book val skip"
    picture = np.zeros((2, 2, 3), np.uint8)
    (shown,) = find_in(reader, {"a": picture}, score_threshold=0.5, iou_threshold=0.5)
    assert [(found.class_name, found.score, found.box) for found in shown.found] == [("word", 0.25, None)]


def test_its_data_are_of_its_own_class(reader: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="my:reader is for reading, and flags is a data set with classes"):
        evaluate(reader, ClassificationDataset("flags", (), ()))


@pytest.mark.usefixtures("reader")
def test_messages_name_the_tasks_that_are_registered() -> None:
    bare = ModelBundle(nn.Linear(1, 1), (), TaskSpec("none"), ModelSource("my:bare", "factory"))
    tasks = "a reader or a language model or a detector or a classifier"
    with pytest.raises(ConfigError, match=f"my:bare has no task, so nothing .*; expected {tasks}"):
        evaluate(bare, ClassificationDataset("flags", (), ()))
    with pytest.raises(ConfigError, match=f"task 'poems': nothing says .*; expected {tasks}"):
        divergence(TaskSpec("poems"), 1, 2, bare.model)
    trainable = "a language model or a classifier or a detector with YOLO heads or a reader"
    with pytest.raises(ConfigError, match=f"0 heads; expected {trainable}"):
        task_loss(bare)
    with pytest.raises(ConfigError, match=f"my:bare has no task; expected {tasks} to measure on book"):
        open_data(bare, "book", "val", OnBad.error)


def test_its_objective_is_an_entry_as_well(reader: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "'reading' and page holds words; expected a detector with boxes or a classifier with classes"
    with pytest.raises(TrainingError, match=expected):
        make_objective(reader, Page(), TrainConfig())  # type: ignore[arg-type]
    made = AnyLoss([1], lambda model, batch: batch, TrainConfig(), list)
    monkeypatch.setattr(OBJECTIVES, "_entries", {**OBJECTIVES._entries, "reading": lambda *given: made})
    assert make_objective(reader, Page(), TrainConfig()) is made  # type: ignore[arg-type]


OF_TEXTS = [kind for kind in TASKS if issubclass(TASKS[kind].dataset, TextDataset)]


@pytest.mark.parametrize("kind", [kind for kind in TASKS if kind not in OF_TEXTS])
def test_every_task_of_pictures_can_be_trained(kind: str) -> None:
    assert kind in OBJECTIVES
    assert TASKS[kind].distill_rate > 0


@pytest.mark.parametrize("kind", OF_TEXTS)
def test_training_on_texts_is_refused_by_name(kind: str) -> None:
    bundle = ModelBundle(nn.Linear(1, 1), (), TaskSpec(kind), ModelSource("my:words", "factory"))
    assert TASKS[kind].distill_rate > 0
    with pytest.raises(TrainingError, match=f"my:words is for the task '{kind}' and book holds texts; expected a "):
        make_objective(bundle, TextDataset("book", (), ()), TrainConfig())


def test_a_saved_model_for_it_loads(reader: ModelBundle, tmp_path: Path) -> None:
    bundle = replace(reader, example_inputs=torch.zeros(1, 1))
    save_model(bundle, tmp_path / "saved")
    again = load_saved(tmp_path / "saved", factory=lambda: nn.Linear(1, 1))
    assert again.task == bundle.task
    assert evaluate(again, Page(), batch_size=2).metrics == {"words": 0.5}  # type: ignore[arg-type]


def test_a_saved_model_for_what_nobody_registered_names_what_there_is(
    reader: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(replace(reader, example_inputs=torch.zeros(1, 1)), tmp_path / "saved")
    monkeypatch.undo()
    known = "causal_lm, classification, detection, masked_lm, text_classification"
    message = rf"task\.kind: unknown task 'reading'; expected none or one of: {known}\. A package"
    with pytest.raises(SavedModelError, match=message):
        load_saved(tmp_path / "saved", factory=lambda: nn.Linear(1, 1))


class Flags(ClassificationDataset):
    """The data sets of a task that has classes, too."""


@pytest.mark.parametrize(("holds", "expected"), [(Flags, ClassificationDataset), (Page, DetectionDataset)])
def test_pictures_without_labels_are_what_its_data_sets_hold(
    holds: type, expected: type, reader: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TASKS["reading"], "dataset", holds)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    opened = open_unlabelled(tmp_path, reader.task.kind)
    assert type(opened) is expected
    assert [sample.image_id for sample in opened.samples] == ["a"]


def test_pictures_are_opened_where_a_task_finds_no_data_set(
    reader: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_there(*given: Any, **options: Any) -> Any:
        raise NoDataSetError("no book")

    monkeypatch.setattr(TASKS["reading"], "open_data", none_there)
    with pytest.raises(NoDataSetError, match="no book"):
        open_pictures(reader, tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert len(open_pictures(reader, tmp_path).samples) == 1
