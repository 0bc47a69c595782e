"""What somebody probably meant by a number, by a name, by a path."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

OTHER_FIELDS: Mapping[str, str] = {
    "amount": "sparsity", "batch": "batch_size", "checkpoint": "weights", "classes": "names", "conf": "score_threshold",
    "confidence": "score_threshold", "criteria": "criterion", "dataset": "data", "finetune": "recover", "flops": "macs",
    "imagesize": "input_size", "imgsz": "input_size", "importance": "criterion", "iou": "iou_threshold",
    "iters": "epochs", "jobs": "threads",
    "learningrate": "lr", "output": "out", "outputdir": "out", "pretrained": "weights", "project": "out",
    "pruningratio": "sparsity", "ratio": "sparsity", "savedir": "out", "target": "macs", "workers": "threads",
}  # fmt: skip
"""What other programs call an option or a field, in small letters without anything between: its name here."""

_ALIKE = 0.75
"""How alike two words are, of 1, of which one was meant to be the other."""
_LONG_ENOUGH = 4
"""So many letters tell a name by its beginning: ``open`` is openvino's, ``o`` nobody's."""
_MOST_NAMES = 10_000
"""The most names of a folder that are looked at."""


def meant_name(given: object, names: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """What somebody probably meant who wrote a name that is not there; empty where nothing is like it.

    Case, and what stands between words, do not count; then what others call it; then spelling; then beginnings.

    Args:
        given: What was written.
        names: What there is.
        others: What is called otherwise elsewhere, in small letters without anything between: its name here.

    Examples:
        >>> [meant_name(given, ["l1", "l2", "taylor"], {"magnitude": "l1"}) for given in ("L2", "tailor", "best")]
        ["; did you mean 'l2'?", "; did you mean 'taylor'?", '']
        >>> meant_name("Magnitude", ["l1", "l2", "taylor"], {"magnitude": "l1"})
        "; did you mean 'l1'?"
    """
    word = letters(given) if isinstance(given, str | Path) else ""
    plain = {letters(name): name for name in names}
    if not word:
        return ""
    found = plain.get(word) or (others or {}).get(word)
    if found is None:
        alike = difflib.get_close_matches(word, plain, n=1, cutoff=_ALIKE)
        begun = [one for one in plain if len(word) >= _LONG_ENOUGH and one.startswith(word)]
        found = plain[[*alike, *begun][0]] if alike or begun else None
    return "" if found is None else f"; did you mean {found!r}?"


def others_of(fields: Iterable[str]) -> dict[str, str]:
    """What other programs call these fields.

    Examples:
        >>> others_of(["lr", "epochs"])
        {'iters': 'epochs', 'learningrate': 'lr'}
    """
    known = set(fields)
    return {word: name for word, name in OTHER_FIELDS.items() if name in known}


def meant_path(path: str | Path) -> str:
    """What is there beside a path that is not, and is spelled like it; empty where nothing is.

    Numbers in names have to be the same: ``000139.jpg`` is not meant by ``000138.jpg``.

    Examples:
        >>> meant_path("/nowhere/at/all")
        ''
    """
    wanted = Path(path)
    if os.path.lexists(wanted):
        return ""
    while not os.path.exists(wanted.parent):
        wanted = wanted.parent
    try:
        with os.scandir(wanted.parent) as entries:
            names = [entry.name for entry in islice(entries, _MOST_NAMES)]
    except OSError:
        return ""
    same = {name.casefold(): name for name in names if re.findall(r"\d+", name) == re.findall(r"\d+", wanted.name)}
    close = difflib.get_close_matches(wanted.name.casefold(), same, n=1, cutoff=_ALIKE)
    return f"; did you mean {wanted.parent / same[close[0]]}?" if close else ""


def letters(given: object) -> str:
    """A word in small letters, without what stands between them.

    Examples:
        >>> letters("--Batch_size")
        'batchsize'
    """
    return "".join(letter for letter in str(given).casefold() if letter.isalnum())


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
