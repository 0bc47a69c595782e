"""Files that other programs read, each checked against the model it came from."""

from sapwood.export.base import EXPORTERS, Exported, Exporter, ExportOptions, checked_path, format_of
from sapwood.export.darknet import ROUNDING, DarknetFiles, export_darknet
from sapwood.export.flat import mapped_tensors, plain_copy, plain_tensors, run_flat, tensors_of
from sapwood.export.int8 import (
    Left,
    chosen_kind,
    contractions,
    left_out,
    quantised_onnx,
    quantised_openvino,
    ranked,
    save_int8,
)
from sapwood.export.numeric import FLOAT32_TOLERANCE, check_equal, relative_error
from sapwood.export.onnx import export_onnx
from sapwood.export.onnx_quick import QuickOnnx, quick_onnx
from sapwood.export.openvino import export_openvino
from sapwood.export.packages import require
from sapwood.export.python_file import export_python
from sapwood.export.source import CheckedSource, checked_source
from sapwood.export.subject import in_float32, random_like
from sapwood.export.torch_export import export_torch
from sapwood.export.transformers import export_transformers
from sapwood.export.ultralytics import export_ultralytics

__all__ = [
    "EXPORTERS",
    "FLOAT32_TOLERANCE",
    "ROUNDING",
    "CheckedSource",
    "DarknetFiles",
    "ExportOptions",
    "Exported",
    "Exporter",
    "Left",
    "QuickOnnx",
    "check_equal",
    "checked_path",
    "checked_source",
    "chosen_kind",
    "contractions",
    "export_darknet",
    "export_onnx",
    "export_openvino",
    "export_python",
    "export_torch",
    "export_transformers",
    "export_ultralytics",
    "format_of",
    "in_float32",
    "left_out",
    "mapped_tensors",
    "plain_copy",
    "plain_tensors",
    "quantised_onnx",
    "quantised_openvino",
    "quick_onnx",
    "random_like",
    "ranked",
    "relative_error",
    "require",
    "run_flat",
    "save_int8",
    "tensors_of",
]
