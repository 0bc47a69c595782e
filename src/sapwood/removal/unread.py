"""Integer attributes that no forward reads and other methods do, as those that merge branches after training."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from torch import nn

from sapwood.graph import Analysis, Structure
from sapwood.models import AttributeEdit, framework_of, module_of, named_modules
from sapwood.models.places import AttributePlace, integers, vars_of
from sapwood.removal.attributes import read_off
from sapwood.removal.beside import follow
from sapwood.removal.names_read import names_read
from sapwood.removal.repair import Repaired, Tries, repair_
from sapwood.removal.widths import Expectation

WIDTH = re.compile(
    "chan|chs|dim|width|feature|plane|hidden|filter|embed|inner|units|^groups$|^c[0-9_]*$|^(in|out|mid)(_?c)?$|^d_|_c$|^inp$|"
    "^oup$",
    re.IGNORECASE,
)
"""Names of numbers that are widths, or numbers of groups of channels."""

SURE = re.compile("(hidden|intermediate|split|embedding|projection)_size$")
"""Names of numbers that are widths whatever stands before: the hidden size of a head is none of how many heads."""

NO_WIDTH = re.compile(
    "head|layer|block|depth|kernel|stride|pad|dilat|window|patch|image|img|class|step|epoch|seed|level|scale|iter|repeat|"
    "token|length|position|expert|anchor|point|version|shape|resolution|input|index|ratio|chunk|permut|^save$|"
    "^n[aceklmo]?$|^[fik]$|^ks$|"
    "^reg_max$|^num$",
    re.IGNORECASE,
)
"""Names of numbers that are no widths, though they may be equal to one; a name of both kinds or none is told."""

OF_OUTPUT = re.compile("^(num_features|head_hidden_size|out(put)?_(chan|dim|feature|width|size).*)$", re.IGNORECASE)
"""Names of numbers of a whole model that are the width of what it returns, where it returns one."""

Widths = dict[str, dict[int, set[int]]]
"""Module -> a size of its tensors -> what became of it."""


Unread: TypeAlias = "tuple[list[AttributeEdit], tuple[str, ...]]"
"""What was set, and the names of attributes of which it cannot be told what they should be."""


def run_with_guesses_(
    compact: nn.Module,
    structure: Structure,
    analysis: Analysis,
    expectation: Expectation,
    edits: Sequence[AttributeEdit],
    *,
    tries: Tries,
) -> tuple[Unread, Repaired] | None:
    """Does what :func:`set_unread_` does before anything is known of how the model runs: mostly one run is enough.

    What else is in the way is repaired with that set. Where the model then runs in every size and number as planned, it
    stays; else it has to make no difference to a run without it.

    Args:
        compact: The compact model.
        structure: The dense model's recorded run.
        analysis: Its groups.
        expectation: What becomes of every tensor.
        edits: What is set already.
        tries: What rounds before tried.

    Returns:
        What was set, and how the model then ran; None, and the model as it was, where there is nothing to set, or it
        does not run as planned.
    """
    wanted, doubtful = _unread_widths(compact, analysis, expectation, edits)
    if not wanted:
        return None
    _set_(compact, wanted)
    own = tries.apart()
    repaired = repair_(compact, structure, analysis, expectation, own)
    if repaired.followed.is_as_planned:
        tries.helped, tries.idle = own.helped, own.idle
        return (wanted, tuple(doubtful)), repaired
    _take_back_(compact, [*wanted, *repaired.edits])
    if repaired.edits or repaired.followed.first is not None:
        return None
    without = follow(compact, structure, analysis, expectation)
    if not without.is_like(repaired.followed):
        return None
    _set_(compact, wanted)
    return (wanted, tuple(doubtful)), Repaired((), without)


def _set_(model: nn.Module, edits: Iterable[AttributeEdit]) -> None:
    for edit in edits:
        AttributePlace.of(edit).set(model, edit.after)


def _take_back_(model: nn.Module, edits: Sequence[AttributeEdit]) -> None:
    for edit in reversed(edits):
        AttributePlace.of(edit).set(model, edit.before)


def _unread_widths(
    compact: nn.Module, analysis: Analysis, expectation: Expectation, edits: Sequence[AttributeEdit]
) -> tuple[list[AttributeEdit], list[str]]:
    """What there is to set, and what is doubtful."""
    known = {AttributePlace.of(edit) for edit in edits}
    sizes = itertools.chain(_sizes(analysis, expectation), _sizes_of_layers(edits))
    told = framework_of(compact).own_widths(compact)
    wanted, doubtful = _wanted(compact, _widths(sizes), known, told, _of_outputs(compact, analysis, expectation))
    wanted.sort(key=lambda edit: edit.attribute)
    return wanted, doubtful


def _of_outputs(model: nn.Module, analysis: Analysis, expectation: Expectation) -> frozenset[AttributePlace]:
    """Where a model tells the width of what it returns, if that stays as it was."""
    returned = [(ref.shape, expectation.shape(ref)) for ref in analysis.graph.outputs]
    stays = {old for before, after in returned for old, new in zip(before, after, strict=True) if old == new}
    goes = {old for before, after in returned for old, new in zip(before, after, strict=True) if old != new}
    return frozenset(
        place for place, value in integers("", model) if value in stays - goes and OF_OUTPUT.search(place.attribute)
    )


def set_unread_(
    compact: nn.Module, structure: Structure, analysis: Analysis, expectation: Expectation, done: Repaired
) -> Unread:
    """Sets integer attributes that are a width of their module's own layers, where all of that width became the same.

    Args:
        compact: The compact model, which runs.
        structure: The dense model's recorded run.
        analysis: Its groups.
        expectation: What becomes of every tensor.
        done: What is set already, and how ``compact`` ran; what is set here may change nothing of that.

    Returns:
        What was set, and what is doubtful.
    """
    wanted, doubtful = _unread_widths(compact, analysis, expectation, done.edits)

    def changes_nothing(own: list[AttributeEdit]) -> bool:
        """Sets attributes; takes that back where the model then runs otherwise."""
        _set_(compact, own)
        if follow(compact, structure, analysis, expectation).is_like(done.followed):
            return True
        _take_back_(compact, own)
        return False

    if not wanted or changes_nothing(wanted):
        return wanted, tuple(doubtful)
    edits: list[AttributeEdit] = []
    for _, group in itertools.groupby(wanted, key=lambda edit: edit.attribute):
        own = list(group)
        if changes_nothing(own):  # what changes something is read, and is right as it is
            edits += own
    return edits, tuple(doubtful)


def _wanted(
    model: nn.Module,
    widths: Widths,
    known: Collection[AttributePlace],
    told: Mapping[str, int],
    right: Collection[AttributePlace],
) -> tuple[list[AttributeEdit], list[str]]:
    edits, doubtful = [], []
    read: dict[str, Collection[str]] = {}
    for place, value, found in _candidates(model, widths, known):
        name = f"{place.module}.{place.text}"
        sizes = {told[name]} if name in told else found
        named = WIDTH.search(place.attribute) and not NO_WIDTH.search(place.attribute)
        if len(sizes) == 1 and (named or SURE.search(place.attribute)):
            edits.append(AttributeEdit(place.module, place.text, value, *sizes))
            continue
        if place in right:
            continue
        if place.module not in read:  # which few modules are asked
            read[place.module] = names_read(module_of(model, place.module))
        if place.attribute not in read[place.module]:
            doubtful.append(_text(place.module, place.text, value))
    return edits, doubtful


def _candidates(
    model: nn.Module, widths: Widths, known: Collection[AttributePlace]
) -> Iterator[tuple[AttributePlace, int, set[int]]]:
    """Attributes of users' own modules that are equal to a width that changed, and what that became."""
    for name, module in named_modules(model):
        if name not in widths or type(module).__module__.startswith("torch."):
            continue
        right = read_off(module)
        own = vars_of(module)
        for place, value in integers(name, module):
            if place.attribute not in own:
                continue
            sizes = widths[name].get(value, set())
            names = (WIDTH.search(place.attribute), SURE.search(place.attribute))
            plain = place.attribute in right or (NO_WIDTH.search(place.attribute) and not any(names))
            if sizes - {value} and value > 1 and place not in known and not plain:
                yield place, value, sizes


