"""What a program hands to a comparison: its own module, cases as plain data, a measure of its own."""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
import yaml
from torch import nn

from sapwood.arguments import described, model_and_inputs
from sapwood.cases import CaseRow, default_cases, parse_cases, read_cases
from sapwood.errors import ConfigError
from sapwood.models import copy_model
from sapwood.types import (
    ClassificationDataset,
    Dataset,
    Evaluation,
    ExampleInputs,
    ModelBundle,
    ModelSource,
    TaskSpec,
)

Measure: TypeAlias = "Callable[[nn.Module], float | Mapping[str, float]]"
"""Takes a model, in eval mode, and says how good it is: one figure, or several by name of which the first counts;
larger is better."""

NAME = "measure"
"""What a single figure is called."""


def subject_of(model: ModelBundle | nn.Module, example_inputs: ExampleInputs | None) -> ModelBundle:
    """Returns a module as a bundle whose task nobody said; a bundle as it is.

    Raises:
        ConfigError: If it is something else, or there are no example inputs.
    """
    if isinstance(model, ModelBundle) and example_inputs is None:
        return model
    module, inputs = model_and_inputs(model, example_inputs)
    return ModelBundle(module, inputs, TaskSpec("none"), ModelSource(type(module).__name__, "module"))


def rows_of(cases: Sequence[CaseRow | Mapping[str, Any]] | str | os.PathLike[str] | None) -> tuple[CaseRow, ...]:
    """Returns the rows of a comparison: the practitioner's of None, those of a file, or of a list as a file holds it.

    Raises:
        ConfigError: If the file or one of the rows cannot be read.

    Examples:
        >>> [row.name for row in rows_of([{"kind": "prune", "sparsity": [0.2, 0.5]}])]
        ['channels removed · L2 · 0.2', 'channels removed · L2 · 0.5']
    """
    if cases is None:
        return default_cases()
    if isinstance(cases, str | os.PathLike):
        return read_cases(Path(cases))
    if not isinstance(cases, Sequence):
        raise ConfigError(f"cases is {described(cases)}; expected a list of rows, or the name of a file of them")
    if all(isinstance(row, CaseRow) for row in cases):
        return tuple(row for row in cases if isinstance(row, CaseRow))
    plain = [row.model_dump(mode="json", exclude_none=True) if isinstance(row, CaseRow) else row for row in cases]
    try:
        return parse_cases(yaml.safe_dump(plain), "cases")
    except yaml.YAMLError as error:
        raise ConfigError(f"cases: {error}; expected mappings with text and numbers") from None


def dataset_of(bundle: ModelBundle, data: Dataset | str | os.PathLike[str] | None, measure: Measure | None) -> Dataset:
    """Returns the pictures of a comparison: none where it measures by itself, the `val` part of a place.

    Raises:
        ConfigError: If there is neither data nor a measure, or a measure that takes no model.
        DataError: If the place holds no data set.
    """
    if measure is not None:
        check_takes_one(measure)
    if data is None:
        if measure is None:
            raise ConfigError(
                "nothing says how good a model is; expected a data set, or measure=, a function of a model"
            )
        return ClassificationDataset("a measure of your own", (), ())
    if isinstance(data, str | os.PathLike):
        from sapwood.tasks import open_data

        return open_data(bundle, str(data), split="val")
    return data


def evaluate_by(measure: Measure, model: nn.Module, num_images: int) -> Evaluation:
    """Measures a copy of a model by a function of the user's.

    Raises:
        ConfigError: If what it returns is no finite number, nor a mapping of names to such.
    """
    start = time.perf_counter()
    with torch.no_grad():
        found = measure(copy_model(model).eval())
    figures = dict(found) if isinstance(found, Mapping) else {NAME: found}
    if not figures:
        raise ConfigError("measure returned no figure; expected one")
    metrics = {str(name): _number(name, value) for name, value in figures.items()}
    return Evaluation(next(iter(metrics)), metrics, {}, num_images, {NAME: time.perf_counter() - start})


def check_takes_one(measure: Measure) -> None:
    """Checks that a function can be called with a model; what has no signature is taken at its word.

    Raises:
        ConfigError: If it cannot.
    """
    if not callable(measure):
        raise ConfigError(f"measure is {described(measure)}; expected a function of a model")
    try:
        inspect.signature(measure).bind(None)
    except TypeError as error:
        raise ConfigError(
            f"measure cannot be called with a model: {error}; expected a function of one argument"
        ) from None
    except ValueError:  # of C
        return


def _number(name: object, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"measure returned {described(value)} for {name}; expected a number") from None
    if not math.isfinite(number):
        raise ConfigError(f"measure returned {number} for {name}; expected a finite number")
    return number
