"""Keys that Darknet does not know: what is misspelt would change the network, what a fork trains with does not."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sapwood.models.darknet.keys import KNOWN_KEYS, NETWORK_KEYS

if TYPE_CHECKING:
    from sapwood.models.darknet.cfg import Section

_MISSPELT = 0.7
"""How alike a word is to a key, of 1, that was meant to be it."""


def check_keys(section: Section, *, warn: bool) -> None:
    """Checks the keys of a section as Darknet does, which leaves out what it does not know, and says so.

    Args:
        section: Any.
        warn: Warn of keys that are left out.

    Raises:
        CfgError: If a key looks like one that says what the network computes.
    """
    known = KNOWN_KEYS.get(section.name)
    for key in section.keys if known is not None else ():
        if known is None or key in known:
            continue
        close = difflib.get_close_matches(key.lower(), sorted(known & NETWORK_KEYS), n=1, cutoff=_MISSPELT)
        if close:
            raise section.error(f"unknown key (did you mean {close[0]}?); expected one that Darknet knows", key)
        if warn:
            warnings.warn(str(section.error("unknown key, not used, as Darknet does", key)), stacklevel=6)


def suggestion(word: str, words: Iterable[str]) -> str:
    """``" (did you mean leaky?)"``, or nothing where no word is like it."""
    close = difflib.get_close_matches(word, sorted(words), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
