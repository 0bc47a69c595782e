"""Writes what a quantiser made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sapwood.export.packages import require
from sapwood.files import blaming_the_disk, write_bytes


def save_int8(content: Any, path: Path) -> None:
    """Writes the bytes of an ONNX file, or an ``openvino.Model`` as ``.xml`` and ``.bin``."""
    if isinstance(content, bytes):
        write_bytes(path, content)
        return
    with blaming_the_disk(path.parent, 0):
        require("openvino").save_model(content, str(path), compress_to_fp16=False)
