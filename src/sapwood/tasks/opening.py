"""Opens the data that fits a model's task."""

from __future__ import annotations

from pathlib import Path

from sapwood.data import OnBad, check_same_classes, data_parts, open_unlabelled, picture_files
from sapwood.errors import ConfigError, DataError, NoDataSetError
from sapwood.task_kinds import NO_TASK
from sapwood.tasks.task import TASKS, ReadsForModel, any_task
from sapwood.types import Dataset, ModelBundle


def open_data(bundle: ModelBundle, data: str | Path, *, split: str = "val", on_bad: OnBad = "error") -> Dataset:
    """Opens the data set that fits a model's task.

    Args:
        bundle: The model.
        data: Where the data set is, in a format that its task reads; or ``"digits"``.
        split: Which part.
        on_bad: ``"error"`` stops at a picture or label that is broken, ``"skip"`` leaves it out and lists it.

    Raises:
        ConfigError: If the model has no task.
        DataError: If there is no such data set.
    """
    task = bundle.task
    if task.kind not in TASKS:
        raise ConfigError(
            f"{bundle.source.spec} has no task; expected {any_task()} to measure on {data}. A factory says what its "
            "model is for by returning a ModelBundle (docs/models.md)"
        )
    reader = TASKS[task.kind]
    if isinstance(reader, ReadsForModel):
        return reader.open_for(bundle, data, split=split, on_bad=on_bad)
    return reader.open_data(data, split=split, class_names=task.class_names, on_bad=on_bad)


JUDGED = "val"
"""The part that accuracy is measured on, where no other is asked for."""


def can_measure(bundle: ModelBundle, data: str | Path) -> bool:
    """Whether accuracy can be measured on what was named.

    Not on a folder of pictures that is no data set, nor where the classes are others than the model's. No picture is
    read: it is what the folder holds that decides, as when a data set is opened.
    """
    first = data_parts(data)[0]
    try:
        dataset = open_data(bundle, first, split=JUDGED)
    except NoDataSetError:
        return not picture_files(first)
    except (DataError, ConfigError):  # it has no such part
        return True
    known = bundle.task.class_names
    try:
        check_same_classes(dataset.name, dataset.class_names, known)
    except DataError:
        return False
    return not known or not dataset.class_names or len(known) == len(dataset.class_names)


def open_pictures(bundle: ModelBundle, data: str | Path, *, split: str = "val", on_bad: OnBad = "error") -> Dataset:
    """Opens pictures whose labels nobody will look at: a data set, or a folder of pictures that is none.

    A model without a task that says what size of pictures it reads takes a folder of pictures.

    Raises:
        ConfigError: If the model has no task, and does not say what pictures it reads.
        DataError: If there is neither.
    """
    if bundle.task.kind == NO_TASK and all(bundle.task.input_size):
        return open_unlabelled(data, NO_TASK, split=split)
    try:
        return open_data(bundle, data, split=split, on_bad=on_bad)
    except NoDataSetError:
        if isinstance(TASKS[bundle.task.kind], ReadsForModel) or not picture_files(data):
            raise
    return open_unlabelled(data, bundle.task.kind, split=split)
