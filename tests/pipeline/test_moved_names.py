"""Names that moved to another room go on working, with a warning."""

from __future__ import annotations

import pytest

import sapwood.comparing
import sapwood.pipeline


@pytest.mark.parametrize("name", sorted(sapwood.pipeline.MOVED - {"CANDIDATES"}))
def test_what_moved_is_found_with_a_warning(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"sapwood\.pipeline\.{name} is sapwood\.comparing\.{name} now"):
        found = getattr(sapwood.pipeline, name)
    assert found is getattr(sapwood.comparing, name)


def test_what_is_nowhere_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sapwood.pipeline.nothing  # noqa: B018
