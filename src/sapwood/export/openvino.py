"""``openvino``: ``.xml`` and ``.bin``, converted from ONNX in memory and checked with OpenVINO's CPU plugin."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.export.base import EXPORTERS, Exported, ExportOptions, checked_path, explained
from sapwood.export.flat import tensors_of
from sapwood.export.metadata import metadata_in, set_rt_info, with_metadata
from sapwood.export.numeric import FLOAT32_TOLERANCE
from sapwood.export.onnx import onnx_bytes
from sapwood.export.packages import require
from sapwood.export.subject import Subject
from sapwood.files import blaming_the_disk, check_pair, new_files
from sapwood.types import ExampleInputs, TaskSpec


def export_openvino(
    model: nn.Module,
    example_inputs: ExampleInputs,
    path: str | Path,
    *,
    dynamic_batch: bool = False,
    task: TaskSpec | None = None,
) -> Exported:
    """Writes a model as OpenVINO's ``.xml`` and ``.bin``, in float32, runs them and compares.

    As :func:`sapwood.export.export_onnx` does, before the files take their places.

    Args:
        model: Read only.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        path: Of the ``.xml``; the ``.bin`` stands beside it.
        dynamic_batch: The file runs with any batch size.
        task: What the model is for; the files keep it in ``rt_info`` (:mod:`sapwood.export.metadata`).

    Returns:
        The files, their names, and the difference found.

    Raises:
        MissingDependencyError: If :mod:`openvino`, :mod:`onnx` or :mod:`onnxscript` is not installed.
        ExportError: If the model cannot be converted.
        CheckFailedError: If the files give other results than the model.

    Examples:
        >>> from tempfile import mkdtemp
        >>> exported = export_openvino(nn.Linear(3, 2), torch.rand(1, 3), Path(mkdtemp()) / "net.xml")
        >>> [file.name for file in exported.files], exported.inputs, exported.outputs
        (['net.xml', 'net.bin'], ('input',), ('output',))
    """
    path = checked_path(path, ".xml")
    places = (path.with_suffix(".bin"), path)
    check_pair(*places[::-1])
    for package in ("openvino", "onnx", "onnxscript"):
        require(package)
    subject = Subject.of(model, example_inputs, dynamic=dynamic_batch)
    data = with_metadata(onnx_bytes(subject), task, subject.flat.names)
    with new_files(*places) as (_, written), blaming_the_disk(written.parent, len(data)):
        save_openvino(subject.model, data, written)
        compiled = open_compiled(subject.model, written)
        error = subject.check(str(path), lambda inputs: run_compiled(compiled, subject, inputs))
    return Exported("openvino", places[::-1], error, FLOAT32_TOLERANCE, subject.flat.names, subject.output_names)


def save_openvino(model: nn.Module, data: bytes, path: Path) -> None:
    """Converts the bytes of an ONNX file and writes both files; weights stay float32."""
    openvino = require("openvino")
    with explained(model, "OpenVINO"):
        converted = openvino.Core().read_model(io.BytesIO(data))
        set_rt_info(converted, metadata_in(data))
        openvino.save_model(converted, str(path), compress_to_fp16=False)


def open_compiled(model: nn.Module, path: Path) -> Any:
    """Reads files back for the CPU, in float32."""
    with explained(model, "files that OpenVINO can load"):
        return require("openvino").Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def run_compiled(compiled: Any, subject: Subject, inputs: ExampleInputs) -> list[Tensor]:
    """Runs a compiled model on inputs; those that have no use are not in it."""
    wanted = {name for given in compiled.inputs for name in given.get_names()}
    feed = {
        name: tensor.contiguous().numpy()
        for name, tensor in zip(subject.flat.names, tensors_of(inputs), strict=True)
        if name in wanted
    }
    with explained(subject.model, "files that OpenVINO can run"):
        results = compiled(feed)
        return [torch.from_numpy(np.array(results[name])) for name in subject.output_names]


class OpenVinoExporter:
    """OpenVINO."""

    name = "openvino"
    suffix = ".xml"
    has_batch = True

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Calls :func:`export_openvino`."""
        batch, task = options.dynamic_batch, options.task
        return export_openvino(model, example_inputs, path, dynamic_batch=batch, task=task)


EXPORTERS.register("openvino")(OpenVinoExporter())
