"""Options in groups: a verb takes a dataclass where the command line has an option a field."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from enum import Enum
from functools import reduce, wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """Lets a verb take groups of options.

    Args:
        verb: A function of which some parameters are annotated with dataclasses. The fields of those are annotated as
            parameters of a verb are.

    Returns:
        The same with the fields for parameters, in their places, as Typer reads it.

    Raises:
        ValueError: If two groups have an option of one name, which is a mistake in the program.

    Examples:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Point:
        ...     x: int = 0
        ...     y: int = 0
        >>> @grouped
        ... def show(*, name: str, at: Point) -> None:
        ...     print(name, at)
        >>> str(inspect.signature(show))
        '(*, name: str, x: int = 0, y: int = 0) -> None'
        >>> show(name="here", y=2)
        here Point(x=0, y=2)
    """
    signature = inspect.signature(verb, eval_str=True)
    groups: dict[str, type[Any]] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if _is_group(parameter.annotation)
    }
    fields = {name: [field.name for field in dataclasses.fields(group)] for name, group in groups.items()}
    parameters = [flat for one in signature.parameters.values() for flat in _flat(one)]

    @wraps(verb)
    def with_fields(**options: Any) -> None:
        built = {
            name: groups[name](**{field: options.pop(field) for field in fields[name] if field in options})
            for name in groups
        }
        verb(**options, **built)

    with_fields.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_fields.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_fields


def as_options(*parts: Any, **options: Any) -> dict[str, Any]:
    """Options for a record: plain values, those that were not given left out.

    Args:
        parts: Groups, or mappings, in order.
        options: Single ones, behind them.
    """
    values: dict[str, Any] = {}
    for part in (*parts, options):
        values |= (
            {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
            if (dataclasses.is_dataclass(part))
            else part
        )
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _flat(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """The parameter, or those that its group stands for."""
    if not _is_group(parameter.annotation):
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    group = parameter.annotation
    hints = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        annotation = _in_panel(hints[field.name], getattr(group, "panel", None))
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _in_panel(annotation: Any, panel: str | None) -> Any:
    """The annotation with its option under the heading of its group, in the verb's help."""
    if not hasattr(annotation, "__metadata__"):
        return annotation
    kind, *notes = get_args(annotation)
    changed = []
    for note in notes:
        one = copy(note)
        if panel is not None and getattr(one, "rich_help_panel", panel) is None:
            one.rich_help_panel = panel
        changed.append(one)
    return reduce(lambda found, note: Annotated[found, note], changed, kind)


def _is_group(annotation: object) -> bool:
    return dataclasses.is_dataclass(annotation)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value
