"""The fuzz command: its guards catch what they are for, and a short run of every target finds nothing."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"

MISDEEDS = {
    "import canary": "imports a module that a file names",
    "__import__('subprocess').run(['true'])": "subprocess.Popen",
    "__import__('os').system('true')": "os.system",
    "open('/tmp/sapwood-fuzz-elsewhere', 'w')": "writes /tmp/sapwood-fuzz-elsewhere",
    "__import__('socket').socket().connect(('127.0.0.1', 9))": "socket.connect",
    "__import__('time').sleep(5)": "takes more than 1 s",
    "b'x' * (300 << 20)": "of memory",
}

PROGRAM = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import guards
guards.SECONDS, guards.RESIDENT = 1, 200 << 20
with tempfile.TemporaryDirectory() as folder:
    guard = guards.Guard(Path(folder))
    try:
        with guard.watch():
            try:
                exec(sys.argv[2])
            except OSError:
                pass
    except guards.Violation as violation:
        print(violation)
"""


@pytest.mark.parametrize("misdeed", [*MISDEEDS, "open('here', 'w').close()", "import string"])
def test_guards_see_what_no_reader_may_do(misdeed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(FUZZ), misdeed], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    expected = MISDEEDS.get(misdeed, "")
    assert expected in done.stdout
    assert bool(expected) == bool(done.stdout)


def test_a_command_names_its_targets() -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ / "run.py"), "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "unknown: nothing; expected some of train_config, recipe, cases" in done.stderr


@pytest.mark.parametrize(
    ("name", "enum"),
    [
        ("builder.cpp", "KINDS"),
        ("changes.cpp", "KINDS"),
        ("reference.cpp", "KINDS"),
        ("reference.cpp", "ACTIVATIONS"),  # elsewhere they are numbers
    ],
)
def test_a_kind_that_the_driver_does_not_know_is_named(name: str, enum: str, tmp_path: Path) -> None:
    """A later operation of the engine must be built, its fields changed, and its values computed slowly."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    engine_c = runpy.run_path(str(FUZZ / "fuzz_engine_c.py"))
    header = (engine_c["ENGINE"] / "sapwood_engine.h").read_text()
    later = header.replace(f"  SW_NUM_{enum} =", f"  SW_LATER = 30,\n  SW_NUM_{enum} =")
    (tmp_path / "sapwood_engine.h").write_text(later)
    command = [compiler, f"-I{tmp_path}", *engine_c["BASE"], "-fsyntax-only", str(engine_c["DRIVER"] / name)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "SW_LATER" in run.stderr


@pytest.mark.slow
def test_a_short_run_of_every_target_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ / "run.py"), "--seconds", "60", "--seed", "1", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--engine", "hypothesis"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for result in json.loads((tmp_path / "summary.json").read_text()):
        assert result["inputs"], result  # how many there are in two seconds hangs on what else the machine does
        assert result["seeds_refused"] < result["seeds"], f"{result['target']} accepts none of its seeds"
        assert result["accepted"] + result["refused"] == result["inputs"], result
