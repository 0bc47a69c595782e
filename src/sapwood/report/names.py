"""What runtimes are called where a reader may not know their keys."""

from __future__ import annotations

from sapwood.report.standing import NAMES


def runtime_name(key: str) -> str:
    """A runtime as a reader knows it.

    Examples:
        >>> runtime_name("onnxruntime"), runtime_name("onnxruntime-int8"), runtime_name("openvino")
        ('ONNX Runtime', 'ONNX Runtime, int8', 'OpenVINO')
    """
    base, _, kind = key.partition("-")
    name = {**NAMES, "openvino": "OpenVINO"}.get(base, base)
    return f"{name}, {kind}" if kind else name
