"""Saved models: a directory of ``model.safetensors`` and ``plan.json``, which loads without pickle."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.arguments import check_kind, check_path
from sapwood.errors import SapwoodError, SavedModelError, ShapeError, SpecError, WeightsError
from sapwood.files import write_bytes, write_text
from sapwood.models.apply_plan import apply_plan, make_biases_
from sapwood.models.containers import map_tensors
from sapwood.models.copying import copy_model
from sapwood.models.factory_loader import bundle_of
from sapwood.models.framework import framework_of
from sapwood.models.live_masks import drop_masks_, live_masks, masked_names, restore_masks_
from sapwood.models.loads_back import check_loads_back
from sapwood.models.plan import Plan
from sapwood.models.plan_json import plan_to_dict
from sapwood.models.saved_format import (
    PLAN_NAME,
    SCHEMA_VERSION,
    WEIGHTS_NAME,
    SavedPlan,
    check_name,
    decode_plans,
    new_saved,
    plan_text,
    read_beside,
    read_plan,
    tensor_bytes,
)
from sapwood.models.spec import LOADERS, Factory, Loader, State, read_names
from sapwood.models.state_dict import infinities, load_state_, module_versions
from sapwood.reading import parse_json, read_safetensors, reading
from sapwood.types import ExampleInputs, ModelBundle, ModelSource, TaskSpec


def save_model(
    bundle: ModelBundle,
    directory: str | Path,
    *,
    plan: Plan | None = None,
    verification: object = None,
    unpruned: Iterable[object] = (),
    record: Mapping[str, Any] | None = None,
    factory: Factory | None = None,
) -> Path:
    """Writes a model so that :func:`load_saved` gives it back: weights, plans, live masks, task and source.

    Args:
        bundle: Read only. A Darknet network's ``.cfg`` is written as well, with the widths it has now.
        directory: Takes the place of the model that stood there, whole or not at all; what lies there and is not
            Sapwood's own stays.
        plan: What was removed from the model that ``bundle.source`` stands for, to make ``bundle.model``; it follows
            the plans that the source has already.
        verification: How ``plan`` was proven: a dataclass of figures.
        unpruned: What ``plan`` could not prune, each a dataclass with its reason.
        record: Anything that JSON can hold, kept under ``record``.
        factory: Makes the dense model, as for :func:`load_saved`. What a ``plan`` made is loaded from what was written
            and run beside ``bundle.model`` before anything takes the place of what stood there; without this that
            needs a source that can be built anew.

    Returns:
        ``directory``.

    Raises:
        SavedModelError: If the model's state holds anything but tensors, or NaN, ``record`` is no JSON, or what would
            be loaded does not run, or gives something else.
        CfgError: If no ``.cfg`` describes a pruned Darknet network; the message names the layer.
        ConfigError: If ``directory`` holds files, and no saved model.
        WriteError: If a file cannot be written; what stood there is there still.
    """
    check_kind("bundle", bundle, ModelBundle, "a model with its task, as sapwood.load_model returns it")
    check_path(directory, "directory")
    if plan is not None:
        bundle = replace(bundle, source=replace(bundle.source, plans=(*bundle.source.plans, plan)))
    tensors, aliases = _stored(bundle.model)
    files = {**bundle.source.files, **framework_of(bundle.model).describe(bundle.model)}
    for name in files:
        check_name(name)
    content = _content(bundle, list(files), aliases)
    content["verification"] = None if verification is None else _as_dict(verification)
    content["unpruned"] = [_as_dict(entry) for entry in unpruned]
    content["record"] = dict(record or {})
    try:
        text = plan_text(content)
    except (TypeError, ValueError) as error:
        raise SavedModelError(
            f"{directory}: the record cannot be written: {error}; expected what JSON holds"
        ) from error
    with new_saved(directory) as folder:
        write_bytes(folder / WEIGHTS_NAME, tensor_bytes(tensors, _metadata(bundle.model)))
        for name, file_text in files.items():
            write_bytes(folder / name, file_text.encode("utf-8", "surrogateescape"))  # as read_beside reads it
        write_text(folder / PLAN_NAME, text)
        if plan is not None and (factory is not None or bundle.source.kind in LOADERS):
            check_loads_back(bundle, lambda: load_saved(folder, factory=factory))
    return Path(directory)


def load_saved(directory: str | Path, *, factory: Factory | None = None) -> ModelBundle:
    """Loads what :func:`save_model` wrote.

    Args:
        directory: The directory.
        factory: Makes the dense model anew, for one that its source cannot: returns a module, a pair of it and its
            example inputs, or a bundle; or is the dense module. Its values are replaced by the saved ones. A function
            that the directory names is not called unless this process was given its name before, as by
            ``load_model("mynet:factory")``.

    Returns:
        The model in evaluation mode, its masks live, with task and source as they were saved. Parameters have the
        types that were saved; those that are frozen where the model is made are frozen.

    Raises:
        SavedModelError: If the directory is incomplete, damaged or of an unknown schema version, or does not fit what
            its source or ``factory`` builds.
    """
    check_path(directory, "directory")
    folder = Path(directory)
    saved = read_plan(folder)
    plans = decode_plans(folder, saved)
    state, kept = _read_state(folder, saved)
    files = {name: read_beside(folder, name) for name in saved.source.files}
    source = ModelSource(saved.source.spec, saved.source.kind, saved.source.weights, files, plans)
    bundle = _rebuild(folder, source, state, factory)
    with reading(folder, f"a plan and tensors of what {source.spec} builds", SavedModelError):
        if factory is not None or not framework_of(bundle.model).describes:  # its files have the widths already
            _untie_(bundle.model, state)
            bundle = replace(bundle, model=_pruned(folder, bundle.model, source, state))
        model = bundle.model
        make_biases_(model, plans, state)
        _fill_(folder, model, saved, state, kept)
        inputs = _inputs_for(model, _sized(bundle.example_inputs, bundle.task, saved.task))
    return replace(bundle, example_inputs=inputs, task=saved.task, source=source, place=str(directory))


def _fill_(
    folder: Path,
    model: nn.Module,
    saved: SavedPlan,
    state: State,
    kept: Mapping[str, str],
) -> None:
    """Gives a model of the right widths all that was saved of it."""
    _set_types_(model, state)
    path = folder / WEIGHTS_NAME
    versions = _by_name(path, kept.get("module_versions"), "its module versions", (int, str))
    known = module_versions(model) if versions is None else versions  # files of before they were kept
    infinite = _by_name(path, kept.get("infinities"), "its counts of infinities", (int,))
    try:
        load_state_(model, state, str(path), versions=known, infinite=infinite)
    except WeightsError as error:
        raise SavedModelError(f"{error}; is it another model than the one that was saved?") from error
    for alias, stored in saved.aliases.items():
        _tie_(model, alias, stored)
    framework_of(model).take_notes_(model, saved.framework)


def _content(bundle: ModelBundle, files: list[str], aliases: Mapping[str, str]) -> dict[str, Any]:
    """What ``plan.json`` says; :class:`SavedPlan` describes it."""
    source, model = bundle.source, bundle.model
    return {
        "schema_version": SCHEMA_VERSION,
        "source": {"spec": source.spec, "kind": source.kind, "weights": source.weights, "files": files},
        "task": asdict(bundle.task),
        "plans": [plan_to_dict(plan) for plan in source.plans],
        "verification": None,
        "unpruned": [],
        "masks": list(live_masks(model)),
        "aliases": dict(aliases),
        "framework": dict(framework_of(model).notes(model)),
        "record": {},
    }


def _as_dict(entry: object) -> dict[str, Any]:
    if isinstance(entry, Mapping):
        return dict(entry)
    if is_dataclass(entry) and not isinstance(entry, type):
        return asdict(entry)
    raise SavedModelError(f"a {type(entry).__name__} to be written to {PLAN_NAME}; expected a dataclass or a mapping")


def _stored(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to store, and for each name that shares one of them, the name it is stored under."""
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    places: dict[tuple[object, ...], str] = {}
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise SavedModelError(f"the state of {name} is a {type(tensor).__name__}; expected tensors only")
        if tensor.layout is not torch.strided:
            raise SavedModelError(
                f"{name} is a sparse tensor; expected dense ones, or a buffer that is made anew: "
                "register_buffer(..., persistent=False)"
            )
        place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and place in places:
            aliases[name] = places[place]
        else:
            places[place] = name
            stored = tensor.detach().cpu().contiguous()
            _check_numbers(name, stored)
            is_part = stored.untyped_storage().nbytes() != stored.nbytes
            tensors[name] = stored.clone() if is_part else stored
    return tensors, aliases


