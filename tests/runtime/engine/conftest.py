"""Where the engine was not built (no compiler), its tests say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sapwood.errors import EngineMissingError
from sapwood.runtime.engine import deciding, instruction_set, set_instruction_set
from sapwood.runtime.engine.choice import SidesChoice
from sapwood.runtime.engine.library import library


@pytest.fixture(scope="session")
def engine() -> None:
    try:
        library()
    except EngineMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    name, before = request.param, instruction_set()
    if not library().sw_has_isa(name.encode()):
        pytest.skip(f"no {name} on this processor")
    set_instruction_set(name)
    yield name
    set_instruction_set(before)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is tried here is not remembered for the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("SAPWOOD_CACHE", raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def _on_the_engine() -> Iterator[None]:
    """What is tested is the engine: nothing is left to PyTorch for being faster there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deciding, "choose", lambda *_: SidesChoice(untried="a test of the engine"))
        patch.setattr(deciding, "keep", lambda *_: None)
        yield
