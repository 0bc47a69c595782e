"""How much a command tells beside its result: ``--quiet`` and ``--verbose``, which every verb has."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any

import typer

from sapwood.cli.stopping import tell_interruption

LOG = logging.getLogger("sapwood")
"""What ``--verbose`` shows on standard error, and what a program that calls the command may collect."""
PANEL = "What is printed"

QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No bars, no epochs, no next steps: the result alone.", rich_help_panel=PANEL),
]
VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Every stage with its time, to standard error.", rich_help_panel=PANEL),
]


class _Volume:
    """What was asked for, of this process."""

    quiet = False
    verbose = False
    depth = 0
    """Verbs that run: a recipe's step runs inside of another."""


def is_quiet() -> bool:
    """Whether only results are to be printed."""
    return _Volume.quiet


def is_verbose() -> bool:
    """Whether stages are to be told."""
    return _Volume.verbose


def with_volume(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb the options ``--quiet`` and ``--verbose``, and obeys them while it runs."""
    signature = inspect.signature(verb, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("quiet", QuietOption), ("verbose", VerboseOption))
    ]
    parameters = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()), *more]

    @wraps(verb)
    def at_volume(*, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        with _told(quiet=quiet, verbose=verbose):
            try:
                verb(**options)
            except KeyboardInterrupt as stop:
                if _Volume.depth == 1:  # of a recipe's step the run tells
                    tell_interruption(stop)
                raise

    at_volume.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    at_volume.__annotations__ = {one.name: one.annotation for one in parameters}
    return at_volume


@contextmanager
def _told(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Sets the volume inside; a step of a recipe has that of the run where it sets none itself."""
    before = _Volume.quiet, _Volume.verbose
    _Volume.quiet, _Volume.verbose = before[0] or quiet, before[1] or verbose
    _Volume.depth += 1
    handler = logging.StreamHandler(sys.stderr) if verbose and not before[1] else None
    level = LOG.level
    if handler is not None:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        LOG.addHandler(handler)
        LOG.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _Volume.depth -= 1
        _Volume.quiet, _Volume.verbose = before
        if handler is not None:
            LOG.removeHandler(handler)
            LOG.setLevel(level)
