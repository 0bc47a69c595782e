"""Darknet: ``.cfg`` and ``.weights`` files, and the networks they describe."""

from __future__ import annotations

from sapwood.models.darknet.cfg import Cfg, Section, parse_cfg, write_cfg
from sapwood.models.darknet.encoding import cfg_bytes
from sapwood.models.darknet.header import Header
from sapwood.models.darknet.network import DarknetNetwork, LayerRow
from sapwood.models.darknet.opencv import opencv_misreads
from sapwood.models.darknet.weights import ReadResult, read_weights, write_weights
from sapwood.models.darknet.widths import compact_cfg, grouped_routes, producers, refit_

__all__ = [
    "Cfg",
    "DarknetNetwork",
    "Header",
    "LayerRow",
    "ReadResult",
    "Section",
    "cfg_bytes",
    "compact_cfg",
    "grouped_routes",
    "opencv_misreads",
    "parse_cfg",
    "producers",
    "read_weights",
    "refit_",
    "write_cfg",
    "write_weights",
]
