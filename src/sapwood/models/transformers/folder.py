"""What a folder of the hub's holds: its configuration, checked before anything is built, and where its weights are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapwood.errors import SpecError
from sapwood.foreign import foreign
from sapwood.models.transformers.kinds import adapter, beside_file, from_hub, of_timm, other_folder
from sapwood.reading import parse_json, read_json, read_text

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
"""Weights in other forms, which are not read."""

EXPECTED = "a folder as save_pretrained writes it: config.json, model.safetensors, and the files of a tokenizer"
CHOOSES_CODE = (
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
)
"""Fields that choose kernels, some of which transformers would download."""


def config_text(folder: Path) -> str:
    """The text of a folder's ``config.json``.

    Raises:
        SpecError: If there is no such folder, or none in it.
    """
    if folder.is_file():
        raise SpecError(f"{folder}: is a file; expected {EXPECTED}{beside_file(folder)}")
    if not folder.is_dir():
        brought = from_hub(str(folder))
        raise SpecError(f"{folder}: there is no such folder; expected {EXPECTED}. Nothing is downloaded{brought}")
    if not (folder / CONFIG).is_file():
        held = adapter(folder)
        raise SpecError(f"{folder}: {held}" if held else _without(folder, CONFIG, EXPECTED))
    return read_text(folder / CONFIG, "the configuration of a model", SpecError)


def read_config(text: str, where: str | Path) -> dict[str, Any]:
    """Reads the text of a ``config.json``.

    Raises:
        SpecError: If it is none, names code of its own, or numbers that Sapwood cannot prune.
    """
    content = parse_json(text, where, "the configuration of a model", SpecError)
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        other = of_timm(content, Path(where).parent)
        raise SpecError(f"{where}: names no model_type; expected the {CONFIG} of a model of transformers{other}")
    refuse_code(content, where)
    chosen = content.get("quantization_config")
    if chosen:
        method = chosen.get("quant_method") if isinstance(chosen, dict) else None
        named = f" ({method})" if isinstance(method, str) else ""
        raise SpecError(
            f"{where}: has a quantization_config{named}; expected weights in floating point: prune first, then quantise"
        )
    architectures = content.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise SpecError(f"{where}: architectures: {architectures!r}; expected a list of names of classes")
    return {name: value for name, value in content.items() if name not in CHOOSES_CODE}


def refuse_code(content: Mapping[str, Any], where: str | Path) -> None:
    """Refuses what names Python code beside it.

    Raises:
        SpecError: If it does.
    """
    if content.get("auto_map"):
        names = ", ".join(sorted(map(str, content["auto_map"])))
        raise SpecError(
            f"{where}: auto_map names code of its own ({names}); expected a model whose code is transformers' own. "
            "Nothing of it was executed"
        )


def check_weights(folder: Path) -> None:
    """Checks that the weights are there as safetensors, every part of them.

    Raises:
        SpecError: If not; what is there instead is named.
    """
    if adapter(folder):
        raise SpecError(f"{folder}: {adapter(folder)}")
    if (folder / WEIGHTS).exists():
        _check_file(folder / WEIGHTS)
        return
    if (folder / INDEX).exists():
        _check_parts(folder)
        return
    found = [name for name in PICKLED if (folder / name).exists()]
    if found:
        raise SpecError(
            f"{folder}: holds its weights as {found[0]} only; expected {WEIGHTS}: from_pretrained and save_pretrained "
            "of transformers write it, where you trust the file"
        )
    raise SpecError(_without(folder, WEIGHTS, f"{EXPECTED}, or weights beside it"))


def _without(folder: Path, name: str, expected: str) -> str:
    other = other_folder(folder)
    return f"{folder}: holds no {name}; expected {expected}{'.' if other else ''}{other}"


def _check_file(path: Path) -> None:
    """Names what is no file of weights at all, but stands where one should."""
    what = foreign(path)
    if what:
        raise SpecError(f"{path}: {what}; expected the weights of a model")


def _check_parts(folder: Path) -> None:
    """Checks the parts that an index names."""
    content = read_json(folder / INDEX, "an index of the parts of the weights", SpecError)
    parts = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
        raise SpecError(f"{folder / INDEX}: has no weight_map; expected tensors, each with the file that holds it")
    for name in sorted(set(parts.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise SpecError(f"{folder / INDEX}: names {name!r}; expected .safetensors files of this folder")
        if not (folder / name).is_file():
            raise SpecError(f"{folder}: lacks {name}, which {INDEX} names; expected every part of the weights")
        _check_file(folder / name)
