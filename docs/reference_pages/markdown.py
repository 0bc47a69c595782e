"""Markdown from parts: tables, and docstrings as the text of a cell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

MADE = "<!-- Made of the code by `make docs`; not kept in the repository. -->\n\n"
"""The first line of every page."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; line breaks and bars in its cells are taken care of.

    Examples:
        >>> print(table(["a", "b"], [["1", "x|y"]]), end="")
        | a | b |
        |---|---|
        | 1 | x\\|y |
    """
    lines = [columns, ["---"] * len(columns), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"|{'|'.join(line)}|\n" if "---" in line else f"| {' | '.join(line)} |\n" for line in lines)


def code(text: object) -> str:
    """Text in the type of code; nothing of nothing."""
    return f"`{text}`" if str(text) else ""


def first_paragraph(thing: object) -> str:
    """The first paragraph of a docstring, as Markdown."""
    return markdown((inspect.getdoc(thing) or "").split("\n\n")[0])


def markdown(text: str) -> str:
    """A docstring's reStructuredText as Markdown: code, references and formulas.

    Examples:
        >>> markdown("As :class:`sapwood.goals.Target` of ``x``, :math:`x^2`.")
        'As `sapwood.goals.Target` of `x`, $x^2$.'
    """
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    text = re.sub(r":(?:class|func|meth|data|mod):`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def documented_fields(owner: type) -> dict[str, str]:
    """What the ``Attributes:`` sections of a class and those above it say of each field."""
    found: dict[str, str] = {}
    for one in reversed(owner.__mro__):
        found |= _attributes(inspect.cleandoc(one.__dict__.get("__doc__") or ""))
    return found


def _attributes(text: str) -> dict[str, str]:
    """The entries of one section ``Attributes:``, continued lines joined."""
    _, _, section = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        entry = re.match(r"    (\w+): (.*)", line)
        if entry:
            name, found[entry[1]] = entry[1], entry[2]
        elif line.strip() and name:
            found[name] += f" {line.strip()}"
    return {key: markdown(value) for key, value in found.items()}


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(text).split()))
