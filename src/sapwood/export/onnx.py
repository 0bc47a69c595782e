"""``onnx``: one file with everything in it, made by PyTorch's exporter and checked with ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.errors import ExportError
from sapwood.export.base import EXPORTERS, Exported, ExportOptions, checked_path, explained
from sapwood.export.flat import tensors_of
from sapwood.export.metadata import with_metadata
from sapwood.export.numeric import FLOAT32_TOLERANCE
from sapwood.export.onnx_torch import by_export, by_torchscript
from sapwood.export.packages import require
from sapwood.export.padded_pools import fold_padding
from sapwood.export.producer import name_producer
from sapwood.export.subject import Subject
from sapwood.files import new_files, write_bytes
from sapwood.models import framework_of
from sapwood.types import ExampleInputs, TaskSpec

ERRORS_ONLY = 3
"""ONNX Runtime's log level."""


def export_onnx(
    model: nn.Module,
    example_inputs: ExampleInputs,
    path: str | Path,
    *,
    opset: int | None = None,
    dynamic_batch: bool = False,
    task: TaskSpec | None = None,
) -> Exported:
    """Writes a model as ONNX, runs the file with ONNX Runtime and compares.

    The file is compared on the example inputs and on random ones of the same shapes, before it takes its place: where
    the check fails, ``path`` is as it was. It computes in float32; live torch masks are zeros in it.

    Args:
        model: Any module that PyTorch can export. Read only; the copy that is converted is in evaluation mode.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        path: Ends in ``.onnx``.
        opset: Version of ONNX's operators; PyTorch's choice where None.
        dynamic_batch: The first dimension of every input whose size is that of the first input may be anything.
        task: What the model is for; the file keeps it as metadata (:mod:`sapwood.export.metadata`).

    Returns:
        The file, its names, and the difference found.

    Raises:
        MissingDependencyError: If :mod:`onnx`, :mod:`onnxscript` or :mod:`onnxruntime` is not installed.
        ExportError: If the model cannot be converted, or not with this ``opset`` or a dynamic batch.
        CheckFailedError: If the file gives other results than the model.

    Examples:
        >>> from tempfile import mkdtemp
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> exported = export_onnx(model, torch.rand(1, 3, 8, 8), Path(mkdtemp()) / "net.onnx")
        >>> exported.files[0].name, exported.inputs, exported.outputs, exported.max_relative_error < 1e-6
        ('net.onnx', ('images',), ('output',), True)
    """
    path = checked_path(path, ".onnx")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package)
    subject = Subject.of(model, example_inputs, dynamic=dynamic_batch)
    data = with_metadata(onnx_bytes(subject, opset), task, subject.flat.names)
    with new_files(path) as (written,):
        write_bytes(written, data)
        session = open_session(written)
        error = subject.check(str(path), lambda inputs: run_session(session, subject, inputs))
    names = subject.flat.names
    return Exported("onnx", (path,), error, FLOAT32_TOLERANCE, names, subject.output_names, {"opset": opset_of(data)})


def onnx_bytes(subject: Subject, opset: int | None = None) -> bytes:
    """Converts with the exporter on :mod:`torch.export`, with that on TorchScript where a framework's models need it.

    Raises:
        ExportError: If it cannot, or the file would be larger than a protobuf message may be.
    """
    with explained(subject.model, "ONNX"), quiet_exporter():
        data = name_producer(fold_padding(_converted(subject, opset)))
    if opset is not None and opset_of(data) != opset:
        raise ExportError(
            f"{type(subject.model).__name__} cannot be written with opset {opset}; PyTorch's exporter gives "
            f"{opset_of(data)}"
        )
    return data


def _converted(subject: Subject, opset: int | None) -> bytes:
    flat, names = subject.flat, subject.output_names
    if framework_of(subject.model).traced:
        if subject.dynamic:
            raise ExportError(
                f"{type(subject.model).__name__} takes single pictures; expected no dynamic batch, which it has not"
            )
        return by_torchscript(flat, subject.tensors, output_names=names, opset=opset)
    shapes = (subject.tensor_shapes(),) if subject.dynamic else None
    return by_export(flat, subject.tensors, output_names=names, opset=opset, dynamic_shapes=shapes)


def opset_of(data: bytes) -> int:
    """The version of ONNX's own operators that a file uses."""
    opsets = require("onnx").load_from_string(data).opset_import
    return next(int(one.version) for one in opsets if one.domain in {"", "ai.onnx"})


def open_session(file: Path | bytes) -> Any:
    """Opens a file, or its bytes, with ONNX Runtime, on the CPU.

    Raises:
        ExportError: If ONNX Runtime refuses it.
    """
    onnxruntime = require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        given = file if isinstance(file, bytes) else str(file)
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes have no public base
        name = "the file" if isinstance(file, bytes) else file.name
        raise ExportError(f"ONNX Runtime cannot load {name}: {error}") from error


def run_session(session: Any, subject: Subject, inputs: ExampleInputs) -> list[Tensor]:
    """Runs a file on inputs; those that have no use are not in it."""
    wanted = {given.name for given in session.get_inputs()}
    feed = {
        name: tensor.contiguous().numpy()
        for name, tensor in zip(subject.flat.names, tensors_of(inputs), strict=True)
        if name in wanted
    }
    with explained(subject.model, "a file that ONNX Runtime can run"):
        return [torch.from_numpy(np.array(value)) for value in session.run(list(subject.output_names), feed)]


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """No warnings and log lines of PyTorch's exporters inside: they are about what they are made of."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class OnnxExporter:
    """ONNX."""

    name = "onnx"
    suffix = ".onnx"
    has_batch = True

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Calls :func:`export_onnx`."""
        batch, task = options.dynamic_batch, options.task
        return export_onnx(model, example_inputs, path, opset=options.opset, dynamic_batch=batch, task=task)


EXPORTERS.register("onnx")(OnnxExporter())
