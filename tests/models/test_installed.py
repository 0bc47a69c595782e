"""What is said of a framework that cannot be imported."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from sapwood.models.installed import not_importable


@pytest.mark.parametrize(
    ("package", "oldest", "wanted"),
    [
        (
            "no-such-package",
            "5.24",
            "no-such-package is not installed or not whole (why); expected for x:NAME, install",
        ),
        ("numpy", "1.0", "numpy is not installed or not whole (why); expected for x:NAME, install it by: pip install"),
        (
            "numpy",
            "999.1",
            f"numpy {version('numpy')} is too old, and cannot be imported here (why); expected 999.1 or",
        ),
    ],
)
def test_an_older_release_that_cannot_be_imported_is_named(package: str, oldest: str, wanted: str) -> None:
    error = not_importable(package, ImportError("why"), needed_for="x:NAME", extra="zoo", oldest=oldest)
    assert str(error).startswith(wanted)
    assert str(error).endswith("sapwood[zoo]")
