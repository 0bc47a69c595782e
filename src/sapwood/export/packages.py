"""Optional packages: imported when they are needed, named with their extra where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from sapwood.errors import MissingDependencyError

EXTRAS = {
    "onnx": "onnx",
    "onnx.reference": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "onnxruntime.quantization": "int8",
    "openvino": "openvino",
    "openvino.passes": "openvino",
    "nncf": "int8",
    "nncf.quantization.range_estimator": "int8",
}
"""Package -> the extra of Sapwood that installs it."""


def require(package: str) -> Any:
    """Imports an optional package.

    Args:
        package: One of :data:`EXTRAS`.

    Returns:
        The module.

    Raises:
        MissingDependencyError: If it is not installed; the message gives the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"{package} is not installed; install it by: pip install 'sapwood[{EXTRAS[package]}]'"
        ) from error
