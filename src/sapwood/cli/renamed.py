"""One vocabulary of options: an option means the same in every verb, and names of before go on working."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sapwood.cli.output import complain

_PICTURES = {"--split": "--train-split", "--num-pictures": "--criterion-pictures"}

RENAMED: Mapping[str, Mapping[str, str]] = {
    "bench": {"--batch": "--batch-size"},
    "compact": {"--layers": "--show-layers"},
    "export": {"--batch": "--batch-size"},
    "inspect": {"--batch": "--batch-size", "--latency": "--layer-times", **_PICTURES},
    "mask": _PICTURES,
    "prune": {"--batch": "--batch-size", "--layers": "--show-layers", **_PICTURES},
    "train": {"--val-split": "--split"},
}
"""Verb -> name of before -> name."""


def current(verb: str, name: str) -> str:
    """Returns what an option of a verb is called now; says so where that is another name.

    Examples:
        >>> current("bench", "--runtime")
        '--runtime'
    """
    now = RENAMED.get(verb, {}).get(name, name)
    if now != name:
        complain(f"warning: {name} of sapwood {verb} is {now} now; the old name goes on working", 0)
    return now


def renamed(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a command with the options' names of today.

    Examples:
        >>> renamed(["eval", "net.cfg", "--split", "val"])
        ['eval', 'net.cfg', '--split', 'val']
    """
    place = next((number for number, text in enumerate(arguments) if text in RENAMED), None)
    if place is None:
        return list(arguments)
    verb, found = arguments[place], list(arguments[: place + 1])
    rest = iter(arguments[place + 1 :])
    for text in rest:
        if text == "--":
            return [*found, text, *rest]
        name, equals, value = text.partition("=")
        found.append(f"{current(verb, name)}{equals}{value}" if name.startswith("--") else text)
    return found
