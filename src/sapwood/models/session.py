"""``sapwood.save`` and ``sapwood.load``: what pruning returned, to a directory and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from sapwood.arguments import check_example_inputs, check_kind, check_path, described
from sapwood.errors import ConfigError, SpecError
from sapwood.models.framework import framework_of
from sapwood.models.plan import Plan
from sapwood.models.saved import load_saved, save_model
from sapwood.models.spec import Factory
from sapwood.types import ExampleInputs, ModelBundle


class Compact(Protocol):
    """What :func:`sapwood.prune` and :func:`sapwood.compact` return, as far as saving is concerned."""

    @property
    def model(self) -> nn.Module:
        """The smaller model."""

    @property
    def plan(self) -> Plan:
        """What was removed."""

    @property
    def verification(self) -> Any:
        """How that was proven: a dataclass."""


def save(
    pruned: Compact,
    directory: str | Path,
    source: ModelBundle | None = None,
    *,
    model: Factory | None = None,
    example_inputs: ExampleInputs | None = None,
) -> Path:
    """Writes a pruned model as ``model.safetensors`` and ``plan.json``; nothing in them is ever executed.

    Args:
        pruned: What :func:`sapwood.prune` or :func:`sapwood.compact` returned. Read only.
        directory: Takes the place of what stood there, whole or not at all.
        source: What the model was pruned from, where :func:`sapwood.load_model` gave it: the directory then loads by
            itself, on the command line as well, and keeps task and class names. A Darknet network needs none for that;
            one that a function of yours made needs that function, too, for no file is trusted to name it.
        model: The dense model's factory or a dense model as it is made, as for :func:`load`: what was written is then
            loaded with it, and run beside the pruned model. A ``source`` that can be built anew needs none for that.
        example_inputs: What both are run with, where ``source`` has none.

    Returns:
        ``directory``.

    Raises:
        SavedModelError: If the model's state holds anything but tensors, or NaN, or what would be loaded does not run,
            or gives something else.
        CfgError: If no ``.cfg`` describes a pruned Darknet network; the message names the layer.
    """
    if not all(hasattr(pruned, name) for name in ("model", "plan", "verification")):
        own = "; sapwood.save_model writes a ModelBundle" if isinstance(pruned, nn.Module | ModelBundle) else ""
        raise ConfigError(
            f"pruned is {described(pruned)}; expected what sapwood.prune or sapwood.compact returned{own}"
        )
    check_path(directory, "directory")
    if source is not None:
        check_kind("source", source, ModelBundle, "what sapwood.load_model returned, or None")
    small = pruned.model
    bundle = replace(source, model=small) if source is not None else framework_of(small).bundle(small)
    if example_inputs is not None:
        check_example_inputs(example_inputs)
        bundle = replace(bundle, example_inputs=example_inputs)
    unpruned: Iterable[object] = getattr(pruned, "unpruned", ())
    return save_model(
        bundle, directory, plan=pruned.plan, verification=pruned.verification, unpruned=unpruned, factory=model
    )


def load(directory: str | Path, model: Factory | None = None) -> nn.Module:
    """Loads a model that Sapwood saved.

    Args:
        directory: What :func:`sapwood.save` or :func:`sapwood.save_model` wrote.
        model: The dense model's factory, a function without arguments, or a dense model itself, which is not touched.
            None where the directory says itself what it was made from.

    Returns:
        The model in evaluation mode, with outputs bit for bit those of the model that was saved.

    Raises:
        SavedModelError: If the directory is damaged, or does not fit what ``model`` makes; the message names the file,
            the tensor, what came and what was expected.
    """
    if model is not None and not callable(model):
        raise SpecError(f"model is a {type(model).__name__}; expected the dense model, or a function that makes it")
    return load_saved(directory, factory=model).model
