"""``torch-export``: a ``.pt2``, the program that :mod:`torch.export` makes, called as the model is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.export.base import EXPORTERS, Exported, ExportOptions, checked_path, explained
from sapwood.export.numeric import FLOAT32_TOLERANCE
from sapwood.export.onnx import quiet_exporter
from sapwood.export.subject import Subject
from sapwood.files import new_files, write_bytes
from sapwood.graph import call_model, output_tensors
from sapwood.types import ExampleInputs


def export_torch(
    model: nn.Module, example_inputs: ExampleInputs, path: str | Path, *, dynamic_batch: bool = False
) -> Exported:
    """Writes a model as a ``.pt2``, loads it again and compares.

    As :func:`sapwood.export.export_onnx` does, before the file takes its place. ``torch.export.load(path).module()`` is
    called as ``model`` is.

    Args:
        model: Read only.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        path: Ends in ``.pt2``.
        dynamic_batch: The program runs with any batch size.

    Returns:
        The file and the difference found.

    Raises:
        ExportError: If the model cannot be exported.
        CheckFailedError: If the file gives other results than the model.

    Examples:
        >>> from tempfile import mkdtemp
        >>> exported = export_torch(nn.Linear(3, 2), torch.rand(1, 3), Path(mkdtemp()) / "net.pt2")
        >>> exported.files[0].name, exported.max_relative_error < 1e-6
        ('net.pt2', True)
    """
    path = checked_path(path, ".pt2")
    subject = Subject.of(model, example_inputs, dynamic=dynamic_batch)
    program = exported_program(subject)
    data = io.BytesIO()
    with explained(subject.model, "a .pt2"), quiet_exporter():
        torch.export.save(program, data)  # in memory: to a full disk, it does not say what is wrong
    with new_files(path) as (written,):
        write_bytes(written, data.getbuffer())
        with explained(subject.model, "a .pt2"), quiet_exporter():
            again = torch.export.load(written).module()
        error = subject.check(str(path), lambda inputs: _run(again, subject, inputs))
    return Exported("torch-export", (path,), error, FLOAT32_TOLERANCE, subject.flat.names, subject.output_names)


def exported_program(subject: Subject) -> Any:
    """The program of the model, which takes its arguments as the model does."""
    inputs = subject.example_inputs
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    args = args if isinstance(args, tuple) else (args,)
    shapes = subject.dynamic_shapes() if subject.dynamic else None
    if shapes is not None and not isinstance(inputs, (dict, tuple)):
        shapes = (shapes,)
    with explained(subject.model, "torch.export"), quiet_exporter():
        return torch.export.export(subject.model, args, kwargs, dynamic_shapes=shapes)


def _run(program: nn.Module, subject: Subject, inputs: ExampleInputs) -> list[Tensor]:
    with explained(subject.model, "a program that runs"), torch.no_grad():
        return output_tensors(call_model(program, inputs))


class TorchExporter:
    """``torch.export``."""

    name = "torch-export"
    suffix = ".pt2"
    has_batch = True

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Calls :func:`export_torch`."""
        return export_torch(model, example_inputs, path, dynamic_batch=options.dynamic_batch)


EXPORTERS.register("torch-export")(TorchExporter())
