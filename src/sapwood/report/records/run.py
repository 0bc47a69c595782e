"""The record of `sapwood run`: what `run.json` holds, and its page is built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from sapwood.report.records.bench import BenchRow
from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Amount, Count, RecordPart, VerbRecord, named_schema, read_part

RUN_SCHEMA = "sapwood.run/1"


class NetworkSize(RecordPart):
    """The size of a network that a step made."""

    params: Count
    nonzeros: Count
    macs: Count
    nonzero_macs: Count


class RunStep(RecordPart):
    """A step of a run: the command, how it ended, what it printed as JSON, and the times among that.

    ``fingerprint`` is a hash of all that the step depends on.
    """

    name: str
    verb: str
    command: str
    directory: str
    fingerprint: str = ""
    state: Literal["begun", "done", "missed"]
    seconds: Amount | None = None
    missed: str | None = None
    size: NetworkSize | None = None
    result: Any = None
    timed: tuple[BenchRow, ...] = Field(default=(), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _what_a_bench_timed(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("verb") == "bench" and isinstance(values.get("result"), Mapping):
            return {**values, "timed": values["result"].get("rows", ())}
        return values


class RunRecord(VerbRecord):
    """A run of a recipe; ``earlier`` is what steps had done that were not looked at again.

    Attributes:
        made: By what command, when and where it was run last; not told by 0.2.
    """

    sections: ClassVar[tuple[str, ...]] = ("made",)

    schema_id: Literal["sapwood.run/1"] = named_schema("sapwood.run/1")
    sapwood: str = ""
    model: str
    num_steps: Count
    steps: tuple[RunStep, ...]
    earlier: tuple[RunStep, ...] = ()
    made: MadeBy | None = None


def read_run(record: Mapping[str, Any] | RunRecord) -> RunRecord:
    """Reads the record of a run.

    Raises:
        DataError: If it is none.
    """
    return read_part(record, RUN_SCHEMA, RunRecord)
