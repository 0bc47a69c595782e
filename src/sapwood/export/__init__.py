"""Files that other programs read, each checked against the model it came from."""

from sapwood.export.base import EXPORTERS, Exported, Exporter, ExportOptions, checked_path
from sapwood.export.darknet import ROUNDING, DarknetFiles, export_darknet
from sapwood.export.flat import plain_copy, plain_tensors, run_flat, tensors_of
from sapwood.export.numeric import FLOAT32_TOLERANCE, check_equal
from sapwood.export.onnx import export_onnx
from sapwood.export.onnx_quick import QuickOnnx, quick_onnx
from sapwood.export.openvino import export_openvino
from sapwood.export.packages import require
from sapwood.export.torch_export import export_torch
from sapwood.export.transformers import export_transformers
from sapwood.export.ultralytics import export_ultralytics

__all__ = [
    "EXPORTERS",
    "FLOAT32_TOLERANCE",
    "ROUNDING",
    "DarknetFiles",
    "ExportOptions",
    "Exported",
    "Exporter",
    "QuickOnnx",
    "check_equal",
    "checked_path",
    "export_darknet",
    "export_onnx",
    "export_openvino",
    "export_torch",
    "export_transformers",
    "export_ultralytics",
    "plain_copy",
    "plain_tensors",
    "quick_onnx",
    "require",
    "run_flat",
    "tensors_of",
]
