"""Where the engine was not built (no compiler), its tests say so."""

from __future__ import annotations

import pytest

from sapwood.errors import EngineMissingError
from sapwood.runtime.engine.library import library


@pytest.fixture(scope="session")
def engine() -> None:
    try:
        library()
    except EngineMissingError as error:
        pytest.skip(str(error))
