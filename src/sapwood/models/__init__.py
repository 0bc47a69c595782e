"""Models: from a specification to a model with its task, and back to files that load without pickle."""

from __future__ import annotations

from sapwood.models import darknet_loader as darknet_loader
from sapwood.models.copying import copy_model
from sapwood.models.spec import LOADERS, load_model

__all__ = ["LOADERS", "copy_model", "load_model"]
