"""The C++ sources are formatted as ``.clang-format`` says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDERS = ("csrc", "fuzz/engine", "tests/runtime/engine/native")
ENDINGS = {".cpp", ".h", ".inc"}


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*") if path.suffix in ENDINGS)


def faults(paths: list[Path]) -> str:
    """What clang-format would change."""
    clang_format = pytest.importorskip("clang_format", reason="clang-format is not installed")
    command = [clang_format.get_executable("clang-format"), "--dry-run", "--Werror", f"--style=file:{STYLE}"]
    run = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    assert (run.returncode == 0) == (not run.stderr), run.stderr
    return run.stderr


STYLE = REPOSITORY / ".clang-format"


def test_the_sources_are_formatted() -> None:
    found = sources()
    assert {path.parent.name for path in found} >= {"csrc", "kernels", "engine"}
    assert not faults(found), "run `make format`"


def test_what_is_not_formatted_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.cpp").write_text("int  one( ) { return 1 ; }\n")
    assert "code should be clang-formatted" in faults([tmp_path / "one.cpp"])


def test_the_hook_sees_the_same_sources() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    pattern = re.compile(next(hook["files"] for hook in hooks if hook["id"] == "clang-format"))
    assert {hook["id"] for hook in hooks} == {"ruff-format", "ruff", "mypy", "clang-format"}
    assert all(pattern.search(path.relative_to(REPOSITORY).as_posix()) for path in sources())
    assert not pattern.search("src/sapwood/__init__.py")
