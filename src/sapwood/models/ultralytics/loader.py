"""Loads ``ultralytics:NAME.yaml``, ``ultralytics:FILE.pt`` and a path to a ``.pt``."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import MissingDependencyError, SapwoodError, SpecError
from sapwood.foreign import foreign
from sapwood.meant import meant_path
from sapwood.models.apply_plan import apply_plan, make_biases_
from sapwood.models.installed import installed_version
from sapwood.models.plan import Plan
from sapwood.models.plan_json import plan_from_dict
from sapwood.models.spec import LOADERS, Loader, State, read_names
from sapwood.models.state_dict import load_state_, read_state
from sapwood.models.ultralytics.checkpoint import read_checkpoint, write_checkpoint
from sapwood.models.ultralytics.network import CLASSIFY, DETECT, UltralyticsNetwork
from sapwood.models.ultralytics.package import ultralytics_tasks
from sapwood.models.ultralytics.yaml_text import build, read_yaml_text, yaml_text
from sapwood.reading import parse_json, read_text
from sapwood.types import AnchorFreeHead, ModelBundle, ModelSource, TaskSpec

NAME = "ultralytics"
PREFIX = f"{NAME}:"
YAML_NAME = "model.yaml"
PLANS_NAME = "model.plans.json"
DEFAULT_SIZE = 640


def _matches(spec: str) -> bool:
    return spec.startswith(PREFIX) or spec.endswith(".pt")


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    place = spec.removeprefix(PREFIX)
    if place.endswith(".pt"):
        if weights is not None:
            raise SpecError(f"{spec} has weights of its own; expected no {weights} beside it")
        return _from_checkpoint(spec, Path(place), names)
    if not place.endswith((".yaml", ".yml")):
        raise SpecError(f"{spec}; expected ultralytics:NAME.yaml, ultralytics:FILE.pt or a path to a .pt")
    text = _yaml(place)
    content = read_yaml_text(text, place)
    class_names = None if names is None else read_names(names)
    if class_names is not None:
        content["nc"] = len(class_names)
    network = build(content, place)
    source = ModelSource(spec, NAME, None if weights is None else str(weights))
    bundle = _bundle(_wrapped(network, yaml_text(content), ()), DEFAULT_SIZE, class_names, source)
    if weights is not None:
        load_state_(bundle.model, _named_state(read_state(weights)), str(weights))
    return bundle


def _from_checkpoint(spec: str, path: Path, names: Path | None) -> ModelBundle:
    if not path.exists():
        expected = f"expected one that is here: nothing is downloaded{meant_path(path)}"
        raise SpecError(f"{path}: there is no such file; {expected}")
    try:
        found = read_checkpoint(path)
    except SpecError as error:
        raise SpecError(f"{error}{_other_pt(path)}") from error
    except MissingDependencyError as error:
        if installed_version(NAME) is not None:  # an old one: the file may well be for it
            raise
        raise MissingDependencyError(f"{error}{_other_pt(path)}") from error
    plans = _plans(found.plans, str(path))
    model = _wrapped(found.network, found.yaml, found.plans)
    class_names = None if names is None else read_names(names, len(_names(found.network)) or None)
    bundle = _bundle(model, found.image_size, class_names, ModelSource(spec, NAME, None, {}, plans))
    _check_rebuilt(bundle, str(path))
    return bundle


def _other_pt(path: Path) -> str:
    """What to do with a .pt that is none of Ultralytics'; empty where that is said already."""
    if foreign(path):
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_state(path)
    except SapwoodError:
        return "; a module that PyTorch saved is loaded by a function of yours: file.py:factory"
    beside = (
        f"torchvision:NAME --weights {path}, or a function of yours that builds it (file.py:factory --weights {path})"
    )
    return f"; {path} holds tensors by name, which go beside a model: {beside}"


def _check_rebuilt(bundle: ModelBundle, where: str) -> None:
    """Checks that what will be rebuilt from the ``.yaml`` when the model is loaded again is the same network."""
    model: Any = bundle.model
    state = model.state_dict()
    try:
        again = rebuilt(bundle.source, state, {YAML_NAME: model.yaml, PLANS_NAME: json.dumps(model.plans)})
        load_state_(again, state, where)
        with torch.no_grad():
            found, wanted = (_tensors(one(bundle.example_inputs)) for one in (again.eval(), model))
        equal = all(map(torch.equal, found, wanted))
    except SapwoodError as error:
        raise SpecError(
            f"{where}: its .yaml builds another network than it holds: {error}; expected one that is not fused, of "
            "this release of Ultralytics"
        ) from error
    if not equal:
        raise SpecError(f"{where}: its .yaml builds a network with other outputs; expected one as Ultralytics trains")