def _check_numbers(name: str, tensor: Tensor) -> None:
    """Refuses NaN while the model is still there; infinities may be meant, as those of a causal mask are."""
    bad = int(tensor.isnan().sum()) if tensor.is_floating_point() or tensor.is_complex() else 0
    if bad:
        raise SavedModelError(
            f"{name}: {bad} of {tensor.numel()} values are NaN; expected a model that computes (did training "
            "diverge?); nothing is written"
        )


def _rebuild(folder: Path, source: ModelSource, state: State, factory: Factory | None) -> ModelBundle:
    if factory is not None:
        return bundle_of(copy_model(factory) if isinstance(factory, nn.Module) else factory(), source, "factory")
    if source.kind not in LOADERS:
        raise SavedModelError(
            f"{folder}: a model of kind {source.kind!r}; expected load_saved(directory, factory=...) "
            "or sapwood.load(directory, model=...), or --model-factory package.module:factory"
        )
    with reading(folder, f"a source that can be built, not {source.spec}", SavedModelError):
        try:
            return LOADERS[source.kind].rebuild(source, state)
        except SavedModelError:
            raise
        except SapwoodError as error:
            raise SavedModelError(f"{folder}: its source {source.spec} cannot be built: {error}") from error


def _untie_(model: nn.Module, state: State) -> None:
    """Gives names that share a parameter where the model is made, and did not where it was saved, one of their own."""
    shared: dict[int, dict[int, nn.Parameter]] = defaultdict(dict)
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        stored = next((state[key] for key in (name, f"{name}_orig", name.removesuffix("_orig")) if key in state), None)
        if stored is None:
            continue
        known = shared[id(parameter)]
        if id(stored) not in known:
            known[id(stored)] = (
                nn.Parameter(parameter.detach().clone(), parameter.requires_grad) if known else parameter
            )
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path)._parameters[leaf] = known[id(stored)]


