"""Writes a transformers model as a folder that ``from_pretrained`` loads, without Sapwood, pruned or not."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapwood.errors import CheckFailedError, ConfigError, ExportError, SpecError
from sapwood.export.base import EXPORTERS, Exported, ExportOptions, explained
from sapwood.export.flat import plain_copy
from sapwood.export.numeric import FLOAT32_TOLERANCE, check_equal
from sapwood.files import check_directory, new_directory
from sapwood.graph import output_tensors, run_model
from sapwood.models import check_built, config_module, config_skeleton
from sapwood.types import ExampleInputs

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "generation_config.json")

BESIDE = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("vocab.txt", "merges.txt", "spiece.model", "tokenizer.model", "preprocessor_config.json"),
    *("processor_config.json", "chat_template.jinja", "sentencepiece.bpe.model"),
)
"""What else is in such folders, for the tokenizer or the pictures."""


def export_transformers(model: nn.Module, example_inputs: ExampleInputs, path: str | Path) -> Exported:
    """Writes a model as ``config.json`` and safetensors, loads that with transformers alone, runs it and compares.

    Args:
        model: A model of transformers, or one that holds it. Read only; its live masks become zeros. Pruned, it needs
            to be with ``Limits(as_config=True)``: no config says widths that differ from layer to layer.
        example_inputs: For its ``forward``.
        path: The folder; new, empty, or one that holds such a model.

    Returns:
        The files and the difference found.

    Raises:
        SpecError: If there is no model of transformers.
        ExportError: If its config does not build it; the text says which tensor is another.
        CheckFailedError: If the folder, loaded, gives other results.
        WriteError: If it cannot be written.
    """
    check_directory(path, CONFIG)
    folder, name = Path(path), config_module(model)
    if name is None:
        raise SpecError(f"a {type(model).__name__} cannot be written as a folder of transformers; expected its models")
    whole = plain_copy(model).cpu()
    own: Any = whole.get_submodule(name)
    _check_sayable(own)
    with new_directory(folder, CONFIG, WEIGHTS) as made:
        with explained(model, "a folder of transformers"), _without_bars():
            own.save_pretrained(made)
            _copy_beside(model, own, made)
            again = _loaded(own, made)
        error = _compared(whole, name, again, example_inputs, str(folder))
        names = [file.name for file in sorted(made.iterdir())]
    return Exported("transformers", tuple(folder / one for one in names), error, FLOAT32_TOLERANCE)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keeps the package's progress bars from the console."""
    logging = importlib.import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_sayable(own: Any) -> None:
    """Refuses what no config says.

    Raises:
        ExportError: If the config builds other tensors.
    """
    try:
        check_built(own, config_skeleton(own))
    except ConfigError as error:
        raise ExportError(
            f"{error}; expected one that was pruned with --as-config (Limits(as_config=True)), or not at all"
        ) from error


def _copy_beside(model: nn.Module, own: Any, made: Path) -> None:
    """Writes the tokenizer and the like: as the model keeps them, or from the folder that it was loaded from."""
    kept = getattr(model, "files", None)
    texts = {name: text for name, text in kept.items() if name in BESIDE} if isinstance(kept, Mapping) else {}
    for name, text in texts.items():
        (made / name).write_text(text, encoding="utf-8")
    source = str(getattr(own, "name_or_path", "") or "")
    for name in BESIDE if source and not texts else ():
        if (Path(source) / name).is_file():
            shutil.copy(Path(source) / name, made / name)


def _loaded(own: Any, made: Path) -> Any:
    """What transformers makes of the folder, by the class that its ``config.json`` names."""
    transformers = importlib.import_module("transformers")
    config = transformers.AutoConfig.from_pretrained(made)
    kind = getattr(transformers, (config.architectures or [""])[0], type(own))
    again, told = kind.from_pretrained(made, dtype=own.dtype, output_loading_info=True)
    wrong = {what: found for what, found in told.items() if found}
    if wrong:
        raise CheckFailedError(f"{made.name}: transformers loads it with {wrong}; expected every tensor, and no other")
    return again.eval()


def _compared(whole: nn.Module, name: str, again: nn.Module, example_inputs: ExampleInputs, what: str) -> float:
    """How far the loaded model is from the one that was written."""
    inputs = _on_processor(example_inputs)
    with torch.no_grad():
        wanted = output_tensors(run_model(whole, inputs))
        if name:
            parent, _, leaf = name.rpartition(".")
            setattr(whole.get_submodule(parent), leaf, again)
            again = whole
        found = output_tensors(run_model(again, inputs))
    return check_equal(what, found, wanted)


def _on_processor(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: _on_processor(value) for name, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return type(inputs)(_on_processor(value) for value in inputs)
    return inputs.cpu() if isinstance(inputs, torch.Tensor) else inputs


class TransformersExporter:
    """A folder."""

    name = "transformers"
    suffix = ""
    has_batch = False

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Calls :func:`export_transformers`."""
        del options
        return export_transformers(model, example_inputs, path)


EXPORTERS.register("transformers")(TransformersExporter())
