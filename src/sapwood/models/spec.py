"""From a model specification to a :class:`~sapwood.types.ModelBundle`, by the loader that knows its kind."""

from __future__ import annotations

import codecs
import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torch import Tensor, nn

from sapwood.arguments import check_path
from sapwood.errors import SpecError
from sapwood.models.meant_specs import meant_spec
from sapwood.reading import is_plain, read_bytes, shown
from sapwood.registry import Registry
from sapwood.types import ModelBundle, ModelSource

State: TypeAlias = Mapping[str, Tensor]
"""The tensors of a model by name, as ``state_dict`` gives them."""

Factory: TypeAlias = "Callable[[], object] | nn.Module"
"""Makes the dense model: a function without arguments, or the model itself, which is copied."""


@dataclass(frozen=True)
class NamedBuild:
    """How a library builds a model that it has a name for, dense and with random weights.

    Attributes:
        imports: The line of Python that imports the library.
        expression: The call that builds the model.
        make: The same call.
    """

    imports: str
    expression: str
    make: Callable[[], nn.Module]


@dataclass(frozen=True)
class Loader:
    """Reads one kind of model specification.

    Attributes:
        form: How a specification of this kind looks, for messages.
        matches: Whether a specification is of this kind.
        load: Reads a specification, with the weights and the class names given beside it.
        rebuild: Builds the architecture of a source again, for tensors like these; their values are filled in later.
        load_by: The same as ``load`` with the factory that makes the dense model; None where there is no dense model.
        built: Of a specification, and what was made of its model: how its library builds the dense one by name.
    """

    form: str
    matches: Callable[[str], bool]
    load: Callable[[str, Path | None, Path | None], ModelBundle]
    rebuild: Callable[[ModelSource, State], ModelBundle]
    load_by: Callable[[str, Path | None, Path | None, Factory], ModelBundle] | None = None
    built: Callable[[str, nn.Module], NamedBuild] | None = None


LOADERS: Registry[Loader] = Registry("model kind", entry_points="sapwood.loaders")
"""The loaders by kind; a file of this folder registers each."""


def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    names: str | Path | None = None,
    factory: Factory | None = None,
) -> ModelBundle:
    """Loads a model.

    Args:
        spec: What to load: ``net.cfg`` (Darknet), ``torchvision:NAME``, ``timm:NAME``, ``package.module:factory``,
            ``folder/file.py:factory``, or a directory that :func:`~sapwood.models.save_model` wrote.
        weights: Darknet ``.weights`` for a ``.cfg``, a state dict (``.safetensors``, ``.pth``) for the others. Without
            it the weights are random.
        names: A file of class names, one a line. Without it: the ``.names`` file beside a ``.cfg`` that has as many
            lines as there are classes, or what the model's library says.
        factory: Of a directory whose model came from a function of yours, which no file is trusted to name: makes the
            dense model, as in :func:`~sapwood.models.load_saved`.

    Returns:
        The model in evaluation mode, with example inputs, task and source.

    Raises:
        SpecError: If ``spec`` is of no known kind, names nothing that can be loaded, or has no use for ``factory``.
        CfgError: If a ``.cfg`` cannot be read or built.
        WeightsError: If ``weights`` does not fit the model.
        SavedModelError: If a saved directory is damaged.
        MissingDependencyError: If the model's library is not installed.
    """
    check_path(spec, "spec")
    for name, path in (("weights", weights), ("names", names)):
        if path is not None:
            check_path(path, name)
    spec = str(spec)
    files = None if weights is None else Path(weights), None if names is None else Path(names)
    for kind in LOADERS:
        if LOADERS[kind].matches(spec):
            return _load(LOADERS[kind], spec, *files, factory)
    forms = ", ".join(LOADERS[kind].form for kind in LOADERS)
    raise SpecError(f"{spec!r} names no model; expected one of: {forms}{meant_spec(spec, (LOADERS['builtin'].form,))}")


def near_names(name: str, known: Iterable[str]) -> str:
    """The names of a library that are spelled like one that it has not, for messages.

    Examples:
        >>> near_names("resnet51", ["resnet50", "vgg16", "resnet101"])
        'resnet50, resnet101'
        >>> near_names("x", ["resnet50"])
        'none alike'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=5, cutoff=0.7)
    close += [one for one in names if name.lower() in one and one not in close]
    return ", ".join(close[:5]) or "none alike"


def _load(loader: Loader, spec: str, weights: Path | None, names: Path | None, factory: Factory | None) -> ModelBundle:
    if factory is None:
        return loader.load(spec, weights, names)
    if loader.load_by is None:
        raise SpecError(f"{spec} needs no factory; expected a saved directory, whose dense model a factory makes")
    return loader.load_by(spec, weights, names, factory)


def _decoded(path: Path) -> str:
    """The text of a file; bytes that are not UTF-8, of other encodings, are written out."""
    data = read_bytes(path, "a file of class names", SpecError, limited_by="text_bytes")
    text = data.decode("utf-8-sig", "backslashreplace")
    if text.encode() != data.removeprefix(codecs.BOM_UTF8):
        warnings.warn(f"{path}: is not UTF-8 text; its other bytes are written as \\xc4", stacklevel=4)
    return text


def read_names(path: Path, count: int | None = None) -> tuple[str, ...]:
    """Reads class names, one a line; empty lines do not count.

    Args:
        path: The file.
        count: The number of classes it must name; any number where None.

    Raises:
        SpecError: If the file cannot be read, names another number of classes, or a name is no text that can be shown.
    """
    lines = _decoded(path).splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if count is not None and len(names) != count:
        raise SpecError(f"{path}: {len(names)} class names; expected {count}, one a class of the model")
    garbled = [name for name in names if not is_plain(name)]
    if garbled:
        raise SpecError(f"{path}: the class name {shown(garbled[0])} holds control characters; expected none")
    return names
