"""What a package shows is in its ``__init__``: other packages import it from there, not from a file behind it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "sapwood"
FACES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
LIMIT = 20  # of imports


def behind_a_face(path: Path, package: Path = PACKAGE) -> list[str]:
    """The imports of a file that reach past the face of another package, as ``file: module``."""
    own = path.relative_to(package).parts[0]
    reaches = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        first, _, rest = node.module.removeprefix("sapwood.").partition(".")
        if node.module.startswith("sapwood.") and first in FACES - {own} and rest:
            reaches.append(f"{path.relative_to(package)}: {node.module}")
    return reaches


def test_few_imports_reach_past_the_face_of_another_package() -> None:
    reaches = [reach for path in sorted(PACKAGE.rglob("*.py")) for reach in behind_a_face(path)]
    assert len(reaches) < LIMIT, "\n".join(reaches)


def test_a_reach_is_seen_and_what_a_face_shows_is_none(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    file = tmp_path / "cli" / "verb.py"
    file.write_text(
        "from sapwood.models.plan import Cut\nfrom sapwood.models import Plan\nfrom sapwood.cli.app import app\n"
    )
    assert behind_a_face(file, tmp_path) == ["cli/verb.py: sapwood.models.plan"]
