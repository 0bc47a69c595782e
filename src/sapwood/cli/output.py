"""Standard output and error of the command: full, closed or read by nobody, they are not a reason for a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, TextIO

from sapwood.errors import WriteError

READER_GONE = 141
"""What a shell says of a program whose output nobody reads any more, as in ``sapwood ... | head``."""


class Output:
    """A stream of text whose errors say that they are its own.

    Args:
        stream: Where everything goes.
        name: What errors call it.

    Attributes:
        reader_gone: Whether nobody reads it any more; libraries that print make ends of their own of that.
        failed: Whether something could not be written, of which an error told already.
    """

    def __init__(self, stream: TextIO, name: str = "standard output") -> None:
        self.stream = stream
        self._name = name
        self.reader_gone = self.failed = False

    def write(self, text: str) -> int:
        """Writes text.

        Raises:
            WriteError: If it cannot be written.
            BrokenPipeError: If nobody reads it any more.
        """
        try:
            return self.stream.write(text)
        except OSError as error:
            raise self._explained(error) from None

    def flush(self) -> None:
        """Writes what was kept back; raises as :meth:`write` does."""
        try:
            self.stream.flush()
        except OSError as error:
            raise self._explained(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _explained(self, error: OSError) -> OSError:
        if isinstance(error, BrokenPipeError):
            self.reader_gone = True
            return error
        self.failed = True
        return WriteError(f"{self._name}: cannot be written ({error.strerror or error})")


def finish(out: Output, code: Any) -> Any:
    """Writes what was printed; returns the exit code, which says whether that worked."""
    told = out.failed
    try:
        out.flush()
    except BrokenPipeError:
        _forget(out)
        return READER_GONE
    except WriteError as error:
        _forget(out)
        return code if told else complain(f"error: {error}", error.exit_code)
    return code


def complain(text: str, code: int) -> int:
    """Prints a line to standard error, if that is possible; returns the exit code."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
    return code


def open_missing() -> None:
    """Where a shell closed an output, what is printed goes nowhere, and never into a file that is opened later."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process lives
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # a terminal of another encoding has no dash, and a table all the same


def _forget(out: Output) -> None:
    """What could not be written is not tried again when Python ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
