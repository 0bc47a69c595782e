"""Saved models: a directory of ``model.safetensors`` and ``plan.json``, which loads without pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pydantic
import safetensors
import safetensors.torch
from torch import Tensor, nn

from sapwood.errors import SapwoodError, SavedModelError, SpecError, WeightsError
from sapwood.files import new_directory, write_bytes, write_json, write_text
from sapwood.models.darknet import DarknetNetwork, Header, write_cfg
from sapwood.models.darknet_loader import CFG_NAME
from sapwood.models.factory_loader import bundle_of
from sapwood.models.live_masks import live_masks
from sapwood.models.spec import LOADERS, Loader, State, read_names
from sapwood.models.state_dict import load_state_
from sapwood.types import ModelBundle, ModelSource, TaskSpec

SCHEMA_VERSION = 1
WEIGHTS_NAME = "model.safetensors"
PLAN_NAME = "plan.json"


class SavedSource(pydantic.BaseModel):
    """Where the model came from, as ``plan.json`` says it; ``files`` are the names of files beside it."""

    model_config = pydantic.ConfigDict(extra="forbid")

    spec: str
    kind: str
    weights: str | None
    files: tuple[str, ...]


class SavedPlan(pydantic.BaseModel):
    """What ``plan.json`` holds.

    Attributes:
        schema_version: Of this description.
        source: Where the model came from.
        task: What it is for.
        masks: The parameters under a live mask.
        aliases: Names that share the tensor of another name, which is the one stored.
        darknet_header: The header of the ``.weights`` file the model was read from.
        record: Whatever the caller gave, such as what was done to the model.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    schema_version: int
    source: SavedSource
    task: TaskSpec
    masks: tuple[str, ...]
    aliases: dict[str, str]
    darknet_header: tuple[int, int, int, int] | None
    record: dict[str, Any]


