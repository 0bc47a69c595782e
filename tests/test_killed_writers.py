"""What processes leave that are killed while they write, and what the next one makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sapwood import files
from sapwood.files import renames, temporary

DIES = """
import os, sys
from sapwood import files
from sapwood.files import renames, temporary, writing

def at(owner, name, call):
    "Dies like a killed process at the given call of a function."
    before, count = getattr(owner, name), [0]
    def dying(*arguments, **options):
        count[0] += 1
        if count[0] == call:
            os._exit(9)
        return before(*arguments, **options)
    setattr(owner, name, dying)

os.chdir(sys.argv[1])
"""
WRITES = """
with files.new_directory("model", "a") as folder:
    (folder / "a").write_text("new")
"""
WRITES_TWO = """
with files.new_files("net.bin", "net.xml") as (binary, text):
    binary.write_text("new")
    text.write_text("new")
"""


def run_to_death(folder: Path, code: str) -> None:
    assert subprocess.run([sys.executable, "-c", DIES + code, str(folder)], check=False).returncode == 9


def write(target: Path, text: str) -> None:
    with files.new_directory(target, "a") as folder:
        (folder / "a").write_text(text)


def left(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if temporary.SIGN in name)


def test_what_a_killed_process_leaves_goes_with_the_next_that_writes_there(tmp_path: Path) -> None:
    in_the_middle = "    os._exit(9)\n"
    dies_before_it_is_locked = 'at(temporary.os, "open", 1)'
    for code in (WRITES + in_the_middle, WRITES_TWO + in_the_middle, dies_before_it_is_locked + WRITES):
        run_to_death(tmp_path, code.replace("net.bin", "model"))
        assert len(left(tmp_path)) == 1, "that of the one before is gone"
    write(tmp_path / "other", "1")
    assert len(left(tmp_path)) == 1, "that of another place is not touched"
    write(tmp_path / "model", "1")
    assert sorted(os.listdir(tmp_path)) == ["model", "other"]


def test_asking_whether_a_place_can_be_written_clears_it_too(tmp_path: Path) -> None:
    run_to_death(tmp_path, 'with files.new_files("page.html") as (file,):\n    os._exit(9)')
    files.check_file(tmp_path / "page.html")
    assert not os.listdir(tmp_path)


def test_everything_in_a_folder_is_cleared_for_its_one_writer(tmp_path: Path) -> None:
    (tmp_path / "run" / "cases").mkdir(parents=True)
    for place in ("run/cases/1.json", "run/report.html", "run/2.json"):
        run_to_death(tmp_path, f'with files.new_files("{place}") as (file,):\n    os._exit(9)')
    with files.alone_in(tmp_path / "run"):
        assert [path.name for path in (tmp_path / "run").rglob("*")] == ["cases"]


def test_a_users_folder_with_a_similar_name_is_not_taken_for_one(tmp_path: Path) -> None:
    for name in (".model.backup", ".model.sapwood-notes", ".model.12345678"):
        (tmp_path / name).mkdir()
    write(tmp_path / "model", "1")
    files.remove_unfinished(tmp_path / "model")
    assert len(os.listdir(tmp_path)) == 4


@contextmanager
def another_writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of writing ``model``, and goes on when it is told to."""
    code = DIES + WRITES + '    print("writing", flush=True)\n    sys.stdin.readline()\n'
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process


def test_a_living_process_keeps_what_it_writes(tmp_path: Path) -> None:
    with another_writer(tmp_path) as process:
        (own,) = left(tmp_path)
        write(tmp_path / "model", "ours")
        files.check_directory(tmp_path / "model", "a")
        with files.alone_in(tmp_path):
            assert left(tmp_path) == [own]
        process.communicate("go on\n")
        assert process.returncode == 0
    assert (tmp_path / "model" / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


def test_two_processes_write_one_place_many_times(tmp_path: Path) -> None:
    code = DIES + "for _ in range(50):" + WRITES.replace("\n", "\n    ")
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (tmp_path / "model" / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


def can_exchange(folder: Path) -> bool:
    one, other = folder / "one", folder / "other"
    one.mkdir()
    other.mkdir()
    try:
        return renames.exchange(one, other)
    finally:
        one.rmdir()
        other.rmdir()


def test_there_is_a_whole_directory_at_every_moment(tmp_path: Path) -> None:
    if not can_exchange(tmp_path):
        pytest.skip("this file system does not exchange names")
    missing, done = [], threading.Event()
    write(tmp_path / "model", "1")

    def look() -> None:
        while not done.is_set():
            if not os.path.exists(tmp_path / "model" / "a"):
                missing.append(1)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(300):
        write(tmp_path / "model", "1")
    done.set()
    reader.join()
    assert not missing


@pytest.mark.parametrize("call", [1, 2], ids=["before the first rename", "between the two"])
def test_where_names_cannot_be_exchanged_the_one_before_is_put_back(call: int, tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    run_to_death(tmp_path, f'renames.exchange = lambda *_: False\nat(renames.os, "rename", {call})' + WRITES)
    assert (tmp_path / "model").exists() is (call == 1)
    files.check_directory(tmp_path / "model", "a")
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_where_names_cannot_be_exchanged_it_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "exchange", lambda *_: False)
    write(tmp_path / "model", "old")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    write(tmp_path / "model", "new")
    assert (tmp_path / "model" / "a").read_text() == "new"
    assert sorted(os.listdir(tmp_path / "model")) == ["a", "notes.txt"]
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(("call", "wanted"), [(1, "old"), (2, "new")], ids=["before the first", "between the two"])
def test_two_files_change_together(call: int, wanted: str, tmp_path: Path) -> None:
    for name in ("net.bin", "net.xml"):
        (tmp_path / name).write_text("old")
    run_to_death(tmp_path, f'at(writing.os, "replace", {call})' + WRITES_TWO)
    files.check_pair(tmp_path / "net.xml", tmp_path / "net.bin")
    assert [(tmp_path / name).read_text() for name in ("net.bin", "net.xml")] == [wanted, wanted]
    assert sorted(os.listdir(tmp_path)) == ["net.bin", "net.xml"]


def test_what_was_written_since_is_not_changed_back(tmp_path: Path) -> None:
    run_to_death(tmp_path, 'at(writing.os, "replace", 2)' + WRITES_TWO)
    for name in ("net.bin", "net.xml"):
        (tmp_path / f"{name}.new").write_text("newer")
        os.replace(tmp_path / f"{name}.new", tmp_path / name)
    files.remove_unfinished(tmp_path / "net.bin")
    assert [(tmp_path / name).read_text() for name in ("net.bin", "net.xml")] == ["newer", "newer"]
    assert sorted(os.listdir(tmp_path)) == ["net.bin", "net.xml"]


def test_files_that_cannot_be_locked_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_to_death(tmp_path, 'with files.new_directory("model", "a") as folder:\n    os._exit(9)')
    monkeypatch.setattr(temporary, "fcntl", None)
    write(tmp_path / "model", "1")
    assert len(os.listdir(tmp_path)) == 2
