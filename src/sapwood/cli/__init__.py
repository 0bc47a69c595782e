"""The ``sapwood`` command: one thin file a verb."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any, TextIO, cast

from sapwood.cli.commanded import as_command
from sapwood.cli.output import READER_GONE, Output, complain, finish, open_missing
from sapwood.cli.renamed import renamed
from sapwood.cli.stopping import INTERRUPTED, tell_interruption, untold
from sapwood.errors import SapwoodError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 a target or a check was not met, 2 bad input, 130 interrupted.

    An output that cannot be written is an error (2); a reader of it that goes away ends the command quietly (141).
    """
    open_missing()
    stream, out = sys.stdout, Output(sys.stdout)
    sys.stdout = cast("TextIO", out)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = _run(arguments)
            code = READER_GONE if out.reader_gone else code
    finally:
        sys.stdout = stream
    raise SystemExit(finish(out, code))


def _run(arguments: Sequence[str] | None) -> Any:
    given = list(sys.argv[1:] if arguments is None else arguments)
    with as_command(given), untold():
        return _code(given, last=arguments is None)


def _code(given: list[str], *, last: bool) -> Any:
    """Runs a command; its exit code, what went wrong having been told."""
    try:
        from sapwood.cli.app import app  # takes a second, in which one may interrupt

        _call(app, renamed(given), last=last)
    except SystemExit as end:
        return tell_interruption() if end.code == INTERRUPTED else end.code
    except SapwoodError as error:
        return complain(f"error: {error}", error.exit_code)
    except KeyboardInterrupt as stop:
        return tell_interruption(stop)
    except BrokenPipeError:
        return READER_GONE
    except OSError as error:
        return complain(f"error: {error}", 2)
    return 0


def _call(app: Any, arguments: list[str], *, last: bool) -> None:
    """Runs a verb; what comes after it, where that is the process's end, is not interrupted: everything is done."""
    try:
        app(args=arguments, prog_name="sapwood")
    except SystemExit:
        if last and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    complain(f"warning: {message}", 0)
