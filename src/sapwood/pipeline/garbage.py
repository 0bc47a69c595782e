"""Python's search for garbage, which takes longer the more a process holds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 10
"""Some thousand objects may wait: next to a recorded run they are few."""


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Within it, garbage is looked for among what is made there alone, and :data:`SELDOM` times less often.

    A recorded run is some ten thousand small objects, for which Python goes through everything that the process holds,
    again and again: half of the time of a small network beside large frameworks. What the caller froze stays frozen.

    Examples:
        >>> with only_new_garbage():
        ...     print(gc.get_freeze_count() > 0)
        True
        >>> gc.get_freeze_count()
        0
    """
    if gc.get_freeze_count():
        yield
        return
    often, *others = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(SELDOM * often, *others)
    try:
        yield
    finally:
        gc.set_threshold(often, *others)
        gc.unfreeze()
