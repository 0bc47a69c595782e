"""Times of a runtime's nodes as times of layers."""

from __future__ import annotations

import pytest

from sapwood.runtime import OVERHEAD
from sapwood.runtime.onnx_nodes import summed


@pytest.mark.parametrize(("run", "left"), [(5.0, 2.0), (3.0, 0.0), (2.8, 0.0)])
def test_what_is_left_of_a_run_is_never_below_zero(run: float, left: float) -> None:
    """Nodes have a clock of their own: together they may take longer than the run that they are in."""
    assert summed({"a": 1.0, "b": 2.0}, {"a": "conv", "b": "conv"}, run) == {"conv": 3.0, OVERHEAD: left}
