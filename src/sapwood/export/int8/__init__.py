"""Int8 by the tools that are kept for it, ONNX Runtime's and NNCF's: what is quantised, with which integers; checks."""

from sapwood.export.int8.layers import Contraction, Left, contractions, left_out
from sapwood.export.int8.onnx import quantised_onnx
from sapwood.export.int8.openvino import quantised_openvino
from sapwood.export.int8.processor import Int8Kind, chosen_kind
from sapwood.export.int8.ranking import ranked
from sapwood.export.int8.saving import save_int8

__all__ = [
    "Contraction",
    "Int8Kind",
    "Left",
    "chosen_kind",
    "contractions",
    "left_out",
    "quantised_onnx",
    "quantised_openvino",
    "ranked",
    "save_int8",
]