def _text(module: str, attribute: str, value: int) -> str:
    return f"{module}.{attribute}".lstrip(".") + f" is {value} still, which was a width: it cannot be told which one"


def _widths(sizes: Iterable[tuple[str, int, int]]) -> Widths:
    found: Widths = defaultdict(lambda: defaultdict(set))
    for name, old, new in sizes:
        path = name.rpartition(".")[0]
        while True:
            found[path][old].add(new)
            if not path:
                break
            path = path.rpartition(".")[0]
    return found


def _sizes(analysis: Analysis, expectation: Expectation) -> Iterator[tuple[str, int, int]]:
    """The channel dimensions of every tensor, before and after."""
    shapes: Mapping[str, tuple[int, ...]] = analysis.shapes
    parameters = {names[0] for names in analysis.graph.parameters.values()}
    for name, shape in shapes.items():
        for old, axis in list(zip(shape, analysis.axes[name], strict=True))[:2]:
            new = int(expectation.alive(axis).sum())
            if new != old or name in parameters:  # a buffer of places has a size of its own
                yield name, old, new


def _sizes_of_layers(edits: Iterable[AttributeEdit]) -> Iterator[tuple[str, int, int]]:
    """Widths that convolutions were told and no dimension of a tensor shows: what a grouped one reads."""
    for edit in edits:
        if edit.attribute == "in_channels":
            yield f"{edit.module}.{edit.attribute}", edit.before, edit.after
