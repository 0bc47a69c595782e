"""Files that other programs read, each checked against the model it came from."""

from sapwood.export.base import EXPORTERS, Exported, Exporter, ExportOptions
from sapwood.export.darknet import ROUNDING, DarknetFiles, export_darknet
from sapwood.export.numeric import FLOAT32_TOLERANCE
from sapwood.export.onnx import export_onnx
from sapwood.export.openvino import export_openvino
from sapwood.export.torch_export import export_torch

__all__ = [
    "EXPORTERS",
    "FLOAT32_TOLERANCE",
    "ROUNDING",
    "DarknetFiles",
    "ExportOptions",
    "Exported",
    "Exporter",
    "export_darknet",
    "export_onnx",
    "export_openvino",
    "export_torch",
]
