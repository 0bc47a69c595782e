"""What stays whole is told with the place in the code that stands in the way, on the console, too."""

from __future__ import annotations

import pytest

from sapwood.report.shrinking import unpruned_table

SHAPE = "a shape in the code that no attribute explains, in aten.view"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ([f"{SHAPE} in module 'attn' at net.py:12"] * 2, f"{SHAPE} in module 'attn' at net.py:12"),
        (
            [f"{SHAPE} in module 'a' at net.py:12", f"{SHAPE} in module 'b' at net.py:20"],
            f"{SHAPE} in module 'a' at net.py:12 and 1 more",
        ),
        (["is an output of the model: 0"], "is an output of the model: 0"),
    ],
)
def test_a_reason_has_its_file_and_line(reasons: list[str], expected: str) -> None:
    table = unpruned_table([{"tensor": "w", "dim": dim, "reason": reason} for dim, reason in enumerate(reasons)])
    assert [row[0] for row in table.rows] == [expected]
