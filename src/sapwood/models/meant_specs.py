"""What somebody probably meant by a specification that names no model, for messages."""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from sapwood.foreign import foreign
from sapwood.meant import meant_name, meant_path
from sapwood.pickled import named_in

_WEIGHTS_OF_TIMM = ".pth.tar"
_WEIGHTS = {".bin", ".ckpt", ".pth", _WEIGHTS_OF_TIMM, ".safetensors"}
_EXPORTED = {".caffemodel", ".engine", ".h5", ".keras", ".mlmodel", ".mnn", ".onnx", ".pb", ".pt2", ".tflite", ".xml"}
_PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MOST_INSIDE, _MOST_NAMED = 1000, 3
_PREFIXES = ("builtin", "timm", "torchvision", "transformers", "ultralytics")


def meant_spec(spec: str, built_in: Iterable[str] = ()) -> str:
    """The end of a message about a specification that names no model; empty where nothing is known.

    Args:
        spec: What was given.
        built_in: The forms of networks that come with Sapwood, ``"builtin:digits"``.

    Examples:
        >>> meant_spec("net.weights")
        '; a .weights file goes with its .cfg: net.cfg --weights net.weights'
        >>> meant_spec("digits", ["builtin:digits"])
        '; did you mean builtin:digits?'
    """
    suffix = Path(spec).suffix.lower()
    file = spec if suffix == ".py" else f"{spec}.py"
    if os.path.isfile(file):
        made = " or ".join(f"{file}:{name}" for name in _functions_of(file)[:_MOST_NAMED])
        return f"; did you mean {made or f'{file}:FUNCTION'}, of which {file} has the code?"
    told = _other_file(spec, suffix)
    if told:
        return f"; {told}"
    own = next((form for form in built_in if form.partition(":")[2] == spec), None) or _listed(spec)
    return f"; did you mean {own}?" if own else meant_path(spec)


def _other_file(spec: str, suffix: str) -> str:
    """What a file is that is no model; empty where none is there, and its name tells nothing."""
    if suffix == ".weights":
        return f"a .weights file goes with its .cfg: {Path(spec).with_suffix('.cfg')} --weights {spec}"
    if suffix in _EXPORTED:
        return f"{suffix} files are what comes out in the end: expected the network of PyTorch that one was made of"
    if what := foreign(spec):
        return f"{spec} {what}"
    ending = _WEIGHTS_OF_TIMM if spec.endswith(_WEIGHTS_OF_TIMM) else suffix
    if ending in _WEIGHTS or named_in(spec):
        return f"{ending} files are weights, which go beside a model: torchvision:NAME --weights {spec}"
    picture = " a picture, and MODEL comes first" if suffix in _PICTURES else " a file of another kind"
    return f"{spec} is{picture}" if os.path.isfile(spec) else ""


def meant_inside(folder: str | Path) -> str:
    """Which model of those inside a folder was probably meant by naming the folder; empty where there is none.

    Examples:
        >>> meant_inside("no/such/folder")
        ''
    """
    try:
        inside = sorted(Path(folder).iterdir())[:_MOST_INSIDE]
    except OSError:
        return ""
    if os.path.isfile(Path(folder) / "config.json"):
        return f"; did you mean transformers:{folder}?"
    models = [one for one in inside if os.path.isfile(one / "plan.json")] or [
        one for one in inside if one.suffix == ".cfg"
    ]
    return f"; did you mean {' or '.join(map(str, models[:_MOST_NAMED]))}?" if models else ""


def meant_prefix(word: str) -> str:
    """What was meant by the part before a colon that is no module, if it is spelled like a library's.

    Examples:
        >>> meant_prefix("Torchvision"), meant_prefix("mynet")
        ("; did you mean 'torchvision'?", '')
    """
    return meant_name(word, _PREFIXES, {"hf": "transformers", "huggingface": "transformers", "tv": "torchvision"})


def _functions_of(file: str) -> list[str]:
    """The functions that a file of Python defines and that can be called without arguments; it is read, not run."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [node.name for node in found if len(node.args.args) + len(node.args.posonlyargs) == len(node.args.defaults)]


def _listed(name: str) -> str | None:
    """A name that an installed library lists, as it is written here: ``torchvision:resnet18``."""
    if name.isidentifier() and importlib.util.find_spec("torchvision") is not None:
        from torchvision import models

        if name in models.list_models():
            return f"torchvision:{name}"
    if name.isidentifier() and importlib.util.find_spec("timm") is not None:
        import timm

        if timm.is_model(name):
            return f"timm:{name}"
    return None
