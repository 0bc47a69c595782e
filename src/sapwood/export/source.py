"""A model's ONNX file in memory, compared with it, whose nodes know their modules: what quantisers begin with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sapwood.export.metadata import with_metadata
from sapwood.export.onnx import onnx_bytes, open_session, run_session
from sapwood.export.onnx_quick import QuickOnnx, Scopes
from sapwood.export.packages import require
from sapwood.export.subject import Subject
from sapwood.types import ExampleInputs, TaskSpec


@dataclass(frozen=True)
class CheckedSource:
    """A file that computes what its model does.

    Attributes:
        onnx: The file.
        example_inputs: In float32; at least two examples where the batch is dynamic.
        outputs: Names of the file's outputs.
        max_relative_error: The difference that was found, of the largest output.
    """

    onnx: QuickOnnx
    example_inputs: ExampleInputs
    outputs: tuple[str, ...]
    max_relative_error: float


def checked_source(
    model: nn.Module,
    example_inputs: ExampleInputs,
    what: str,
    *,
    dynamic_batch: bool = False,
    task: TaskSpec | None = None,
) -> CheckedSource:
    """Converts a model as :func:`sapwood.export.export_onnx` does, and compares it in float32.

    Args:
        model: Read only.
        example_inputs: What it is called with.
        what: What messages call the file.
        dynamic_batch: The file runs with any batch size.
        task: What the model is for, which the file tells.

    Raises:
        MissingDependencyError: If a package is missing.
        ExportError: If the model cannot be converted.
        CheckFailedError: If the file gives other results than the model.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package)
    subject = Subject.of(model, example_inputs, dynamic=dynamic_batch)
    scopes = Scopes(subject.flat)
    data = with_metadata(onnx_bytes(subject), task, subject.flat.names)
    session = open_session(data)
    error = subject.check(what, lambda inputs: run_session(session, subject, inputs))
    graph = require("onnx").load_from_string(data).graph
    modules = scopes.modules_of(graph)
    source = QuickOnnx(data, subject.flat.names, graph, modules)
    return CheckedSource(source, subject.example_inputs, subject.output_names, error)
