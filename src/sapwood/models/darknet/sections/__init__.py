"""One builder a section; importing this folder registers them all."""

from __future__ import annotations

from sapwood.models.darknet.sections import joins, outputs, spatial, weighted

__all__ = ["joins", "outputs", "spatial", "weighted"]
