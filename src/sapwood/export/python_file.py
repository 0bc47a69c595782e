"""``python``: a ``.py`` that builds the network with its own library at the widths it has, and its ``.safetensors``.

For libraries whose models are named, and whose files cannot say widths: those of timm and torchvision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sapwood.errors import ExportError, SpecError
from sapwood.export.base import EXPORTERS, Exported, ExportOptions, checked_path, explained
from sapwood.export.flat import plain_copy
from sapwood.export.numeric import FLOAT32_TOLERANCE, check_close, check_compared
from sapwood.files import new_files, write_bytes
from sapwood.graph import call_model, output_tensors
from sapwood.models import LOADERS, NamedBuild, is_plain_value
from sapwood.types import ExampleInputs

SHOWN = 3

_TEXT = '''"""{title}

Written by Sapwood, which it does not need:

    from {stem} import model
"""

from pathlib import Path

{imports}
from safetensors.torch import load_file
from torch import nn

WEIGHTS = Path(__file__).with_name("{weights}")

WIDTHS = {{
{widths}
}}
"""What modules say of themselves that is not as the library builds it."""

SHARED = {{
{shared}
}}
"""Tensors that are the same as another."""


def load(weights=WEIGHTS):
    """Builds the network with the tensors of a file."""
    network = {expression}
    for path, own in WIDTHS.items():
        for name, value in own.items():
            setattr(network.get_submodule(path), name, value)
    for name, tensor in load_file(weights).items():
        module, leaf, found = place(network, name)
        found[leaf] = tensor if found is module._buffers else nn.Parameter(tensor, tensor.is_floating_point())
    for name, other in SHARED.items():
        _, source, there = place(network, other)
        _, leaf, found = place(network, name)
        found[leaf] = there[source]
    return network.eval()


def place(network, name):
    """The module that holds a tensor, the tensor's name there, and the table that it stands in."""
    path, _, leaf = name.rpartition(".")
    module = network.get_submodule(path)
    return module, leaf, module._buffers if leaf in module._buffers else module._parameters
'''

_LAST = "\n\nmodel = load()\n"


def export_python(model: nn.Module, example_inputs: ExampleInputs, path: str | Path, *, spec: str) -> Exported:
    """Writes a model of timm or torchvision as a Python file with its weights beside it, runs both, and compares.

    ``from small import model`` is then the pruned network, of the library's own class, where Sapwood is not installed.
    It is what the installed release of the library builds, so another release may build something else.

    Args:
        model: What was made of the model that ``spec`` names. Read only; its live masks become zeros.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        path: Ends in ``.py``; the weights are in a ``.safetensors`` of the same name.
        spec: ``timm:NAME`` or ``torchvision:NAME``.

    Returns:
        Both files and the difference found.

    Raises:
        SpecError: If ``spec`` names no model of a library that builds it by name.
        ExportError: If the library's model differs from this one in more than plain values and tensors.
        CheckFailedError: If the files, run, give other results.
        WriteError: If a file cannot be written.
    """
    path = checked_path(path, ".py")
    weights = checked_path(path.with_suffix(".safetensors"), ".safetensors")
    if not path.stem.isidentifier():
        raise ExportError(f"cannot write {path}; expected a name that Python imports, as small.py")
    built = _built(model, spec)
    plain = plain_copy(model).cpu().float()
    with explained(model, "a Python file"):
        dense = built.make()
    tensors, shared = _tensors(plain)
    text = _TEXT.format(
        title=f"{spec}, a {type(model).__name__}, at the widths that it has now.",
        stem=path.stem,
        imports=built.imports,
        expression=built.expression,
        weights=weights.name,
        widths=_lines(_differences(dense, plain)),
        shared=_lines(shared),
    )
    with new_files(path, weights) as (written, written_weights):
        write_bytes(written, (text + _LAST).encode())
        write_bytes(written_weights, safetensors.torch.save(tensors))
        with explained(model, "a Python file that runs"):
            again = _run(text, written_weights)
            with torch.no_grad():
                found, wanted = (output_tensors(call_model(one, _float32(example_inputs))) for one in (again, plain))
        error = check_close(str(path), list(found), list(wanted), FLOAT32_TOLERANCE)
        check_compared(str(path), list(wanted))
    return Exported("python", (path, weights), error, FLOAT32_TOLERANCE)


def _built(model: nn.Module, spec: str) -> NamedBuild:
    """How the library builds the dense model."""
    for kind in LOADERS:
        loader = LOADERS[kind]
        if loader.matches(spec) and loader.built is not None:
            return loader.built(spec, model)
    able = " or ".join(LOADERS[kind].form for kind in LOADERS if LOADERS[kind].built is not None)
    raise SpecError(f"{spec or type(model).__name__} is not built by a name; expected what was made of {able}")


def _run(text: str, weights: Path) -> nn.Module:
    """What a written file loads, without its last line, which looks for the weights at the place that they get."""
    names: dict[str, Any] = {"__file__": str(weights), "__name__": "written"}
    exec(compile(text, "written", "exec"), names)
    loaded: nn.Module = names["load"](weights)
    return loaded


def _float32(inputs: ExampleInputs) -> Any:
    return torch.utils._pytree.tree_map_only(
        Tensor, lambda one: one.detach().cpu().float() if one.is_floating_point() else one.detach().cpu(), inputs
    )


def _tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each parameter and buffer once, and the names of those that are the same as another."""
    found: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[int, str] = {}
    everything: Iterable[tuple[str, Tensor]] = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in everything:
        before = first.setdefault(id(tensor), name)
        if before == name:
            found[name] = tensor.detach().contiguous().clone()
        else:
            shared[name] = before
    return found, shared


def _differences(dense: nn.Module, compact: nn.Module) -> dict[str, dict[str, Any]]:
    """The plain attributes of each module that the library's model has otherwise.

    Raises:
        ExportError: If there are other modules than the library builds.
    """
    ours, theirs = dict(compact.named_modules()), dict(dense.named_modules())
    others = [name for name in {**theirs, **ours} if type(ours.get(name)) is not type(theirs.get(name))]
    if others:
        listed = ", ".join(f"{name} ({type(ours.get(name, theirs.get(name))).__name__})" for name in others[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise ExportError(f"the library builds other modules for {listed}{more}; expected those of the dense model")
    found = {}
    for name, module in ours.items():
        before = vars(theirs[name])
        own = {
            key: value
            for key, value in vars(module).items()
            if not key.startswith("_") and key != "training" and is_plain_value(value) and before.get(key) != value
        }
        if own:
            found[name] = own
    return found


def _lines(entries: Mapping[str, Any]) -> str:
    return "\n".join(f"    {name!r}: {_literal(value)}," for name, value in entries.items())


def _literal(value: Any) -> str:
    """A plain value as Python reads it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(f"{_literal(one)}, " for one in value) + ")"
    if isinstance(value, bool | str | type(None)):
        return repr(value)
    if isinstance(value, int):
        return str(int(value))
    return repr(float(value)) if math.isfinite(value) else f"float({str(float(value))!r})"


class PythonExporter:
    """A Python file."""

    name = "python"
    suffix = ".py"
    has_batch = False

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Calls :func:`export_python`."""
        return export_python(model, example_inputs, path, spec=options.spec)


EXPORTERS.register("python")(PythonExporter())
