"""Words about the time of layers that runtimes, measuring and the report share: what is none, what is too little."""

from __future__ import annotations

from collections.abc import Mapping

RUNTIME = "(runtime)"
"""Time of work that belongs to no module of the model: a runtime's own changes of memory layout."""

OVERHEAD = "(overhead)"
"""Time of a run that is in none of its nodes."""

NO_LAYER: Mapping[str, str] = {
    RUNTIME: "changes of memory layout between layers",
    OVERHEAD: "between the layers: the framework itself",
}
"""Names that stand among those of layers -> what the time under them is."""

TELLING_SHARE = 0.01
"""A layer with a smaller share of the time, before and after, needs no words."""