def _tensors(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    missing = [name for name in (YAML_NAME, PLANS_NAME) if name not in source.files]
    if missing:
        raise SpecError(f"{source.spec}: the source holds no {missing[0]}; expected what Sapwood saves with it")
    model = rebuilt(source, state, dict(source.files))
    return _bundle(model, DEFAULT_SIZE, None, source)


def rebuilt(source: ModelSource, state: State, files: dict[str, str]) -> UltralyticsNetwork:
    """Builds a network from what is saved beside its tensors: the dense one, and what was removed from it since."""
    content = read_yaml_text(files[YAML_NAME], f"{source.spec}: {YAML_NAME}")
    texts = parse_json(files[PLANS_NAME], f"{source.spec}: {PLANS_NAME}", "a list of plans", SpecError)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SpecError(f"{source.spec}: {PLANS_NAME}: expected a list of plans, each as text")
    model = _wrapped(build(content, source.spec), files[YAML_NAME], ())
    for plan in _plans(tuple(texts), source.spec):
        model = apply_plan(model, plan)
        make_biases_(model, [plan], state)
    return model


def read_ultralytics(path: Path) -> UltralyticsNetwork:
    """Reads a ``.pt``; nothing in it is executed.

    Raises:
        SpecError: If it is none that Ultralytics' classes and PyTorch's are enough for.
    """
    found = read_checkpoint(path)
    return _wrapped(found.network, found.yaml, found.plans)


def write_ultralytics(path: Path, model: UltralyticsNetwork, image_size: int) -> None:
    """Writes a ``.pt``, and leaves ``model`` to it: give it a copy."""
    write_checkpoint(path, model.own(), model.yaml, model.plans, image_size)


def ultralytics_bundle(model: UltralyticsNetwork) -> ModelBundle:
    """Returns what is known of a network that came alone."""
    return _bundle(model, DEFAULT_SIZE, None, ModelSource(f"{NAME}:{YAML_NAME}", NAME))


def _wrapped(network: nn.Module, yaml: str, plans: tuple[str, ...]) -> UltralyticsNetwork:
    return UltralyticsNetwork(network.eval(), ultralytics_tasks().guess_model_task(network), yaml, plans)


def _bundle(
    model: UltralyticsNetwork, size: int | tuple[int, int], names: tuple[str, ...] | None, source: ModelSource
) -> ModelBundle:
    both = (size, size) if isinstance(size, int) else size
    channels = int(read_yaml_text(model.yaml, source.spec).get("channels", 3))
    example = torch.rand(1, channels, *both, generator=torch.Generator().manual_seed(0))
    class_names = _names(model.network) if names is None else names
    return ModelBundle(model.eval(), example, _task(model, both, class_names), source)


def _task(model: UltralyticsNetwork, size: tuple[int, int], class_names: tuple[str, ...]) -> TaskSpec:
    if model.task == DETECT:
        head = AnchorFreeHead(len(class_names), model.strides, bins=model.bins, overlapping=not model.end_to_end)
        return TaskSpec("detection", size, class_names, "letterbox_yolo", heads=(head,))
    if model.task == CLASSIFY:
        return TaskSpec("classification", size, class_names, "center_crop", crop=1.0)
    return TaskSpec("none", size, class_names, "letterbox_yolo")


def _names(network: Any) -> tuple[str, ...]:
    names = getattr(network, "names", {})
    return tuple(str(names[index]) for index in sorted(names))


def _named_state(state: State) -> State:
    """State dicts of the network itself get the name that it has here."""
    own = all(name.startswith("network.") for name in state)
    return state if own else {f"network.{name}": tensor for name, tensor in state.items()}


def _plans(texts: tuple[str, ...], where: str) -> tuple[Plan, ...]:
    return tuple(plan_from_dict(parse_json(text, where, "a plan", SpecError)) for text in texts)


def _yaml(place: str) -> str:
    """The text of a ``.yaml``: a file that is here, or one that comes with Ultralytics."""
    if Path(place).exists():
        text = read_text(Path(place), "the .yaml of an Ultralytics network", SpecError)
        return text if "scale" in text or "scales" not in text else yaml_text(_shipped(place))
    return yaml_text(_shipped(place))


def _shipped(place: str) -> dict[str, Any]:
    tasks = ultralytics_tasks()
    try:
        content: dict[str, Any] = tasks.yaml_model_load(place)
    except (FileNotFoundError, OSError) as error:
        raise SpecError(
            f"{place}: neither a file nor a .yaml that comes with Ultralytics; expected one like yolo11n.yaml"
        ) from error
    return content


LOADERS.register(NAME)(Loader("net.pt, ultralytics:NAME.yaml", _matches, _load, _rebuild))
