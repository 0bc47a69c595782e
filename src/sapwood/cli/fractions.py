"""Fractions on the command line: ``50``, ``50 %`` and ``0,5`` are asked about, not guessed at."""

from __future__ import annotations

import typer

from sapwood.meant import meant_fraction


def fraction(text: str | float) -> float:
    """Reads a number that should be a fraction; what it may be is checked where it is used.

    Raises:
        BadParameter: If it is no number, or a percentage; the message says what was probably meant.

    Examples:
        >>> fraction("0.5")
        0.5
    """
    meant = meant_fraction(text)
    try:
        value = float(text)
    except ValueError:
        raise typer.BadParameter(f"{text}; expected a fraction between 0 and 1{meant}") from None
    if meant:
        raise typer.BadParameter(f"{text}; expected a fraction between 0 and 1{meant}")
    return value
