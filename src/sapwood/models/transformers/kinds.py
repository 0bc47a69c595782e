"""What a folder is that holds no model of transformers, for messages: told by the names of its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sapwood.errors import SapwoodError
from sapwood.reading import read_json

_ADAPTER = "adapter_config.json"
_PIPELINE = "model_index.json"
_DEPTH, _MOST, _NAMED = 2, 200, 3


def adapter(folder: Path) -> str:
    """What an adapter is for, and what to do with it; empty where the folder holds none."""
    if not (folder / _ADAPTER).exists():
        return ""
    base = _content(folder / _ADAPTER).get("base_model_name_or_path")
    made_for = f" for {base}" if isinstance(base, str) and base else ""
    return (
        f"holds an adapter ({_ADAPTER}){made_for}; expected a model that it was merged into: merge_and_unload() of "
        "peft, then save_pretrained"
    )


def other_folder(folder: Path) -> str:
    """What a folder without a ``config.json`` or without weights holds instead; empty where nothing is known.

    Examples:
        >>> other_folder(Path("no/such/folder"))
        ''
    """
    if (folder / _PIPELINE).exists():
        return (
            f" It is a pipeline of diffusers ({_PIPELINE}), of which the parts of transformers are read{_meant(folder)}"
        )
    try:
        names = sorted(one.name for one in folder.iterdir())[:_MOST]
    except OSError:
        return ""
    found = [name for name in names if name.endswith(".gguf")]
    if found:
        return f" {found[0]} is for llama.cpp; the folder that it was converted from is what can be pruned"
    parts = [name for name in names if "-of-" in name and name.endswith(".safetensors")]
    if parts:
        return (
            f" {parts[0]} is a part of the weights, and model.safetensors.index.json, which names them all, is missing"
        )
    meant = _meant(folder)
    return f" Models are inside of it{meant}" if meant else ""


def of_timm(content: object, folder: Path) -> str:
    """What to say where a ``config.json`` is timm's; empty where it is not."""
    name = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(name, str) or not name.replace("_", "").replace(".", "").isalnum():
        return ""
    return f"; this one is timm's: expected timm:{name} --weights {folder / 'model.safetensors'}"


def beside_file(path: Path) -> str:
    """The folder that was meant where a file of it was named; empty where it is none of a model."""
    return f"; did you mean transformers:{path.parent}?" if (path.parent / "config.json").is_file() else ""


def from_hub(name: str) -> str:
    """How a name of the hub becomes a folder; empty for what is none.

    Examples:
        >>> from_hub("google/vit")
        ' (hf download google/vit --local-dir vit brings a model of the hub, which is then transformers:vit)'
        >>> from_hub("/tmp/none")
        ''
    """
    parts = name.split("/")
    if len(parts) > 2 or not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts):
        return ""
    own = parts[-1]
    return f" (hf download {name} --local-dir {own} brings a model of the hub, which is then transformers:{own})"


def _meant(folder: Path) -> str:
    inside = [f"transformers:{one}" for one in _inside(folder, _DEPTH)][:_NAMED]
    return f"; did you mean {' or '.join(inside)}?" if inside else ""


def _inside(folder: Path, depth: int) -> Iterator[Path]:
    """The folders below that hold a model of transformers."""
    try:
        below = sorted(one for one in folder.iterdir() if one.is_dir())[:_MOST]
    except OSError:
        return
    for one in below:
        if (one / "config.json").is_file() and isinstance(_content(one / "config.json").get("model_type"), str):
            yield one
        elif depth > 1:
            yield from _inside(one, depth - 1)


def _content(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path, "settings", SapwoodError)
    except SapwoodError:
        return {}
    return found if isinstance(found, dict) else {}
