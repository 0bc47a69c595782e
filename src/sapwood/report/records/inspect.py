"""The record of `sapwood inspect`: what a model consists of, and what hangs together in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import FiniteFloat

from sapwood.report.records.latency import LayerLatency
from sapwood.report.records.made import MadeBy
from sapwood.report.records.parts import Count, RecordPart, VerbRecord, named_schema, read_part
from sapwood.report.records.sensitivity import Losses
from sapwood.report.records.widths import WidthTimes

INSPECT_SCHEMA = "sapwood.inspect/1"


class Size(RecordPart):
    """A model's size: parameters, multiply-accumulates, bytes, and the operators that have no formula."""

    params: Count
    macs: Count
    file_bytes: Count
    uncounted: tuple[str, ...] = ()


class Whole(RecordPart):
    """A dimension that stays whole, and why; where only some indices carry nothing and stay, which."""

    sections: ClassVar[tuple[str, ...]] = ("indices",)

    tensor: str
    dim: int
    reason: str
    indices: tuple[Count, ...] | None = None


class InspectedLayer(RecordPart):
    """A layer of a model: the fields of :class:`sapwood.measure.ModelLayer`."""

    name: str
    kind: str
    shape: tuple[Count, ...]
    num_params: Count
    macs: Count


class Group(RecordPart):
    """Dimensions that lose the same channels."""

    name: str
    channels: Count
    members: tuple[str, ...]


class ResidualBlock(RecordPart):
    """A residual branch, which could go as a whole, or a layer that the model's config counts.

    Attributes:
        name: Its name.
        macs: Multiply-accumulates of its layers.
        refused: Why it cannot go, where it cannot.
        change: How far the outputs are from the dense ones without it, as a fraction of these; not told by 0.2.
        as_config: Whether it is a layer that the config counts, which goes with ``--as-config``.
    """

    name: str
    macs: Count
    refused: str = ""
    change: FiniteFloat | None = None
    as_config: bool = False


class Inspection(Size, VerbRecord):
    """What a model consists of.

    Attributes:
        layers: Those that have parameters of their own.
        groups: Each with the dimensions that go together.
        unpruned: Dimensions that cannot lose channels; what only the model's own code stands in the way of is found by
            pruning.
        latency: Where the model was timed, the slowest layer first.
        sensitivity: Where it was measured.
        widths: Where the times of widths were measured.
        made: By what command, when and where; not told by 0.2.
        blocks: Its residual blocks, where they were asked for.
    """

    sections: ClassVar[tuple[str, ...]] = ("latency", "sensitivity", "widths", "made")

    schema_id: Literal["sapwood.inspect/1"] = named_schema("sapwood.inspect/1")
    model: str
    layers: tuple[InspectedLayer, ...]
    groups: tuple[Group, ...]
    unpruned: tuple[Whole, ...] = ()
    latency: LayerLatency | None = None
    sensitivity: Losses | None = None
    widths: WidthTimes | None = None
    made: MadeBy | None = None
    blocks: tuple[ResidualBlock, ...] = ()


def read_inspection(record: Mapping[str, Any] | Inspection) -> Inspection:
    """Reads the record of `sapwood inspect`.

    Raises:
        DataError: If it is not such a record, or of a version this page does not know.
    """
    return read_part(record, INSPECT_SCHEMA, Inspection)
