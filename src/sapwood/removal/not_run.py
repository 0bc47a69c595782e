"""What the example inputs do not run: it stays as it was, beside widths that have changed."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from sapwood.graph import Analysis, Unpruned

NOT_READ = "is read by no call when the model runs on the example inputs"

NAMED = 3
"""How many modules a note names."""


def not_read(model: nn.Module, analysis: Analysis) -> tuple[Unpruned, ...]:
    """Parameters that the recorded run did not read, as those of heads that code runs in training alone.

    Args:
        model: The dense model.
        analysis: What hangs on what in its run.

    Returns:
        Each with its rows, and with its columns where it has such.
    """
    known = {name for names in analysis.aliases.values() for name in names}
    return tuple(
        Unpruned(name, dim, NOT_READ)
        for name, parameter in model.named_parameters()
        if name not in known
        for dim, size in enumerate(parameter.shape[:2])
        if size > 1
    )


def not_run_notes(parts: Collection[Unpruned]) -> tuple[str, ...]:
    """What to know of the modules that hold such parameters: a sentence, or nothing.

    Examples:
        >>> not_run_notes([Unpruned("aux.weight", 0, NOT_READ), Unpruned("aux.bias", 0, NOT_READ)])
        ('aux: not run on the example inputs, and left as it was; code that runs it may meet fewer channels now',)
        >>> not_run_notes([])
        ()
    """
    names = list(dict.fromkeys(part.tensor.rpartition(".")[0] or part.tensor for part in parts))
    if not names:
        return ()
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"{', '.join(names[:NAMED])}{more}: not run on the example inputs, and left as it was; "
        "code that runs it may meet fewer channels now",
    )
