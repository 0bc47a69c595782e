"""Loads ``transformers:FOLDER``: a model and its tokenizer as the hub has them, from a folder that is here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sapwood.errors import SpecError
from sapwood.models.spec import LOADERS, Loader, State, read_names
from sapwood.models.state_dict import load_state_, read_state
from sapwood.models.transformers.beside import CONFIG_NAME, files_beside, longest_text, picture_task
from sapwood.models.transformers.build import make_config, make_model, model_class, parameters_of, read_model, task_of
from sapwood.models.transformers.folder import CONFIG, check_weights, config_text, read_config
from sapwood.models.transformers.inputs import LENGTH, PICTURES, example_inputs
from sapwood.models.transformers.masking import find_masking
from sapwood.models.transformers.network import NO_CACHE, TransformersNetwork
from sapwood.task_kinds import NO_TASK
from sapwood.types import ExampleInputs, ModelBundle, ModelSource, TaskSpec

NAME = "transformers"
PREFIX = f"{NAME}:"
SHOWN = 3


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    folder = Path(spec.removeprefix(PREFIX))
    text = config_text(folder)
    config = make_config(read_config(text, folder / CONFIG), str(folder / CONFIG))
    kind = model_class(config, str(folder / CONFIG))
    files = files_beside(folder, text)
    if weights is None:
        check_weights(folder)
        network, unread = read_model(kind, config, folder)
        if unread:
            more = f" and {len(unread) - SHOWN} more" if len(unread) > SHOWN else ""
            warnings.warn(
                f"{folder}: {', '.join(unread[:SHOWN])}{more}: not read, a {kind.__name__} has no such tensors",
                stacklevel=3,
            )
    else:
        network = make_model(kind, config, str(folder))
    model = wrapped(network, files, spec)
    if weights is not None:
        load_state_(model, _named_state(read_state(weights)), str(weights))
    source = ModelSource(spec, NAME, None if weights is None else str(weights), files)
    bundle = transformers_bundle(model, source)
    if names is not None:
        class_names = read_names(names, len(bundle.task.class_names) or None)
        bundle = replace(bundle, task=replace(bundle.task, class_names=class_names))
    return bundle


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    """Builds the dense model of a saved directory again; its values come later."""
    del state
    if CONFIG_NAME not in source.files:
        raise SpecError(f"{source.spec}: the source holds no {CONFIG_NAME}; expected what Sapwood saves with it")
    where = f"{source.spec}: {CONFIG_NAME}"
    config = make_config(read_config(source.files[CONFIG_NAME], where), where)
    network = make_model(model_class(config, where), config, where)
    return transformers_bundle(wrapped(network, source.files, source.spec), source)


def wrapped(network: nn.Module, files: Mapping[str, str], where: str) -> TransformersNetwork:
    """Returns a model as the other stages see it."""
    inputs = _example(network, files, where)
    model = TransformersNetwork(network.eval(), tuple(inputs), NO_CACHE in parameters_of(network), files)
    model.masking = find_masking(model, inputs)
    return model


def transformers_bundle(model: TransformersNetwork, source: ModelSource | None = None) -> ModelBundle:
    """Returns what is known of a model that came alone."""
    network: Any = model.network
    source = (
        ModelSource(f"{PREFIX}{type(network).__name__}", NAME, None, dict(model.files)) if source is None else source
    )
    found = _example(network, model.files, source.spec)
    inputs: ExampleInputs = found[PICTURES] if tuple(found) == (PICTURES,) else found
    return ModelBundle(model.eval(), inputs, _task(model, found, source.spec), source)


def _task(model: TransformersNetwork, inputs: Mapping[str, Tensor], where: str) -> TaskSpec:
    network: Any = model.network
    kind, config = task_of(type(network)), network.config
    if kind not in ("classification", "text_classification"):
        return TaskSpec(kind)
    names = tuple(str(config.id2label[index]) for index in sorted(config.id2label))
    if kind == "classification":
        height, width = inputs[PICTURES].shape[2:]
        return picture_task(model.files, (height, width), names, where)
    if len(names) < 2 or getattr(config, "problem_type", None) in ("regression", "multi_label_classification"):
        return TaskSpec(NO_TASK)  # one number, or any of the classes: nothing here measures that
    return TaskSpec(kind, class_names=names)


def _example(network: Any, files: Mapping[str, str], where: str) -> dict[str, Tensor]:
    length = min(LENGTH, longest_text(files, where) or LENGTH)
    takes, own = parameters_of(network), task_of(type(network)) != "text_classification"
    main = str(network.main_input_name)
    return example_inputs(network.config, main, takes, where, length=length, decodes_own=own)


def _named_state(state: State) -> State:
    """State dicts of the model itself get the name that it has here."""
    own = all(name.startswith("network.") for name in state)
    return state if own else {f"network.{name}": tensor for name, tensor in state.items()}


LOADERS.register(NAME)(Loader("transformers:FOLDER", lambda spec: spec.startswith(PREFIX), _load, _rebuild))
