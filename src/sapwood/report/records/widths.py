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


class WidthTimes(RecordPart):
    """What widths a network should have on a runtime: the fields of :class:`sapwood.goals.WidthSteps`.

    Attributes:
        multiple: What widths should be multiples of.
        times: By multiple: the network's time at equal work, relative to the best, and its standard error.
    """

    runtime: str
    multiple: Count
    times: dict[int, tuple[Amount, Amount]]
    layers: tuple[LayerStepTimes, ...]
    measured: str
    conditions: dict[str, Any]
