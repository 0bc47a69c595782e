"""Which tasks there are, by name, for whoever reads one: what a task does is in :mod:`sapwood.tasks`."""

from __future__ import annotations

from typing import Any

from sapwood.registry import Registry

NO_TASK = "none"
"""The kind of a model of which nobody said what it is for."""

TASKS: Registry[Any] = Registry(
    "task",
    entry_points="sapwood.tasks",
    lazy=dict.fromkeys(
        ("causal_lm", "classification", "detection", "masked_lm", "text_classification"), "sapwood.tasks"
    ),
)
"""The tasks (:class:`sapwood.tasks.Task`) by the ``kind`` of a :class:`~sapwood.types.TaskSpec`."""


_TEXTS = frozenset({"causal_lm", "masked_lm", "text_classification"})


def unit_of(kind: str) -> str:
    """What a task looks at, in words: ``"pictures"`` or ``"texts"``.

    Examples:
        >>> unit_of("text_classification"), unit_of("detection")
        ('texts', 'pictures')
    """
    return "texts" if kind in _TEXTS else "pictures"


def is_task(kind: str) -> bool:
    """Whether a model may be for it; ``"none"`` is for nothing that is known.

    Examples:
        >>> is_task("detection"), is_task("none"), is_task("poetry")
        (True, True, False)
    """
    return kind == NO_TASK or kind in TASKS