def _pruned(folder: Path, dense: nn.Module, source: ModelSource, state: State) -> nn.Module:
    """The dense model with everything removed that the plans name; values are filled in later."""
    model = dense
    try:
        for plan in source.plans:
            named = {cut.tensor for cut in plan.cuts}
            drop_masks_(model, named & set(live_masks(model)))  # masks that were permanent when the plan was made
            restore_masks_(model, masked_names(named))
            model = apply_plan(model, plan)
    except (ShapeError, AttributeError) as error:
        raise SavedModelError(
            f"{folder / PLAN_NAME}: does not fit what {source.spec} builds: {error}; is it another model?"
        ) from error
    drop_masks_(model, set(live_masks(model)) - set(masked_names(state)))
    return model.eval()


def _set_types_(model: nn.Module, state: State) -> None:
    """Gives parameters and buffers the types they were saved with; under live masks, those of what is stored."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in own.items():
        stored = state.get(name, state.get(f"{name}_orig"))
        if stored is not None and stored.dtype != tensor.dtype:
            tensor.data = tensor.data.to(stored.dtype)


def _sized(inputs: ExampleInputs, built: TaskSpec, task: TaskSpec) -> ExampleInputs:
    """Pictures of the size that was saved, where what builds a network that takes any size makes them of another."""
    if not isinstance(inputs, Tensor) or task.input_size == built.input_size:
        return inputs
    if tuple(inputs.shape[-2:]) != tuple(built.input_size) or not all(task.input_size):
        return inputs
    shape = (*inputs.shape[:-2], *task.input_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(inputs.dtype)


def _inputs_for(model: nn.Module, inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs of the type of the model's parameters, where those have one."""
    types = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if len(types) != 1:
        return inputs
    (dtype,) = types

    def convert(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return map_tensors(convert, inputs)  # type: ignore[no-any-return]


def _read_state(folder: Path, plan: SavedPlan) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a saved model, and what is kept beside them."""
    path = folder / WEIGHTS_NAME
    state, metadata = read_safetensors(path, "the weights", SavedModelError)
    for alias, stored in plan.aliases.items():
        if stored not in state:
            raise SavedModelError(f"{path}: lacks {stored}, which {PLAN_NAME} names as the tensor of {alias}")
        state[alias] = state[stored]
    for name in plan.masks:
        if f"{name}_mask" not in state:
            raise SavedModelError(f"{path}: lacks {name}_mask, which {PLAN_NAME} names as a live mask")
    return state, metadata


def _metadata(model: nn.Module) -> dict[str, str]:
    """What is kept in the weights file beside the weights."""
    counts = infinities(model.state_dict())
    known = {"infinities": json.dumps(counts)} if counts else {}
    return {"format": "pt", "module_versions": json.dumps(module_versions(model)), **known}


def _by_name(path: Path, kept: str | None, what: str, kinds: tuple[type, ...]) -> dict[str, Any] | None:
    """Values of some kinds by name that are kept beside the weights; None of a file that has none."""
    if kept is None:
        return None
    expected = " or ".join({int: "whole numbers", str: "texts"}[kind] for kind in kinds)
    found = parse_json(kept, path, f"{expected}, by name", SavedModelError)
    if not isinstance(found, dict) or not all(type(value) in kinds for value in found.values()):
        raise SavedModelError(f"{path}: damaged: {what} are {kept[:80]!r}; expected {expected} by name")
    return found


def _tie_(model: nn.Module, alias: str, stored: str) -> None:
    """Makes two names of ``model`` share one tensor, if they do not yet."""
    alias_path, _, alias_name = alias.rpartition(".")
    stored_path, _, stored_name = stored.rpartition(".")
    tensor = getattr(model.get_submodule(stored_path), stored_name)
    module = model.get_submodule(alias_path)
    if getattr(module, alias_name) is not tensor:
        setattr(module, alias_name, tensor)


def needs_factory(directory: str | Path) -> bool:
    """Whether a saved model can be built by a function of the caller's only.

    Raises:
        SavedModelError: As :func:`load_saved`.
    """
    kind = read_plan(directory).source.kind
    return kind == "factory" or kind not in LOADERS


def _load(spec: str, weights: Path | None, names: Path | None, factory: Factory | None = None) -> ModelBundle:
    if weights is not None:
        raise SpecError(f"{spec} is a saved model, which has its weights; expected no other weights ({weights})")
    bundle = load_saved(spec, factory=factory)
    if names is None:
        return bundle
    class_names = read_names(names, len(bundle.task.class_names) or None)
    return replace(bundle, task=replace(bundle.task, class_names=class_names))


def _nothing_to_rebuild(source: ModelSource, state: State) -> ModelBundle:
    raise SavedModelError(f"{source.spec}: a saved model keeps the source it was made from, not its directory")


LOADERS.register("saved")(
    Loader(
        "a directory that Sapwood wrote",
        lambda spec: spec != "" and Path(spec).is_dir(),
        _load,
        _nothing_to_rebuild,
        load_by=_load,
    )
)
