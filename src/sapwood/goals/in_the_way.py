"""What keeps a network from losing as much as was asked for, in words."""

from __future__ import annotations

import math
from collections import defaultdict

from sapwood.graph import Analysis, Unpruned

OF_OUTPUTS = "is an output of the model"
OF_INPUTS = "meets a dimension of fixed size in"


def most_in_the_way(analysis: Analysis) -> str:
    """The reason for which most weights cannot lose channels, as the end of a sentence; nothing where there is none.

    What the model reads and what it returns keeps its size in every network, and is not told.
    """
    by_reason: dict[str, list[Unpruned]] = defaultdict(list)
    for entry in analysis.unpruned:
        if not entry.reason.startswith(OF_OUTPUTS) and (entry.dim == 0 or not entry.reason.startswith(OF_INPUTS)):
            by_reason[entry.reason].append(entry)
    if not by_reason:
        return ""

    def weight(own: list[Unpruned]) -> int:
        return sum(math.prod(analysis.shapes[entry.tensor]) for entry in own)

    reason, own = max(by_reason.items(), key=lambda item: weight(item[1]))
    more = f" and {len(own) - 1} more" if len(own) > 1 else ""
    return f"; most in the way: {own[0].tensor}[{own[0].dim}]{more} {'stay' if more else 'stays'} whole: {reason}"
