"""What a target is: a reader of the project with small seeds of its own, and a call that reads one document.

A target is a function that gets an empty folder and returns its seeds and the reader. A reader may raise an error of
Sapwood's that names the file; nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mutations import Mutation

Read = Callable[[bytes], object]
Prepared = tuple[Sequence[bytes], Read]


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        mutate: How its documents are damaged.
        prepare: Makes the seeds and the reader, in a folder.
    """

    mutate: Mutation
    prepare: Callable[[Path], Prepared]


TARGETS: dict[str, Target] = {}
"""Every target by name."""


def target(mutate: Mutation) -> Callable[[Callable[[Path], Prepared]], Callable[[Path], Prepared]]:
    """Registers a target under the name of its function."""

    def register(prepare: Callable[[Path], Prepared]) -> Callable[[Path], Prepared]:
        TARGETS[prepare.__name__] = Target(mutate, prepare)
        return prepare

    return register


def seeds_of(name: str, folder: Path) -> tuple[list[bytes], Read, Mutation]:
    """Prepares a target."""
    seeds, read = TARGETS[name].prepare(folder)
    return list(seeds), read, TARGETS[name].mutate


def mutated(data: bytes, mutate: Mutation, random: Random) -> bytes:
    """A document after one to three mutations."""
    for _ in range(random.choice((1, 1, 2, 3))):
        data = mutate(data, random)
    return data
