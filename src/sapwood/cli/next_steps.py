"""What a verb ends with: the commands that come next."""

from __future__ import annotations

import shlex

from sapwood.cli.volume import is_quiet


def next_step(*commands: str, because: str = "") -> None:
    """Prints what to do next, after the result; nothing with ``--quiet``.

    Args:
        commands: What may be typed next, the likeliest first.
        because: A sentence before them: what the result does not tell.
    """
    if is_quiet():
        return
    if because:
        print(because)
    first, *others = commands
    print(f"next: {first}")
    for command in others:
        print(f"  or: {command}")


def words(*parts: object) -> str:
    """A command of which every part is one word of the shell.

    Examples:
        >>> words("sapwood", "eval", "my net")
        "sapwood eval 'my net'"
    """
    return shlex.join(map(str, parts))
