"""The folder list is the pipeline: a stage imports from the stages before it, never from a later one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "sapwood"

STAGES = (
    (
        "errors",
        "types",
        "arguments",
        "meant",
        "nested",
        "plugins",
        "registry",
        "task_kinds",
        "limits",
        "caches",
        "files",
        "foreign",
        "reading",
        "pickled",
        "fingerprints",
        "config",
        "recipe",
        "layer_times",
        "elapsed",
    ),
    ("models",),
    ("data",),
    ("tasks",),
    ("ops",),
    ("graph",),
    ("calibration",),
    ("criteria",),
    ("allocation",),
    ("masks",),
    ("removal",),
    ("factoring",),
    ("compaction",),
    ("training",),
    ("recovery",),
    ("export",),
    ("runtime",),
    ("measure",),
    ("goals",),
    ("report",),
    ("pipeline",),
    ("cases",),
    ("comparing",),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(STAGES) for name in names}


def imported_stages(path: Path) -> set[str]:
    """The stages of Sapwood that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{path}:{node.lineno}: relative import; write the full name")
    return {name.split(".")[1] for name in names if name.startswith("sapwood.") and name.split(".")[1] in RANK}


def stage_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if stage_of(path) not in {"__init__", "__main__"}]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up_the_list(path: Path) -> None:
    own = stage_of(path)
    assert own in RANK, f"{own} is not a stage; add it to STAGES where it belongs"
    later = sorted(stage for stage in imported_stages(path) if RANK[stage] > RANK[own])
    assert not later, f"{own} imports {later}, which come after it"


def test_the_check_sees_imports(tmp_path: Path) -> None:
    file = tmp_path / "probe.py"
    file.write_text("from sapwood.masks import apply\nimport sapwood.data.images\n")
    assert imported_stages(file) == {"masks", "data"}
