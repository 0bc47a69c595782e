"""Where a refusal comes from is written down, and true: the first file that is named says the text."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "sapwood"
MOST = 6
"""Files that somebody opens who asks why."""


def table() -> dict[str, list[str]]:
    """The text of a reason or an error -> the files that it comes from, by docs/design.md."""
    section = (REPOSITORY / "docs" / "design.md").read_text().split("## Why was it refused")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    return {text.strip(): re.findall(r"`([^`]+)`", files) for text, files in rows}


def texts(path: Path) -> str:
    """All that a file may say, the parts of one text together."""
    return "".join(
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize("text", table())
def test_a_reason_is_found_in_few_files(text: str) -> None:
    files = table()[text]
    assert 1 <= len(files) <= MOST
    assert [file for file in files if not (PACKAGE / file).exists()] == []
    assert text in texts(PACKAGE / files[0]), f"docs/design.md says that {files[0]} says {text!r}"


def test_every_error_of_removal_is_in_the_table() -> None:
    """What ends a search, and what an obstacle is called."""
    said = [
        ast.unparse(node)
        for path in sorted((PACKAGE / "removal").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"CheckFailedError", "Obstacle"}
    ]
    assert len(said) >= 5
    unknown = [code for code in said if not any(text in code for text in table())]
    assert unknown == [], "a line of the table in docs/design.md, under 'Why was it refused', is missing"
