"""What somebody probably meant by a number."""

from __future__ import annotations


def meant_fraction(given: object) -> str:
    """What somebody probably meant who wrote a percentage, or a comma, where a fraction belongs; empty for all else.

    Examples:
        >>> [meant_fraction(given) for given in (50, "50 %", "0,5", 0.5, 1, "half", 500)]
        ['; did you mean 0.5?', '; did you mean 0.5?', '; did you mean 0.5?', '', '', '', '']
    """
    text = str(given).strip()
    percentage = text.endswith("%")
    try:
        value = float(text.removesuffix("%").strip().replace(",", "."))
    except ValueError:
        return ""
    if percentage or 2.0 <= value <= 100.0:
        value /= 100.0
    elif "," not in text:
        return ""
    return f"; did you mean {value:g}?" if 0.0 < value <= 1.0 else ""


def meant_latency(given: object) -> str:
    """The same where a time may stand as well.

    Examples:
        >>> [meant_latency(given) for given in (50, "50 %", "0,5", 0.5)]
        ['; did you mean 0.5 or 50ms?', '; did you mean 0.5?', '; did you mean 0.5?', '']
    """
    meant, text = meant_fraction(given), str(given).strip()
    if not meant or "%" in text or "," in text:
        return meant
    return f"{meant[:-1]} or {float(text):g}ms?"
