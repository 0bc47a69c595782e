"""What the example inputs do not run: it stays as it was, beside widths that have changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from torch import nn

from sapwood.graph import Analysis, Unpruned, read_names
from sapwood.models import Cut, named_parameters

NOT_READ = "is read by no call when the model runs on the example inputs"

NAMED = 3
"""How many modules a note names."""


def not_read(model: nn.Module, analysis: Analysis, cuts: Collection[Cut] = ()) -> tuple[Unpruned, ...]:
    """Parameters that the recorded run did not read, as those of heads that code runs in training alone.

    Args:
        model: The dense model.
        analysis: What hangs on what in its run.
        cuts: What was cut all the same, and is not told.

    Returns:
        Each with its rows, and with its columns where it has such.
    """
    known = read_names(analysis.graph) | {cut.tensor for cut in cuts}
    return tuple(
        Unpruned(name, dim, NOT_READ)
        for name, parameter in named_parameters(model)
        if name not in known
        for dim, size in enumerate(parameter.shape[:2])
        if size > 1
    )


def trained_notes(model: nn.Module, analysis: Analysis) -> tuple[str, ...]:
    """What to know of the modules that only the run in training mode ran: a sentence, or nothing."""
    graph = analysis.graph
    if graph.trained_from is None:
        return ()
    names = read_names(graph) - read_names(replace(graph, calls=graph.evaluated))
    return (f"{_modules(sorted(names, key=_order(model)))}: run in training mode alone; {WITH_THE_REST}",)


WITH_THE_REST = "cut with the rest, and proven in that mode as well"


def _order(model: nn.Module) -> Callable[[str], int]:
    """Where a parameter stands in a model."""
    return [name for name, _ in named_parameters(model, every=True)].index


def _modules(names: Sequence[str]) -> str:
    """The modules that hold some parameters, the first ones by name."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return ", ".join(modules[:NAMED]) + (f" and {len(modules) - NAMED} more" if len(modules) > NAMED else "")


def not_run_notes(parts: Collection[Unpruned], fault: str = "") -> tuple[str, ...]:
    """What to know of the modules that hold such parameters: a sentence, or nothing.

    Args:
        parts: The parameters.
        fault: Why the model does not run in training mode, or could not be pruned in it.

    Examples:
        >>> not_run_notes([Unpruned("aux.weight", 0, NOT_READ), Unpruned("aux.bias", 0, NOT_READ)])
        ('aux: not run on the example inputs, and left as it was; code that runs it may meet fewer channels now',)
        >>> not_run_notes([])
        ()
    """
    if not parts:
        return ()
    why = f". {IN_TRAINING}: {fault}; {HOW_TO_GO_ON}" if fault else ""
    return (
        f"{_modules([part.tensor for part in parts])}: not run on the example inputs, and left as it was; "
        f"code that runs it may meet fewer channels now{why}",
    )


IN_TRAINING = "As in training the model cannot be pruned on them"

HOW_TO_GO_ON = (
    "what it runs there alone is cut along if it can, as with larger pictures, or if ignore keeps what it reads"
)
