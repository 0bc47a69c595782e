"""The record of `sapwood compile`: a network on the sparse engine, and how it does beside PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Amount, Count, Fraction, RecordPart, VerbRecord, named_schema, read_part

COMPILE_SCHEMA = "sapwood.compile/1"


class EngineStep(RecordPart):
    """One operation of a compiled network.

    Attributes:
        module: Where it stands in the model.
        operation: What is done; ``dense`` where zeros are multiplied with.
        weights: How many numbers it multiplies with.
        sparsity: The fraction of those that is zero.
        ms: Milliseconds of the first picture.
    """

    module: str
    operation: str
    weights: Count
    sparsity: Fraction = Field(validation_alias=AliasChoices("sparsity", "zeros"))
    ms: Amount


class OutsideCall(RecordPart):
    """A call that PyTorch runs, for the engine has no such operation."""

    op: str
    module: str
    location: str = ""
    reason: str = ""


class BesidePytorch(RecordPart):
    """Times of one picture in rounds of both, in milliseconds, and the ratio of the compiled network's to PyTorch's.

    Attributes:
        pytorch_ms: The model as it was given, in PyTorch.
        compiled_ms: The compiled network.
        ratio: Median over the rounds.
        ratio_q1: Lower quartile.
        ratio_q3: Upper quartile.
        rounds: How many.
    """

    pytorch_ms: Amount
    compiled_ms: Amount
    ratio: Amount
    ratio_q1: Amount
    ratio_q3: Amount
    rounds: Count


class Compiling(VerbRecord):
    """What `sapwood compile` made.

    Attributes:
        model: As it was named.
        out: The directory that the network is in.
        size_bytes: Of its two files.
        sparsity: The fraction of its weights that is zero.
        threads: That it was tuned and timed for.
        compile_s: Seconds that compiling took.
        median_ms: Of a picture.
        run_by: Who runs it: the engine, PyTorch, or both in turns.
        tried_ms: Milliseconds of the wholes that were tried, by name.
        in_pytorch: The calls that PyTorch runs.
        beside: Beside the model in PyTorch.
        max_relative_error: How far outputs are from the model's, as a fraction of the largest.
        steps: Its operations, in order.
        made: By what command, and where.
    """

    sections: ClassVar[tuple[str, ...]] = ("made",)

    schema_id: Literal["sapwood.compile/1"] = named_schema("sapwood.compile/1")
    model: str
    out: str
    size_bytes: Count
    sparsity: Fraction = Field(validation_alias=AliasChoices("sparsity", "zeros"))
    threads: Count
    compile_s: Amount
    median_ms: Amount
    run_by: str
    tried_ms: dict[str, Amount]
    in_pytorch: tuple[OutsideCall, ...]
    beside: BesidePytorch
    max_relative_error: Amount
    steps: tuple[EngineStep, ...] = ()
    made: MadeBy | None = None


def read_compiling(record: Compiling | Mapping[str, Any]) -> Compiling:
    """Returns the record of a compiled network as its type.

    Raises:
        DataError: If it is not such a record.

    Examples:
        >>> read_compiling({"schema": "sapwood.run/1"})
        Traceback (most recent call last):
        ...
        sapwood.errors.DataError: record: schema is 'sapwood.run/1'; expected 'sapwood.compile/1'
    """
    return read_part(record, COMPILE_SCHEMA, Compiling)
