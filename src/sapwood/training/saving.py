"""Writing to disk beside the computation: one job at a time, and no error is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Saver:
    """Runs one job at a time in a thread of its own.

    Python does not exit before a job that has begun is done.

    Examples:
        >>> saver, saved = Saver(), []
        >>> saver.start(lambda: saved.append("weights"))
        >>> saver.wait()
        >>> saved
        ['weights']
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._job: Future[None] | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begins a job, after the one before; raises what that one raised."""
        self.wait()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sapwood-save")
        self._job = self._thread.submit(job)

    def wait(self) -> None:
        """Returns once nothing is left to do; raises what the job raised, once."""
        job, self._job = self._job, None
        if job is not None:
            job.result()
