"""Networks as Ultralytics itself holds them, that came to ``sapwood.prune`` as they are (``YOLO(...).model``)."""

from __future__ import annotations

import json
from dataclasses import fields, replace
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
        mark_(model, yaml, (*plans, json.dumps(plan_to_dict(_held(plan)))), type(model).__name__)


def _held(plan: Plan) -> Plan:
    """The plan by the names that tensors and modules have in the ``UltralyticsNetwork`` of whoever reads a file."""
    parts = {part.name: getattr(plan, part.name) for part in fields(Plan)}
    aliases = {_name(name): tuple(map(_name, others)) for name, others in parts.pop("aliases").items()}
    shapes = {_name(name): shape for name, shape in parts.pop("shapes").items()}
    entries = {name: tuple(map(_renamed, own)) for name, own in parts.items()}
    return Plan(**entries, aliases=aliases, shapes=shapes)


def _renamed(entry: Any) -> Any:
    names = {name: _name(getattr(entry, name)) for name in ("tensor", "of", "module") if hasattr(entry, name)}
    return replace(entry, **names)


def _name(own: str) -> str:
    return f"network.{own}" if own else "network"


FRAMEWORKS.register(NAME)(UltralyticsOwn())
