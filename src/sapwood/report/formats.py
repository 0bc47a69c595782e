"""Numbers as a reader takes them in: three figures, a unit, one way to write each kind."""

from __future__ import annotations

import re

MINUS = "\u2212"
MISSING = "\u2013"
NO_BREAK = "\u00a0"
_UNIT = re.compile(r"(\d) (%|ms|s|MB|kB|[kMG]|points?)(?!\w)")
LONG = 1e6
"""Losses from here on are written by their power of ten."""


def count(value: float | None) -> str:
    """Writes how many there are, three figures and a thousands' letter.

    Examples:
        >>> [count(value) for value in (12, 6051, 8_858_734, 2.78e9, None)]
        ['12', '6.05 k', '8.86 M', '2.78 G', '–']
    """
    if value is None:
        return MISSING
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            return f"{three(value / size)} {letter}"
    return f"{value:.0f}"


def megabytes(size_bytes: float | None) -> str:
    """Writes a file's size in MB (10^6 bytes), a small one's in kB (10^3 bytes).

    Examples:
        >>> [megabytes(size) for size in (35_434_956, 1_432, None)]
        ['35.4 MB', '1.43 kB', '–']
    """
    if size_bytes is None:
        return MISSING
    return f"{three(size_bytes / 1e6)} MB" if size_bytes >= 99_950 else f"{three(size_bytes / 1e3)} kB"


def score(value: float | None) -> str:
    """Writes an accuracy in [0, 1] with three decimals.

    Examples:
        >>> score(0.28431), score(None)
        ('0.284', '–')
    """
    return MISSING if value is None else f"{value:.3f}"


def delta(value: float | None) -> str:
    """Writes a difference of two accuracies with its sign.

    Examples:
        >>> [delta(value) for value in (0.0012, -0.117, 0.0, -0.0001, None)]
        ['+0.001', '−0.117', '±0', '±0', '–']
    """
    if value is None:
        return MISSING
    text = f"{abs(value):.3f}"
    if float(text) == 0.0:
        return "±0"
    return ("+" if value > 0 else MINUS) + text


def loss(value: float) -> str:
    """Writes how much worse a figure is, three figures with a minus where it is better; a long one by its power of ten.

    Examples:
        >>> [loss(value) for value in (115.4778, 0.03128, 0.0, -0.00213, 2e-12, 4.2e300)]
        ['115', '0.0313', '0', '−0.00213', '0', '4.2e+300']
    """
    if abs(value) >= LONG:
        return (MINUS if value < 0 else "") + f"{abs(value):.1e}"
    if abs(value) < 1e-9:
        return "0"
    return (MINUS if value < 0 else "") + three(abs(value))


def percent(fraction: float | None) -> str:
    """Writes a fraction in percent; never 0 % or 100 % unless it is exactly that.

    Examples:
        >>> [percent(value) for value in (0.0, 0.0004, 0.0312, 0.4996, 0.9997, 1.0, None)]
        ['0 %', '< 0.1 %', '3.1 %', '50 %', '> 99.9 %', '100 %', '–']
    """
    if fraction is None:
        return MISSING
    if fraction in (0.0, 1.0):
        return f"{fraction:.0%}".replace("%", " %")
    if fraction < 0.0005:
        return "< 0.1 %"
    if fraction > 0.9995:
        return "> 99.9 %"
    decimals = 1 if fraction < 0.0995 or fraction > 0.9895 else 0
    return f"{100 * fraction:.{decimals}f} %"


def times(ratio: float | None) -> str:
    """Writes a ratio of two durations.

    Examples:
        >>> times(0.9871), times(None)
        ('0.99×', '–')
    """
    return MISSING if ratio is None else f"{ratio:.2f}×"


def milliseconds(value: float | None) -> str:
    """Writes a duration given in milliseconds.

    Examples:
        >>> milliseconds(41.27), milliseconds(None)
        ('41.3 ms', '–')
    """
    return MISSING if value is None else f"{three(value)} ms"


def seconds(value: float | None) -> str:
    """Writes a duration given in seconds.

    Examples:
        >>> seconds(0.0412), seconds(75.0), seconds(None)
        ('41.2 ms', '75.0 s', '–')
    """
    if value is None:
        return MISSING
    return milliseconds(1000 * value) if value < 1.0 else f"{three(value)} s"


def several(number: int, noun: str) -> str:
    """Writes how many there are of something.

    Examples:
        >>> several(1, "round"), several(30, "round")
        ('1 round', '30 rounds')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def unbroken(text: str) -> str:
    """Keeps numbers and their units on one line, in large letters.

    Examples:
        >>> unbroken("9.0 % of 3.4 ms, ± 1.2 points").replace("\u00a0", "_")
        '9.0_% of 3.4_ms, ±_1.2_points'
    """
    return _UNIT.sub(f"\\1{NO_BREAK}\\2", text.replace("± ", f"±{NO_BREAK}"))


def three(value: float) -> str:
    """Writes a number with three figures, never in exponent form.

    Examples:
        >>> [three(value) for value in (0.0, 0.01234, 9.996, 1234.5)]
        ['0', '0.0123', '10.0', '1234']
    """
    if value == 0.0:
        return "0"
    decimals = 2
    size = abs(value)
    while size >= 9.995 and decimals > 0:
        size, decimals = size / 10, decimals - 1
    while size < 0.9995 and decimals < 8:
        size, decimals = size * 10, decimals + 1
    return f"{value:.{decimals}f}"
