"""What must not happen while a file is read: code, files and programs of its choice, endless time or memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 10
"""A reader that takes longer for one small file hangs, for its user."""

ADDRESS_SPACE = 12 << 30
RESIDENT = 2 << 30

FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.connect",
    "pty.spawn",
    "shutil.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEVICES = ("/dev/null", "/dev/shm")


class Violation(Exception):  # noqa: N818 - of a promise, not an error
    """A reader did what no reader may do."""


class Guard:
    """Watches one process: opens for writing outside of one folder, programs, sockets, and the import of a canary.

    Args:
        scratch: The one folder where files may be written.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = str(scratch)
        self.active = False
        self.seen: list[str] = []
        plant_canary(scratch)
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(args[2], int) and args[2] & WRITING:
            path = os.path.abspath(os.fsdecode(args[0])) if isinstance(args[0], str | bytes) else str(args[0])
            if not path.startswith((self.scratch, *DEVICES)) and not path.endswith(".pyc") and ".pyc." not in path:
                self.seen.append(f"writes {path}")
        elif event.startswith(FORBIDDEN) and not (event.startswith("shutil.") and self.scratch in repr(args)):
            self.seen.append(f"{event} {args!r:.200}")
        elif event == "import" and str(args[0]).split(".")[0] == "canary":
            self.seen.append("imports a module that a file names")

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Raises :class:`Violation` for what happened inside the block, or when it takes too long."""
        self.seen.clear()
        before = most_memory()
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(SECONDS)
        self.active = True
        try:
            yield
        finally:
            self.active = False
            signal.alarm(0)
        if self.seen:
            raise Violation("; ".join(self.seen))
        grown = most_memory() - before
        if grown > RESIDENT:
            raise Violation(f"takes {grown >> 20} MB of memory")


def most_memory() -> int:
    """The most bytes that this process has held at once.

    Read from ``/proc`` where it is: what ``getrusage`` says begins with the most that the parent ever held.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _late(_signal: int, _frame: FrameType | None) -> None:
    raise Violation(f"takes more than {SECONDS} s")


def plant_canary(folder: Path) -> None:
    """Puts a module into ``folder``, and the folder first on Python's path: importing it is what no file may cause."""
    (folder / "canary.py").write_text("def factory():\n    import torch\n\n    return torch.nn.Linear(1, 1)\n")
    sys.path.insert(0, str(folder))
    os.chdir(folder)


def limit_memory() -> None:
    """An allocation beyond all reason fails at once, instead of taking the machine with it."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
