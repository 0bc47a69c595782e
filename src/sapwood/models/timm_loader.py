"""Loads ``timm:NAME``: an image classifier of timm, with weights from a local file or at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapwood.errors import SpecError
from sapwood.models.installed import import_framework, too_old
from sapwood.models.sizes import check_size
from sapwood.models.spec import LOADERS, Loader, NamedBuild, State, near_names, read_names
from sapwood.models.state_dict import fitted_state, load_state_, read_state
from sapwood.types import ModelBundle, ModelSource, TaskSpec

PREFIX = "timm:"
OLDEST = "1.0.12"


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    source = ModelSource(spec, "timm", None if weights is None else str(weights))
    if weights is None:
        return _build(source, None, names)
    state = fitted_state(read_state(weights), _skeleton(spec), str(weights))
    bundle = _build(source, state, names)
    load_state_(bundle.model, state, str(weights))
    return bundle


def _skeleton(spec: str) -> nn.Module:
    """The model that timm builds by the name, without values where that can be had."""
    timm, name = _import_timm(), spec.removeprefix(PREFIX)
    _check_name(name, timm)
    bones = check_size(lambda: timm.create_model(name, pretrained=False), spec)
    return timm.create_model(name, pretrained=False) if bones is None else bones


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    return _build(source, state, None)


def _build(source: ModelSource, state: State | None, names: Path | None) -> ModelBundle:
    timm = _import_timm()
    name = source.spec.removeprefix(PREFIX)
    _check_name(name, timm)
    if state is not None:
        check_size(lambda: timm.create_model(name, pretrained=False), source.spec)
    model = timm.create_model(name, pretrained=False)
    num_classes = model.num_classes if state is None else _num_classes(model, state)
    if num_classes != model.num_classes:
        check_size(lambda: timm.create_model(name, pretrained=False, num_classes=num_classes), source.spec)
        model = timm.create_model(name, pretrained=False, num_classes=num_classes)
    config: dict[str, Any] = timm.data.resolve_model_data_config(model)
    class_names = (
        tuple(f"class{index}" for index in range(num_classes)) if names is None else read_names(names, num_classes)
    )
    task = TaskSpec(
        "classification",
        tuple(config["input_size"][1:]),
        class_names,
        "center_crop",
        tuple(config["mean"]),
        tuple(config["std"]),
        crop=float(config["crop_pct"]),
        interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
    )
    example = torch.randn(1, *config["input_size"], generator=torch.Generator().manual_seed(0))
    return ModelBundle(model.eval(), example, task, source)


def _check_name(name: str, timm: Any) -> None:
    if ":" in name:  # hf-hub:... would be downloaded, local-dir:... read
        raise SpecError(f"timm has no model {name!r} of its own; expected a name that it lists: nothing is downloaded")
    if not timm.is_model(name):
        known = timm.list_models()
        raise SpecError(f"timm has no model {name!r}; expected a name it lists (alike: {near_names(name, known)})")


def _built(spec: str, model: Any) -> NamedBuild:
    name, classes = spec.removeprefix(PREFIX), int(model.num_classes)
    timm = _import_timm()
    return NamedBuild(
        "import timm",
        f"timm.create_model({name!r}, pretrained=False, num_classes={classes})",
        lambda: timm.create_model(name, pretrained=False, num_classes=classes),
    )


def _num_classes(model: Any, state: State) -> int:
    """How many classes the classifier in ``state`` tells apart, as many as the model's where it has none."""
    classifier = model.pretrained_cfg.get("classifier")
    for key in (f"{classifier}.weight", f"{classifier}.weight_orig"):
        if key in state and state[key].dim() >= 1 and len(state[key]):
            return len(state[key])
    return int(model.num_classes)


def _import_timm() -> Any:
    timm = import_framework("timm", needed_for="timm:NAME", extra="zoo", oldest=OLDEST)
    data = import_framework("timm.data", needed_for="timm:NAME", extra="zoo", oldest=OLDEST)
    if not hasattr(data, "resolve_model_data_config"):
        why = " to say how pictures are brought to a model"
        raise too_old("timm", getattr(timm, "__version__", ""), why, "zoo", OLDEST)
    return timm


LOADERS.register("timm")(Loader("timm:NAME", lambda spec: spec.startswith(PREFIX), _load, _rebuild, built=_built))
