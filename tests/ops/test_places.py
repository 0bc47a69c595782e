"""Operators of ATen are named beside their rules, and hardly anywhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "sapwood"
RULES = (PACKAGE / "ops", PACKAGE / "runtime" / "engine" / "rules")
MOST = 3
"""Files outside of the rules that may: what a saved network may call is a list for safety, not knowledge."""


def names_operators(code: str) -> Iterator[int]:
    """The lines on which ATen stands in code; what only documents is left out."""
    tree = ast.parse(code)
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
        text = node.value if isinstance(node, ast.Constant) and id(node) not in documents else None
        if name == "aten" or (isinstance(text, str) and re.search(r"\baten\b", text)):
            yield node.lineno


def test_few_files_beside_the_rules_name_an_operator() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = sorted(set(names_operators(path.read_text())))
        if lines and not any(path.is_relative_to(folder) for folder in RULES):
            found[str(path.relative_to(PACKAGE))] = lines
    assert len(found) <= MOST, f"make it a fact beside the rule (ops/facts.py), which everybody may ask for: {found}"
    assert "runtime/engine/operators.py" in found, "the search finds nothing any more"


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("x = 1\nif call.name == 'aten.mm': ...", {2}),
        ("aten = torch.ops.aten\ny = {aten.mm: 1}", {1, 2}),
        ("found = [f'aten.{name}']", {1}),
        ("name.startswith('aten::')", {1}),
        ('"""Of aten.mm."""\ndef f(x):\n    """Runs aten.mm."""\n    return x.flatten()', set()),
        ("latent = concatenated = 1", set()),
    ],
)
def test_the_search_sees_code_only(code: str, lines: set[int]) -> None:
    assert set(names_operators(code)) == lines
