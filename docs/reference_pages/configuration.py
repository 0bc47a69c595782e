"""The files that users write, field by field: what the pydantic models hold."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from reference_pages.markdown import MADE, code, documented_fields, first_paragraph, table
from sapwood.cases import ROW_KINDS
from sapwood.config import AugmentConfig, GradualConfig, LossConfig, SparseConfig, TrainConfig
from sapwood.limits import LIMITS, variable
from sapwood.recipe import Recipe, RecipeStep

INTRODUCTION = """# Configuration files

A key that nobody knows is an error that lists those there are. `yes`, `no`, `on` and `off` are true and false in YAML,
so where a number or a text belongs they are refused. A default is what a field is when it is left out.

"""

FILES: dict[str, list[type[BaseModel]]] = {
    "Training: `sapwood train --config`": [TrainConfig, AugmentConfig, LossConfig, SparseConfig, GradualConfig],
    "Recipes: `sapwood run`": [Recipe, RecipeStep],
    "Rows of a comparison: `sapwood compare --cases`": [],
}
"""A heading, and what is written there."""

VARIABLES = {
    "SAPWOOD_CACHE": "The folder of timings that are remembered; `~/.cache/sapwood` without it.",
    "SAPWOOD_ENGINE": "Another build of the sparse engine's library.",
    "SAPWOOD_ISA": "Forces an instruction set of the engine that the processor has, as `avx2`.",
    "SAPWOOD_PURE": "With `1`, `pip install .` leaves the sparse engine out.",
}


def models() -> dict[str, list[type[BaseModel]]]:
    """Returns every model that a file is read as, by the heading it stands under."""
    found = {title: list(listed) for title, listed in FILES.items()}
    found[list(FILES)[-1]] = [ROW_KINDS[kind] for kind in ROW_KINDS]
    return found


def configuration_page() -> str:
    """The page: a section a file, a table a model, and the environment."""
    parts = [MADE, INTRODUCTION]
    for title, listed in models().items():
        parts.append(f"## {title}\n\n")
        parts += [f"### {_title(model)}\n\n{first_paragraph(model)}\n\n{_fields(model)}\n" for model in listed]
    limits = [[code(variable(name)), f"{one.default:,}", one.meaning] for name, one in LIMITS.items()]
    others = [[code(name), "", meaning] for name, meaning in VARIABLES.items()]
    parts.append(f"## Environment variables\n\n{table(['variable', 'default', 'meaning'], [*limits, *others])}")
    return "".join(parts)


def _title(model: type[BaseModel]) -> str:
    return code(model.__name__)


def _fields(model: type[BaseModel]) -> str:
    meanings = documented_fields(model)
    rows = []
    for name, field in model.model_fields.items():
        if not field.exclude:
            rows.append([code(name), kinds(field.annotation), _default(field), _range(field), meanings.get(name, "")])
    return table(["field", "value", "default", "range", "meaning"], rows)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its own"
    if value is None or value in ("", (), {}):
        return "none"
    return code(list(value) if isinstance(value, tuple) else value)


def _range(field: Any) -> str:
    """The bounds of a number, in words."""
    signs = {
        "gt": "above {}",
        "ge": "{} or more",
        "lt": "below {}",
        "le": "{} at most",
        "multiple_of": "multiple of {}",
    }
    found = []
    for one in field.metadata:
        found += [words.format(_bound(getattr(one, name))) for name, words in signs.items() if hasattr(one, name)]
    return ", ".join(found)


def _bound(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def kinds(annotation: Any) -> str:
    """A type in words; literals as they are written."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(code, inside))
    if origin in (Union, UnionType):
        return " or ".join(kinds(one) for one in inside if one is not type(None))
    if origin is typing.Annotated or origin is tuple:
        return f"list of {kinds(inside[0])}s" if origin is tuple else kinds(inside[0])
    return _kind(origin or annotation)


def _kind(one: Any) -> str:
    """A class in words."""
    names = {float: "number", int: "whole number", str: "text", bool: "`true`, `false`", dict: "mapping", Path: "path"}
    if one is Mapping:
        return "mapping"
    if isinstance(one, type) and (issubclass(one, BaseModel) or is_dataclass(one)):
        return f"[{one.__name__}](#{one.__name__.lower()})"
    return names.get(one) or str(getattr(one, "__name__", one))
