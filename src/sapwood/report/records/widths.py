"""Of the records: what widths a runtime likes."""

from __future__ import annotations

from typing import Any

from sapwood.report.records.parts import Amount, Count, RecordPart


class LayerStepTimes(RecordPart):
    """What widths that are no multiple of enough cost a layer, relative to the best; by multiple.

    Attributes:
        reads: Of the channels read.
        writes: Of the channels written.
    """

    layer: str
    ms: Amount
    reads: dict[int, Amount]
    writes: dict[int, Amount]


class GroupWidths(RecordPart):
    """What the widths of one group should be multiples of.

    Attributes:
        group: Its name.
        multiple: Of what.
    """

    group: str
    multiple: Count


class WidthTimes(RecordPart):
    """What widths a network should have on a runtime: the fields of :class:`sapwood.goals.WidthSteps`.

    Attributes:
        multiple: What widths should be multiples of.
        times: By multiple: the network's time at equal work, relative to the best, and its standard error.
        groups: Those of another multiple than the network's.
        with_groups: The network's time with these, relative to one multiple for all, and its standard error.
    """

    runtime: str
    multiple: Count
    times: dict[int, tuple[Amount, Amount]]
    layers: tuple[LayerStepTimes, ...]
    measured: str
    conditions: dict[str, Any]
    groups: tuple[GroupWidths, ...] = ()
    with_groups: tuple[Amount, Amount] | None = None
