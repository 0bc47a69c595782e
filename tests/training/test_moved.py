"""Names that moved from `recovery` go on working, and say where they are now."""

from __future__ import annotations

import pytest

from sapwood import recovery, training


@pytest.mark.parametrize("name", training.__all__)
def test_a_name_that_moved_is_still_found_and_says_its_new_place(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"sapwood.recovery.{name} is sapwood.training.{name} now"):
        assert getattr(recovery, name) is getattr(training, name)


def test_a_name_that_never_was_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'forget'"):
        _ = recovery.forget
