"""The ``sapwood`` command: one thin file a verb."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sapwood.errors import SapwoodError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 a target or a check was not met, 2 bad input, 130 interrupted."""
    from sapwood.cli.app import app

    try:
        app(args=None if arguments is None else list(arguments), prog_name="sapwood")
    except SapwoodError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