def save_model(bundle: ModelBundle, directory: str | Path, *, record: Mapping[str, Any] | None = None) -> Path:
    """Writes a model so that :func:`load_saved` gives it back: weights, live masks, task and source.

    Args:
        bundle: Read only. A Darknet network's ``.cfg`` is written as well.
        directory: Takes the place of what stood there, whole or not at all.
        record: Anything that JSON can hold, kept under ``record``.

    Returns:
        ``directory``.

    Raises:
        SavedModelError: If the model's state holds anything but tensors, or ``record`` is no JSON.
    """
    tensors, aliases = _stored(bundle.model)
    files = dict(bundle.source.files)
    if isinstance(bundle.model, DarknetNetwork):
        files[CFG_NAME] = write_cfg(bundle.model.cfg)
    for name in files:
        _check_name(name)
    plan = _plan(bundle, list(files), aliases, record or {})
    try:
        json.dumps(plan, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SavedModelError(
            f"{directory}: the record cannot be written: {error}; expected what JSON holds"
        ) from error
    with new_directory(directory) as folder:
        write_bytes(folder / WEIGHTS_NAME, safetensors.torch.save(tensors, metadata={"format": "pt"}))
        for name, text in files.items():
            write_text(folder / name, text)
        write_json(folder / PLAN_NAME, plan)
    return Path(directory)


def load_saved(directory: str | Path, *, factory: Callable[[], object] | None = None) -> ModelBundle:
    """Loads what :func:`save_model` wrote.

    Args:
        directory: The directory.
        factory: Makes the model anew, for one that its source spec cannot: returns a module, a pair of it and its
            example inputs, or a bundle. Its values are replaced by the saved ones.

    Returns:
        The model in evaluation mode, its masks live, with task and source as they were saved.

    Raises:
        SavedModelError: If the directory is incomplete, damaged or of an unknown schema version, or does not fit what
            its source or ``factory`` builds.
    """
    folder = Path(directory)
    plan = read_plan(folder)
    state = _read_state(folder, plan)
    files = {name: _read_text(folder / _check_name(name)) for name in plan.source.files}
    source = ModelSource(plan.source.spec, plan.source.kind, plan.source.weights, files)
    bundle = _rebuild(folder, source, state, factory)
    try:
        load_state_(bundle.model, state, str(folder / WEIGHTS_NAME))
    except WeightsError as error:
        raise SavedModelError(f"{error}; is it another model than the one that was saved?") from error
    for alias, stored in plan.aliases.items():
        _tie_(bundle.model, alias, stored)
    if isinstance(bundle.model, DarknetNetwork) and plan.darknet_header is not None:
        bundle.model.header = Header(*plan.darknet_header)
    return replace(bundle, task=plan.task, source=source)


def read_plan(directory: str | Path) -> SavedPlan:
    """Reads the ``plan.json`` of a saved model.

    Raises:
        SavedModelError: If it is missing, damaged or of an unknown schema version.
    """
    path = Path(directory) / PLAN_NAME
    text = _read_text(path)
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise SavedModelError(f"{path}: damaged, or not written by Sapwood ({error!r})") from error
    if version != SCHEMA_VERSION:
        raise SavedModelError(f"{path}: schema version {version!r}; expected {SCHEMA_VERSION}")
    try:
        return SavedPlan.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SavedModelError(f"{path}: {place}: {first['msg']}") from error


def _plan(
    bundle: ModelBundle, files: list[str], aliases: Mapping[str, str], record: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``plan.json`` says; :class:`SavedPlan` describes it."""
    source, model = bundle.source, bundle.model
    return {
        "schema_version": SCHEMA_VERSION,
        "source": {"spec": source.spec, "kind": source.kind, "weights": source.weights, "files": files},
        "task": asdict(bundle.task),
        "masks": list(live_masks(model)),
        "aliases": dict(aliases),
        "darknet_header": list(asdict(model.header).values()) if isinstance(model, DarknetNetwork) else None,
        "record": dict(record),
    }


def _stored(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to store, and for each name that shares one of them, the name it is stored under."""
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    places: dict[tuple[object, ...], str] = {}
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise SavedModelError(f"the state of {name} is a {type(tensor).__name__}; expected tensors only")
        place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and place in places:
            aliases[name] = places[place]
        else:
            places[place] = name
            stored = tensor.detach().cpu().contiguous()
            is_part = stored.untyped_storage().nbytes() != stored.nbytes
            tensors[name] = stored.clone() if is_part else stored
    return tensors, aliases


def _rebuild(folder: Path, source: ModelSource, state: State, factory: Callable[[], object] | None) -> ModelBundle:
    if factory is not None:
        return bundle_of(factory(), source, "factory")
    if source.kind not in LOADERS:
        raise SavedModelError(f"{folder}: a model of kind {source.kind!r}; expected load_saved(directory, factory=...)")
    try:
        return LOADERS[source.kind].rebuild(source, state)
    except SavedModelError:
        raise
    except SapwoodError as error:
        raise SavedModelError(f"{folder}: its source {source.spec} cannot be built: {error}") from error


def _read_state(folder: Path, plan: SavedPlan) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    try:
        state: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise SavedModelError(f"{path}: missing or damaged ({error}); expected the weights") from error
    for alias, stored in plan.aliases.items():
        if stored not in state:
            raise SavedModelError(f"{path}: lacks {stored}, which {PLAN_NAME} names as the tensor of {alias}")
        state[alias] = state[stored]
    for name in plan.masks:
        if f"{name}_mask" not in state:
            raise SavedModelError(f"{path}: lacks {name}_mask, which {PLAN_NAME} names as a live mask")
    return state


def _tie_(model: nn.Module, alias: str, stored: str) -> None:
    """Makes two names of ``model`` share one tensor, if they do not yet."""
    alias_path, _, alias_name = alias.rpartition(".")
    stored_path, _, stored_name = stored.rpartition(".")
    tensor = getattr(model.get_submodule(stored_path), stored_name)
    module = model.get_submodule(alias_path)
    if getattr(module, alias_name) is not tensor:
        setattr(module, alias_name, tensor)


def _read_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        raise SavedModelError(f"{path}: cannot be read ({error.strerror}); expected a saved model") from error
    except UnicodeDecodeError as error:
        raise SavedModelError(f"{path}: damaged: not UTF-8 text") from error


def _check_name(name: str) -> str:
    if Path(name).name != name or name in {"", ".", "..", PLAN_NAME, WEIGHTS_NAME}:
        raise SavedModelError(f"{name!r} is no name for a file beside {PLAN_NAME}")
    return name


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    if weights is not None:
        raise SpecError(f"{spec} is a saved model, which has its weights; expected no other weights ({weights})")
    bundle = load_saved(spec)
    if names is None:
        return bundle
    class_names = read_names(names, len(bundle.task.class_names) or None)
    return replace(bundle, task=replace(bundle.task, class_names=class_names))


def _nothing_to_rebuild(source: ModelSource, state: State) -> ModelBundle:
    raise SavedModelError(f"{source.spec}: a saved model keeps the source it was made from, not its directory")


LOADERS.register("saved")(
    Loader(
        "a directory that Sapwood wrote", lambda spec: spec != "" and Path(spec).is_dir(), _load, _nothing_to_rebuild
    )
)
