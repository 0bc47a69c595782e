"""The command that tries faults, on a few of them; docs/faults.md has the table of many."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "faults" / "run.py"

IN_PLACE = """
import contextlib, pathlib
from sapwood.files import writing

@contextlib.contextmanager
def new_files(*paths):
    yield tuple(map(pathlib.Path, paths))

writing.new_files = new_files
"""


def faults(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the program needs Linux")
def test_a_few_faults(tmp_path: Path) -> None:
    ended = faults(
        "--kills", 9, "--others", 1, "--verbs", "prune,export darknet,train", "-o", tmp_path / "results.json"
    )
    assert ended.returncode == 0, ended.stdout
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["problems"] == []
    kills = {row["verb"]: row["count"] for row in record["counts"] if row["fault"] == "kill"}
    assert kills.keys() == {"prune", "export darknet", "train"}
    assert sum(kills.values()) == 9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the program needs Linux")
def test_it_finds_what_is_wrong() -> None:
    """A Sapwood that writes files in place loses them on a full disk, and the program says so."""
    arguments = ["run.py", "--kills", "0", "--others", "4", "--verbs", "inspect"]
    code = IN_PLACE + f"import runpy, sys\nsys.path.insert(0, {str(PROGRAM.parent)!r})\nsys.argv = {arguments}\n"
    code += f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "VIOLATION: inspect, size limit" in ended.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the program needs Linux")
def test_unknown_verbs() -> None:
    ended = faults("--verbs", "prune,prnue")
    assert (ended.returncode, "unknown verbs ['prnue']" in ended.stdout) == (1, True)
