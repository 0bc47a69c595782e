"""Ultralytics' YOLO networks: read, rebuilt and given back. The package is imported when a model of it is named."""

from sapwood.models.ultralytics.network import UltralyticsNetwork
from sapwood.models.ultralytics.training import keep_widths

__all__ = ["UltralyticsNetwork", "keep_widths"]
