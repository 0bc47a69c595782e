"""Of the records: by what command, when and where something was made."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sapwood.report.records.parts import RecordPart


class MadeBy(RecordPart):
    """How a record came to be.

    Attributes:
        command: What was typed.
        date: ISO 8601, with the offset from UTC.
        sapwood: Version that wrote it.
        versions: Of what else took part, by name: runtimes, libraries.
        machine: Processor, cores, memory, system, Python, PyTorch.
        then: The commands that may come next, the likeliest first; not told by 0.2.
    """

    command: str = ""
    date: str = ""
    sapwood: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    then: tuple[str, ...] = ()

    @property
    def typed(self) -> str:
        """The command for a reader: it makes the same without ``--json``, and prints tables.

        Examples:
            >>> MadeBy(command="sapwood prune net.cfg --json -o small").typed
            'sapwood prune net.cfg -o small'
        """
        return " ".join(word for word in self.command.split(" ") if word != "--json")

    @property
    def commands(self) -> tuple[str, ...]:
        """What was typed, and what may be typed next."""
        return tuple(one for one in (self.typed, *self.then) if one)
