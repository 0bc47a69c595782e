"""The site builds without a warning, where what builds it is installed: `make docs`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MODULES = ("sphinx", "myst_nb", "furo", "sphinx_copybutton")


@pytest.mark.slow
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in MODULES), reason="needs pip install sapwood[docs]"
)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "reference" / "commands" / "prune.html").read_text()
    assert "--recover-pictures" in page
    assert "https://cdn" not in page
    assert "<math" in (tmp_path / "mathematics.html").read_text()
    assert "sapwood.prune" in (tmp_path / "reference" / "api.html").read_text()
