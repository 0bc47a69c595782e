"""A name stands for one thing: no class name twice, no constant that means another number elsewhere."""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "sapwood"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def classes(sources: list[Path], root: Path) -> Iterator[tuple[str, str, str]]:
    """(name, room, file) of every class: the room is the folder or the module right below the package."""
    for path in sources:
        place = path.relative_to(root)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield node.name, place.parts[0].removesuffix(".py"), str(place)


def twice(found: Iterator[tuple[str, str, str]]) -> dict[str, list[str]]:
    """Names that several classes have: the same in any two files; but for a leading underscore in any two rooms."""
    files, rooms = defaultdict(list), defaultdict(dict)
    for name, room, file in found:
        files[name].append(file)
        rooms[name.lstrip("_")].setdefault(room, file)
    same = {name: where for name, where in files.items() if len(where) > 1}
    alike = {name: list(where.values()) for name, where in rooms.items() if len(where) > 1}
    return alike | same


def test_no_class_name_stands_for_two_things() -> None:
    assert twice(classes(SOURCES, PACKAGE)) == {}


def test_the_check_sees_names_that_meet(tmp_path: Path) -> None:
    for file, code in {
        "one/a.py": "class Target: ...\nclass Alone: ...",
        "two/b.py": "class _Target: ...\nclass Same: ...\nclass _Own: ...",
        "two/c.py": "class Own: ...\nclass Same: ...",
    }.items():
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    found = twice(classes(sorted(tmp_path.rglob("*.py")), tmp_path))
    assert found == {"Target": ["one/a.py", "two/b.py"], "Same": ["two/b.py", "two/c.py"]}


def test_a_tolerance_says_of_what() -> None:
    bare = [
        str(path.relative_to(PACKAGE))
        for path in SOURCES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and any(isinstance(one, ast.Name) and one.id == "TOLERANCE" for one in node.targets)
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        ("masks", "Target", "MaskTarget"),
        ("removal", "TOLERANCE", "PROOF_TOLERANCE"),
        ("pipeline", "TOLERANCE", "PROOF_TOLERANCE"),
    ],
)
def test_names_of_before_are_found_with_a_warning(package: str, old: str, new: str) -> None:
    module = importlib.import_module(f"sapwood.{package}")
    with pytest.warns(DeprecationWarning, match=f"^sapwood.{package}.{old} is sapwood.{package}.{new} now$"):
        assert getattr(module, old) is getattr(module, new)
    with pytest.raises(AttributeError, match=f"module 'sapwood.{package}' has no attribute 'nothing'"):
        _ = module.nothing
