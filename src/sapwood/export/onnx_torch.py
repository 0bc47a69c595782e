"""PyTorch's two exporters to ONNX: a flat model in, the bytes of a file out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from sapwood.errors import ExportError
from sapwood.export.flat import FlatModel
from sapwood.export.packages import require

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
        ExportError: If the file would be larger than a protobuf message may be.
    """
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
) -> bytes:
    """Converts with the exporter on TorchScript, which traces; arguments as for :func:`by_export`.

    Args:
        flat: In evaluation mode.
        tensors: What it is called with.
        output_names: One a tensor that it returns.
        opset: Version of ONNX's operators; PyTorch's choice where None.
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
        )
    data: bytes = file.getvalue()
    return data
