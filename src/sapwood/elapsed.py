"""Time that passes while something runs, of which waiting for a core that others have is no part."""

from __future__ import annotations

import time


class Elapsed:
    """Seconds since it was made: by the clock, or what this process had of the processor where that is less.

    Where other work has most of a core the clock goes on without anything having been done.
    """

    def __init__(self) -> None:
        self._clock, self._processor = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        """How many so far."""
        return min(time.monotonic() - self._clock, time.process_time() - self._processor)
