"""The ``sapwood`` command: one thin file a verb."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from sapwood.errors import SapwoodError

__all__ = ["main"]

READER_GONE = 141
"""What a shell says of a program whose output nobody reads any more, as in ``sapwood ... | head``."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 a target or a check was not met, 2 bad input, 130 interrupted.

    A reader of the output that goes away ends it quietly, with 141.
    """
    _open_missing()
    out = sys.stdout
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        code = _run(arguments)
    raise SystemExit(_flushed(out, code))


def _run(arguments: Sequence[str] | None) -> Any:
    from sapwood.cli.app import app

    out = sys.stdout
    try:
        app(args=None if arguments is None else list(arguments), prog_name="sapwood")
    except SystemExit as end:
        return end.code if sys.stdout is out else READER_GONE  # click takes a broken pipe's place
    except SapwoodError as error:
        return _complain(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        return READER_GONE
    except OSError as error:
        return _complain(f"error: {error}", 2) if _is_writable(out) else 2
    finally:
        sys.stdout = out
    return 0


def _complain(text: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
    return code


def _is_writable(out: Any) -> bool:
    """Whether what was printed so far can be written."""
    try:
        out.flush()
    except OSError:
        return False
    return True


def _flushed(out: Any, code: Any) -> Any:
    """Writes what was printed; the exit code says whether that worked, and Python's own end says nothing more."""
    try:
        out.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if isinstance(error, BrokenPipeError):
            return READER_GONE
        return _complain(f"error: standard output: cannot be written ({error.strerror})", 2)
    return code


def _open_missing() -> None:
    """Where a shell closed an output, what is printed goes nowhere, and never into a file that is opened later."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _complain(f"warning: {message}", 0)
