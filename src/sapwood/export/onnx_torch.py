"""PyTorch's two exporters to ONNX: a flat model in, the bytes of a file out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sapwood.errors import ExportError
from sapwood.export.flat import FlatModel
from sapwood.export.packages import require

HAS_EXPORT = torch.__version__ >= "2.5"  # compared as versions are: it is no plain text
"""Whether PyTorch has the exporter on :mod:`torch.export`, in the form in which it is called here."""

MAX_BYTES = (1 << 31) - 1
"""The largest size of one protobuf message, and so of a file that holds its weights."""


def by_export(
    flat: FlatModel,
    tensors: tuple[torch.Tensor, ...],
    *,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
    dynamic_shapes: Any = None,
) -> bytes:
    """Converts with the exporter on :mod:`torch.export`.

    Args:
        flat: In evaluation mode.
        tensors: What it is called with.
        output_names: One a tensor that it returns.
        opset: Version of ONNX's operators; PyTorch's choice where None.
        dynamic_shapes: As :func:`torch.export.export` takes them.

    Raises:
        MissingDependencyError: If :mod:`onnxscript` is not installed.
        ExportError: If this PyTorch has no such exporter, or the file would be larger than a protobuf message may be.
    """
    if not HAS_EXPORT:
        raise ExportError(f"PyTorch {torch.__version__} has no exporter to ONNX on torch.export; expected 2.5 or later")
    require("onnxscript")
    program = torch.onnx.export(
        flat,
        tensors,
        dynamo=True,
        input_names=list(flat.names),
        output_names=None if output_names is None else list(output_names),
        opset_version=opset,
        dynamic_shapes=dynamic_shapes,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    if proto.ByteSize() > MAX_BYTES:
        raise ExportError(f"the file would have {proto.ByteSize()} bytes; expected at most {MAX_BYTES}, ONNX's limit")
    data: bytes = proto.SerializeToString()
    return data


def by_torchscript(
    flat: FlatModel,
    tensors: tuple[torch.Tensor, ...],
    *,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> bytes:
    """Converts with the exporter on TorchScript, which traces; arguments as for :func:`by_export`.

    Args:
        flat: In evaluation mode.
        tensors: What it is called with.
        output_names: One a tensor that it returns.
        opset: Version of ONNX's operators; PyTorch's choice where None.
        dynamic_axes: Input -> dimension -> what that dimension is called in the file.
    """
    file: Any = io.BytesIO()  # which this exporter takes, and its signature does not tell
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and warns of every shape that it takes for a constant
        torch.onnx.export(
            flat,
            tensors,
            file,
            dynamo=False,
            input_names=list(flat.names),
            output_names=None if output_names is None else list(output_names),
            opset_version=opset,
            dynamic_axes=dynamic_axes,
        )
    data: bytes = file.getvalue()
    return data
