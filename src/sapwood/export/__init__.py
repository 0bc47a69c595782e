"""Files that other programs read, each checked against the model it came from."""

from sapwood.export.darknet import ROUNDING, DarknetFiles, export_darknet

__all__ = ["ROUNDING", "DarknetFiles", "export_darknet"]
