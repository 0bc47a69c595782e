"""Who an ONNX file says wrote it, which OpenCV 4 and the older engine of OpenCV 5 compute by.

They count the padding of an average pooling where that is PyTorch, and nowhere else, whatever the node says.
"""

from __future__ import annotations

from typing import Any

from sapwood import __version__
from sapwood.export.packages import require

PRODUCER = "sapwood"


def name_producer(data: bytes) -> bytes:
    """Returns a file whose average poolings OpenCV computes as written: PyTorch's only where they count their padding.

    Where some do and some do not no name is right for all, and the file stays as it is.
    """
    if b"AveragePool" not in data:
        return data
    model = require("onnx").load_from_string(data)
    counting = [_counts(node) for node in model.graph.node if node.op_type == "AveragePool" and _pads(node)]
    if not counting or any(counting):
        return data
    model.producer_name, model.producer_version = PRODUCER, __version__
    named: bytes = model.SerializeToString()
    return named


def _counts(node: Any) -> bool:
    return any(one.name == "count_include_pad" and one.i for one in node.attribute)


def _pads(node: Any) -> bool:
    return any(one.name == "pads" and any(one.ints) for one in node.attribute)
