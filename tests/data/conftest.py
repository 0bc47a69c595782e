"""Pictures and annotation files to write in a test's own folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WritePicture = Callable[..., Path]


@pytest.fixture
def picture(tmp_path: Path) -> WritePicture:
    """Writes a grey picture below the test's folder, (height, width) = (50, 100) if not told."""

    def write(name: str, size: tuple[int, int] = (50, 100)) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), 128, np.uint8)).save(file)
        return file

    return write


@pytest.fixture
def text(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a text file below the test's folder."""

    def write(name: str, content: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    return write
