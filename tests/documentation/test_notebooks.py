"""The notebooks run from their first cell to their last, and hold no results of another day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapwood.errors import EngineMissingError
from sapwood.runtime.engine import instruction_set

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_the_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        instruction_set()
    except EngineMissingError as error:
        pytest.skip(str(error))
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {"__name__": path.stem}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{path.name}:{number}", "exec"), names)
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
