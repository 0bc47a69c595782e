"""Whether a machine was quiet enough for its clock to be believed."""

from __future__ import annotations

from collections.abc import Mapping

from sapwood.report import formats

NOISY = 0.1
"""Span of the middle half of the rounds, as a fraction of the time, above which a measurement is called noisy."""


def noise_text(spread: float) -> str:
    """Says that the machine was not quiet, where the middle half of the rounds spans more than :data:`NOISY`.

    Examples:
        >>> noise_text(0.02), noise_text(0.2)
        ('', '; the machine was busy: differences below 20 % mean nothing, time again on a quiet one')
        >>> noise_text(1.7)
        '; the machine was busy: these times mean nothing, time again on a quiet one'
    """
    if spread <= NOISY:
        return ""
    nothing = "these times" if spread >= 1.0 else f"differences below {formats.percent(spread)}"
    return f"; the machine was busy: {nothing} mean nothing, time again on a quiet one"


def unsteady_text(spreads: Mapping[str, float]) -> str:
    """Names what cannot be believed of a measurement whose other times can.

    Args:
        spreads: By name, the span of the middle half of the rounds as a fraction of the time.

    Examples:
        >>> unsteady_text({"small": 0.02, "dense": 0.8})
        'the machine was busy while dense ran: half of its rounds are 80 % apart, time again on a quiet one'
        >>> unsteady_text({"small": 0.02})
        ''
    """
    noisy = [
        f"{name} ran: half of its rounds are {_apart(spread)} apart"
        for name, spread in spreads.items()
        if spread > NOISY
    ]
    return f"the machine was busy while {', while '.join(noisy)}, time again on a quiet one" if noisy else ""


def _apart(spread: float) -> str:
    return f"{100.0 * spread:.0f} %" if spread >= 0.9 else formats.percent(spread)
