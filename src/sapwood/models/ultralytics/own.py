"""Networks as Ultralytics itself holds them, that came to ``sapwood.prune`` as they are (``YOLO(...).model``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from sapwood.models.framework import FRAMEWORKS, Framework
from sapwood.models.plan import Plan
from sapwood.models.plan_json import plan_to_dict
from sapwood.models.ultralytics.checkpoint import mark_, origin

NAME = "ultralytics-own"
HOME = "ultralytics.nn.tasks"


class UltralyticsOwn(Framework[nn.Module]):
    """Modules like any other, but for their ``.yaml``, which says the dense widths."""

    title: ClassVar[str] = "Ultralytics"

    def owns(self, model: nn.Module) -> bool:
        """Whether it is a network that Ultralytics builds from a ``.yaml``."""
        described = getattr(model, "yaml", None)
        own = any(kind.__module__ == HOME for kind in type(model).__mro__)
        return own and isinstance(described, dict) and bool(described.get("backbone"))

    def refit_(self, model: Any, plan: Plan) -> None:
        """Notes the plan, as in a file that Sapwood writes: training without ``keep_widths`` stops."""
        yaml, plans = origin(Path(f"a {type(model).__name__}"), model)
        mark_(model, yaml, (*plans, json.dumps(plan_to_dict(plan))), type(model).__name__)


FRAMEWORKS.register(NAME)(UltralyticsOwn())
