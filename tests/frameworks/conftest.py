"""What tests of several frameworks share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of transformers by the names of ``support.hub_folders``, each made once."""
    from support.hub_folders import make_folder

    root, made = tmp_path_factory.mktemp("hub"), dict[str, Path]()

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = make_folder(root / name, name)
        return made[name]

    return folder
