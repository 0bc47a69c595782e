"""Loads ``torchvision:NAME``: an architecture of torchvision, with weights from a local file or at random."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import SpecError
from sapwood.models.detectors.describing import class_labels, describe, num_scores
from sapwood.models.sizes import check_size
from sapwood.models.spec import LOADERS, Loader, NamedBuild, State, near_names, read_names
from sapwood.models.state_dict import fitted_state, load_state_, read_state
from sapwood.types import ModelBundle, ModelSource, TaskSpec

PREFIX = "torchvision:"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_SIZE = 224
_CLASSIFIER = re.compile(r"\.cls_score\.weight$|\.classification_head\.(cls_logits|module_list\.0(\.1)?)\.weight$")
"""The last layer, of the first map, that scores classes."""
_FAMILIES = ("classification", "segmentation", "detection")


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    source = ModelSource(spec, "torchvision", None if weights is None else str(weights))
    if weights is None:
        return _build(source, None, names)
    state = fitted_state(read_state(weights), _skeleton(spec.removeprefix(PREFIX)), str(weights))
    bundle = _build(source, state, names)
    load_state_(bundle.model, state, str(weights))
    return bundle


def _skeleton(name: str) -> nn.Module:
    """The architecture, for the names of its tensors."""
    options: dict[str, Any] = {} if _family(name) == "classification" else {"weights_backbone": None}
    with torch.device("meta"):
        return _make(name, **options)


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    return _build(source, state, None)


def _build(source: ModelSource, state: State | None, names: Path | None) -> ModelBundle:
    name = source.spec.removeprefix(PREFIX)
    family = _family(name)
    if family == "detection":
        return _detector(name, source, state, names)
    if family != "classification":
        if state is not None:
            check_size(lambda: _make(name, weights_backbone=None), source.spec)
        model = _make(name, weights_backbone=None)
        example = torch.randn(3, _SIZE, _SIZE, generator=torch.Generator().manual_seed(0))
        task = TaskSpec("none", (_SIZE, _SIZE), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return ModelBundle(model.eval(), example[None], task, source)
    num_classes = None if state is None else _num_classes(name, state)
    options = {} if num_classes is None else {"num_classes": num_classes}
    if state is not None:
        check_size(lambda: _make(name, **options), source.spec)
    model = _make(name, **options)
    size, known_names = _input_size(name, model), _known_names(name)
    if num_classes is None:
        num_classes = _last_matrix(model)[1].shape[0]
    if names is not None:
        known_names = read_names(names, num_classes)
    elif len(known_names) != num_classes:
        known_names = tuple(f"class{index}" for index in range(num_classes))
    task = TaskSpec("classification", (size, size), known_names, "center_crop", IMAGENET_MEAN, IMAGENET_STD)
    example = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return ModelBundle(model.eval(), example, task, source)


def _detector(name: str, source: ModelSource, state: State | None, names: Path | None) -> ModelBundle:
    """A detector, for as many classes as ``state`` scores; for those that are named where its weights are random."""
    with torch.device("meta"):
        usual: Any = _make(name, weights_backbone=None)
    count = num_scores(usual) if state is None else _scores_in(usual, state)
    if state is None and names is not None:
        wanted = len(read_names(names))
        count = count if wanted == len(class_labels(count or 0)) else wanted + 1
    if state is not None:
        check_size(lambda: _make(name, weights_backbone=None, num_classes=count), source.spec)
    model = _make(name, weights_backbone=None, num_classes=count).eval()
    labels = class_labels(count or 0)
    task = describe(model, None if names is None else read_names(names, len(labels)))
    if task is None:
        raise SpecError(f"{source.spec}: does not say how many classes it has; expected a detector of torchvision")
    example = torch.randn(3, *task.input_size, generator=torch.Generator().manual_seed(0))
    return ModelBundle(model, ([example],), task, source)


def _scores_in(model: nn.Module, state: State) -> int | None:
    """How many classes the detector of ``state`` scores: its widest classifier beside the one that ``model`` has."""
    usual, own = num_scores(model), model.state_dict()
    for name in (name for name in own if name.endswith(".weight") and _CLASSIFIER.search(name)):
        tensor, rows = state.get(name, state.get(f"{name}_orig")), len(own[name])
        if tensor is not None and usual and tensor.dim() == own[name].dim() and len(tensor) * usual % rows == 0:
            return max(1, len(tensor) * usual // rows)
    return usual


def _family(name: str) -> str:
    """Which kind of model ``name`` is, by the place of its builder in torchvision."""
    from torchvision import models

    try:
        place = models.get_model_builder(name).__module__
    except ValueError as error:
        close = near_names(name, models.list_models())
        raise SpecError(f"torchvision has no model {name!r}; expected a name it lists (alike: {close})") from error
    parts = place.split(".")
    family = "classification" if len(parts) == 3 else parts[2]
    if family not in _FAMILIES:
        raise SpecError(f"torchvision:{name} is a {family} model; expected one for {', '.join(_FAMILIES)}")
    return family


def _make(name: str, **options: Any) -> nn.Module:
    from torchvision import models

    with warnings.catch_warnings():  # GoogLeNet and Inception announce a change of their own initialisation
        warnings.simplefilter("ignore", FutureWarning)
        model: nn.Module = models.get_model(name, weights=None, **options)
    return model


def _built(spec: str, model: nn.Module) -> NamedBuild:
    """How torchvision builds it, for as many classes as ``model`` tells apart."""
    name = spec.removeprefix(PREFIX)
    family = _family(name)
    options: dict[str, Any] = {} if family == "classification" else {"weights_backbone": None}
    if family == "detection":
        options["num_classes"] = num_scores(model)
    if family == "classification":
        options["num_classes"] = len(_last_matrix(model)[1])
    written = "".join(f", {key}={value!r}" for key, value in options.items())
    return NamedBuild(
        "from torchvision.models import get_model",
        f"get_model({name!r}, weights=None{written})",
        lambda: _make(name, **options),
    )


def _num_classes(name: str, state: State) -> int | None:
    """How many classes the last layer in ``state`` tells apart; None where ``state`` has no such layer."""
    with torch.device("meta"):
        last, _ = _last_matrix(_make(name))
    tensor = state.get(last, state.get(f"{last}_orig"))
    return None if tensor is None or tensor.dim() < 2 or not len(tensor) else len(tensor)


def _last_matrix(model: nn.Module) -> tuple[str, Tensor]:
    return [(name, tensor) for name, tensor in model.state_dict().items() if tensor.dim() >= 2][-1]


def _input_size(name: str, model: nn.Module) -> int:
    """Pixels a side: what the architecture is built for, else what its published weights were trained with."""
    built_for = getattr(model, "image_size", None)
    if isinstance(built_for, int):
        return built_for
    published = _published(name)
    return _SIZE if published is None else int(published.transforms.keywords["crop_size"])


def _known_names(name: str) -> tuple[str, ...]:
    published = _published(name)
    return () if published is None else tuple(published.meta["categories"])


def _published(name: str) -> Any:
    """torchvision's description of the published weights of ``name``; nothing is downloaded."""
    from torchvision import models

    described = list(models.get_model_weights(name))
    return described[0].value if described else None


LOADERS.register("torchvision")(
    Loader("torchvision:NAME", lambda spec: spec.startswith(PREFIX), _load, _rebuild, built=_built),
)
