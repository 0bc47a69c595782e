"""Loads ``package.module:factory`` and ``file.py:factory``: whatever a function of the user's own returns."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import SapwoodError, SpecError
from sapwood.meant import meant_name, meant_path
from sapwood.models.copying import copy_model
from sapwood.models.meant_specs import meant_prefix
from sapwood.models.spec import LOADERS, Loader, State, read_names
from sapwood.models.state_dict import fitted_state, load_state_, read_state
from sapwood.types import ModelBundle, ModelSource, TaskSpec

_typed: set[str] = set()
"""The specifications that the caller named in this process: what a file names is not called for that."""

_NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_FORM = re.compile(rf"{_NAME}:{_NAME}")
_FILE_FORM = re.compile(rf"(?P<file>.+\.py):{_NAME}", re.DOTALL)


FORM = "package.module:factory, file.py:factory"
"""How a factory is named, for messages."""


def find_factory(spec: str) -> Callable[[], object]:
    """Returns the function that a caller's specification names, and remembers it; see :func:`remember_factory`.

    Args:
        spec: ``package.module:factory``, or ``folder/file.py:factory``, from whoever started this process: never from a
            file that is only read.

    Raises:
        SpecError: If it names nothing that can be called.
    """
    if not _matches(spec):
        raise SpecError(f"{spec!r} names no factory; expected {FORM}")
    remember_factory(spec)
    with _as_python_finds(spec):
        factory = _find(spec)
    return lambda: _called(factory, spec)


def is_factory(spec: str) -> bool:
    """Whether a specification is ``package.module:factory`` or ``file.py:factory``, code to run."""
    return _matches(spec)


def remember_factory(spec: str) -> None:
    """Lets saved directories that name ``spec`` be built by it for the rest of this process.

    Args:
        spec: What the caller typed; anything but ``package.module:factory`` or ``file.py:factory`` is no factory, and
            nothing happens.
    """
    if _matches(spec):
        _typed.add(spec)


def bundle_of(made: object, source: ModelSource, called: str) -> ModelBundle:
    """Returns the bundle that a factory's result stands for.

    Args:
        made: A module; a module and its example inputs; or a bundle. A module alone has no example inputs, ``()``.
        source: The source the bundle gets.
        called: What was called, for messages.

    Raises:
        SpecError: If ``made`` is anything else.
    """
    if isinstance(made, ModelBundle):
        made.model.eval()
        return replace(made, source=source)
    if isinstance(made, nn.Module):
        return ModelBundle(made.eval(), (), TaskSpec("none"), source)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return ModelBundle(made[0].eval(), made[1], TaskSpec("none"), source)
    raise SpecError(
        f"{called} returned a {type(made).__name__}; expected a torch.nn.Module, a pair of it and its example inputs, "
        "or a sapwood.types.ModelBundle"
    )


def _load(spec: str, weights: Path | None, names: Path | None) -> ModelBundle:
    source = ModelSource(spec, "factory", None if weights is None else str(weights))
    bundle = _build(source)
    if weights is not None:
        load_state_(bundle.model, fitted_state(read_state(weights), bundle.model, str(weights)), str(weights))
    if names is not None:
        bundle = replace(bundle, task=replace(bundle.task, class_names=read_names(names)))
    return bundle


def _rebuild(source: ModelSource, state: State) -> ModelBundle:
    """What a file names is called only if the caller has named it, too."""
    if source.spec in _typed:
        return _build(source)
    if not _matches(source.spec):
        raise SpecError(f"{source.spec[:80]!r} names no factory; expected {FORM}")
    raise SpecError(
        f"no file decides what is imported and called; expected the factory from you: --model-factory {source.spec}, "
        "or in Python sapwood.load(directory, model=factory), load_model(directory, factory=factory)"
    )


def _build(source: ModelSource) -> ModelBundle:
    bundle = bundle_of(find_factory(source.spec)(), source, source.spec)
    _check_runs(bundle)
    return bundle


def _check_runs(bundle: ModelBundle) -> None:
    """Checks that a model runs on the example inputs that came with it, as every verb is going to do."""
    inputs: Any = bundle.example_inputs
    if isinstance(inputs, tuple) and not inputs:
        return
    if not isinstance(inputs, Tensor | tuple | list | Mapping):
        return  # what uses it says what was expected
    fault = None
    with torch.random.fork_rng(devices=[]), torch.no_grad(), suppress(SapwoodError):  # of what cannot be copied
        model = copy_model(bundle.model)
        try:
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(*((inputs,) if isinstance(inputs, Tensor) else inputs))
        except Exception as error:
            fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if fault is not None:
        raise SpecError(
            f"{bundle.source.spec}: its model does not run on its example inputs: {fault}; expected a tensor, a tuple "
            "of positional or a dict of keyword arguments that it takes"
        )


def _called(factory: Callable[[], object], spec: str) -> object:
    with _as_python_finds(spec):
        try:
            return factory()
        except SapwoodError:
            raise
        except Exception as error:
            raise SpecError(f"{spec} failed: {type(error).__name__}: {error}") from error


def _find(spec: str) -> Callable[[], Any]:
    module_name, _, path = spec.rpartition(":")
    try:
        found: Any = _module_of(module_name) if _is_file(spec) else importlib.import_module(module_name)
    except SpecError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        absent = f"no file {module_name}" if module_name.endswith(".py") else f"no module {missing!r}"
        meant = meant_prefix(module_name)
        raise SpecError(f"{spec}: {absent}; expected one that Python finds from {os.getcwd()}{meant}") from error
    except Exception as error:
        raise SpecError(f"{spec}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            meant = meant_name(part, [name for name in vars(found) if callable(getattr(found, name, None))])
            raise SpecError(f"{spec}: {module_name} has no {path!r}; expected a function or a class{meant}")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, nn.Module):
        kind = f"module ({type(found).__name__})" if isinstance(found, nn.Module) else type(found).__name__
        expected = "a function or a class to call without arguments, which gives the module"
        raise SpecError(f"{spec} is a {kind} itself; expected {expected}")
    return found  # type: ignore[no-any-return]


def _module_of(path: str) -> ModuleType:
    """The module that a file is, once a process."""
    file = Path(path).resolve()
    if not file.is_file():
        raise SpecError(f"{path}: no such file; expected one of Python that has the factory{meant_path(path)}")
    name = f"{file.stem}_{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None  # the name ends in .py
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _as_python_finds(spec: str) -> Iterator[None]:
    """Modules beside a file, or of the working directory, are found first: as for ``python file.py``, ``python -m``."""
    folder = str(Path(spec.rpartition(":")[0]).resolve().parent) if _is_file(spec) else os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _matches(spec: str) -> bool:
    return _is_file(spec) or (_FORM.fullmatch(spec) is not None and spec.partition(":")[0] not in LOADERS)


def _is_file(spec: str) -> bool:
    found = _FILE_FORM.fullmatch(spec)
    return found is not None and (_FORM.fullmatch(spec) is None or os.path.isfile(found["file"]))


LOADERS.register("factory")(Loader(FORM, _matches, _load, _rebuild))
