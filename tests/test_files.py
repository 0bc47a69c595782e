"""A reader never meets half a file, and a failure leaves what was there before."""

from __future__ import annotations

import errno
import os
import pickle
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sapwood import files
from sapwood.errors import ConfigError, SapwoodError, WriteError
from sapwood.files import others


def full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may be larger meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def make_model(target: Path, *names: str) -> None:
    """A directory of the kind whose mark is ``a``, with a file ``b`` that Sapwood writes as well."""
    with files.new_directory(target, "a", ("b",)) as folder:
        for name in names:
            (folder / name).write_text(name)


def write_over(target: Path) -> None:
    with files.new_directory(target, "a") as folder:
        (folder / "b").write_text("2")
        raise RuntimeError("killed")


def test_a_full_disk_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    files.write_json(path, {"run": 1})
    monkeypatch.setattr(os, "fsync", full_disk)
    wanted = r"record\.json: cannot be written \(No space left on device\); what stood there before is as it was"
    with pytest.raises(WriteError, match=wanted) as raised:
        files.write_json(path, {"run": 2})
    assert raised.value.errno == errno.ENOSPC
    assert path.read_text() == '{\n  "run": 1\n}\n'
    assert os.listdir(tmp_path) == ["record.json"], "no temporary file is left"


def test_an_error_names_the_file_in_the_directory_that_is_written(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "a")
    with largest_file(10), pytest.raises(WriteError, match=rf"^{tmp_path}/model/b: cannot be written \(File too large"):
        write_long(tmp_path / "model")
    assert os.listdir(tmp_path / "model") == ["a"]
    assert os.listdir(tmp_path) == ["model"]


def write_long(target: Path) -> None:
    with files.new_directory(target, "a", ("b",)) as folder:
        files.write_text(folder / "b", "x" * 20)


def test_an_error_about_something_else_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-input"), files.new_files(tmp_path / "out"):
        (tmp_path / "no-such-input").read_bytes()


def test_an_error_of_writing_is_one_of_the_project_and_of_the_system_and_goes_through_pipes() -> None:
    error = pickle.loads(pickle.dumps(WriteError("net.onnx: cannot be written (File too large)")))
    assert isinstance(error, OSError)
    assert isinstance(error, SapwoodError)
    assert (error.exit_code, str(error)) == (2, "net.onnx: cannot be written (File too large)")


def test_json_without_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "record.json", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match=r"not kept for the next time: .*cache/layers/times\.json: cannot be written"):
        files.keep_json(tmp_path / "cache" / "layers" / "times.json", [1])
    (tmp_path / "cache-2").mkdir()
    with pytest.warns(UserWarning, match=r"not kept for the next time: .*cache-2: is a directory; expected a file"):
        files.keep_json(tmp_path / "cache-2", [1])


def test_a_directory_takes_its_place_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    make_model(target, "a")
    with files.new_directory(target, "a") as folder:
        (folder / "b").write_text("2")
        assert os.listdir(target) == ["a"], "the previous one stands until the end"
    assert os.listdir(target) == ["b"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_directory_that_fails_leaves_the_previous_one(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "a")
    with pytest.raises(RuntimeError, match="killed"):
        write_over(tmp_path / "model")
    assert os.listdir(tmp_path / "model") == ["a"]
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(("make", "message"), [
    (lambda target: target.write_text("a file"), "is a file, which Sapwood does not replace by a directory"),
    (lambda target: (target / "inside").mkdir(parents=True), "Sapwood did not write it: there is no a"),
    (lambda target: (target / "a").mkdir(parents=True), "Sapwood did not write it: there is no a"),
], ids=["file", "other directory", "mark is a directory"])  # fmt: skip
def test_nothing_else_is_replaced(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    target = tmp_path / "model"
    make(target)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        write_over(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    make_model(tmp_path / "model", "a")
    assert os.listdir(tmp_path / "model") == ["a"]


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    files.write_text(tmp_path / "note", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "note").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_directory_keeps_its_permissions(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "a")
    (tmp_path / "model").chmod(0o700)
    make_model(tmp_path / "model", "a")
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o700


def add_own_files(target: Path) -> None:
    """What a user may put beside a model."""
    (target / "notes.txt").write_text("mine")
    (target / "plots" / "deep").mkdir(parents=True)
    (target / "plots" / "deep" / "curve.png").write_text("drawn")
    (target / "latest").symlink_to("notes.txt")
    (target / "gone").symlink_to("nowhere")
    (target / ".a.sapwood-notes").mkdir()


def own_files(target: Path) -> dict[str, str]:
    found = {str(one.relative_to(target)): one for one in target.rglob("*") if not one.is_dir()}
    return {name: f"-> {os.readlink(one)}" if one.is_symlink() else one.read_text() for name, one in found.items()}


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied where files cannot be linked"])
def test_the_users_own_files_stay(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(others.os, "link", lambda *_, **__: full_disk(0))
    target = tmp_path / "model"
    make_model(target, "a", "b")
    add_own_files(target)
    number = (target / "notes.txt").stat().st_ino
    make_model(target, "a")
    assert own_files(target) == {
        "a": "a", "notes.txt": "mine", "plots/deep/curve.png": "drawn", "latest": "-> notes.txt", "gone": "-> nowhere",
    }, "and b, which Sapwood wrote, is gone with the model it belonged to"  # fmt: skip
    assert (target / ".a.sapwood-notes").is_dir()
    assert ((target / "notes.txt").stat().st_ino == number) is links
    assert os.listdir(tmp_path) == ["model"]


def test_what_a_user_adds_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "model"
    make_model(target, "a")
    with files.new_directory(target, "a") as folder:
        (folder / "a").write_text("2")
        (target / "notes.txt").write_text("mine")
    assert own_files(target) == {"a": "2", "notes.txt": "mine"}


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "model")
    for _ in range(2):  # it leads nowhere at first
        make_model(link, "a")
        assert os.readlink(link) == str(tmp_path / "disk" / "model")
        assert os.listdir(tmp_path / "disk") == ["model"]
    assert own_files(tmp_path / "disk" / "model") == {"a": "a"}


def test_a_link_to_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to("file")
    files.write_text(tmp_path / "link", "2")
    assert (os.readlink(tmp_path / "link"), (tmp_path / "file").read_text()) == ("file", "2")


@pytest.mark.parametrize("path", [".", "", "..", "/", "../here", "link"])
def test_the_working_directory_is_not_replaced(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    make_model(here, "a")
    (here / "link").symlink_to("../here")
    monkeypatch.chdir(here)
    message = r"is (the working directory|above the working directory) \(/.*\), which cannot be replaced; expected"
    with pytest.raises(ConfigError, match=message):
        files.check_directory(path, "a")
    with pytest.raises(ConfigError, match=message):
        make_model(Path(path), "a")
    assert sorted(os.listdir(here)) == ["a", "link"]


def test_a_mounted_file_system_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "model", "a")
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "model")
    with pytest.raises(ConfigError, match=r"model: a file system is mounted there, which cannot be replaced"):
        files.check_directory(tmp_path / "model", "a")


@pytest.mark.parametrize("check", [
    files.check_file, files.check_folder, lambda path: files.check_directory(path, "a"),
], ids=["file", "folder", "directory"])  # fmt: skip
def test_what_cannot_be_written_is_refused_before_the_work(
    check: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    for below in ("file/out", "file/deep/out"):
        with pytest.raises(ConfigError, match=r"out: .*/file is a file; expected a folder"):
            check(tmp_path / below)
    check(tmp_path / "new" / "deep" / "out")
    assert os.listdir(tmp_path) == ["file"], "nothing is made by asking"
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(WriteError, match=rf"new/out: cannot be written \(Permission denied: {tmp_path}\); what stood"):
        check(tmp_path / "new" / "out")


@pytest.mark.parametrize(
    "check", [files.check_folder, lambda path: files.check_directory(path, "a")], ids=["folder", "directory"]
)
def test_a_new_folder_is_not_named_as_a_file(check: Callable[[Path], None], tmp_path: Path) -> None:
    for name, more in (("fast.onnx", "; one .onnx file is written by `sapwood export`"), ("small.PT", "")):
        ends, other = Path(name).suffix.lower(), Path(name).stem
        message = f"{name}: is a folder that several files go into, and {ends} is how one file ends; expected a name"
        with pytest.raises(ConfigError, match=re.escape(f"{message} such as {other}{more}") + "$"):
            check(tmp_path / name)
    (tmp_path / "mine.pt").mkdir()
    for name in ("mine.pt", "v1.5", "resnet.half", "net"):
        check(tmp_path / name)


def test_only_files_are_replaced_by_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path / "pipe", "is a device or a pipe"), (tmp_path, "is a directory; expected a file")):
        with pytest.raises(ConfigError, match=message):
            files.check_file(path)
        with pytest.raises(ConfigError, match=message):
            files.write_text(path, "x")
    assert os.listdir(tmp_path) == ["pipe"]


def test_the_second_of_two_files_is_replaced_only_beside_the_first(tmp_path: Path) -> None:
    first, second = tmp_path / "net.xml", tmp_path / "net.bin"
    files.check_pair(first, second)
    second.write_text("a picture of the moon")
    with pytest.raises(ConfigError, match=r"net\.bin: it would be replaced, and Sapwood did not write it: there is no"):
        files.check_pair(first, second)
    first.write_text("<net/>")
    files.check_pair(first, second)


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    files.write_text(tmp_path / ("n" * 255), "x")
    make_model(tmp_path / ("m" * 255), "a")
    assert sorted(map(len, os.listdir(tmp_path))) == [255, 255]


def test_files_of_several_folders_are_written_together(tmp_path: Path) -> None:
    places = tmp_path / "one" / "a", tmp_path / "other" / "b", tmp_path / "one" / "c"
    with files.new_files(*places) as written:
        for path in written:
            path.write_text(path.name)
        assert not any(place.exists() for place in places)
    assert [place.read_text() for place in places] == ["a", "b", "c"]
    assert (sorted(os.listdir(tmp_path / "one")), os.listdir(tmp_path / "other")) == (["a", "c"], ["b"])


def test_a_library_that_hides_a_full_disk_is_seen_through(tmp_path: Path) -> None:
    with largest_file(100), pytest.raises(OSError, match="File too large"), files.blaming_the_disk(tmp_path, 200):
        raise ValueError("ios_base::clear")
    with pytest.raises(ValueError, match="not the disk"), files.blaming_the_disk(tmp_path, 200):
        raise ValueError("not the disk")
    assert not os.listdir(tmp_path)


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with files.alone_in(tmp_path / "run"):
        with pytest.raises(ConfigError, match="run: another process of Sapwood is writing there; expected a folder of"):
            files.alone_in(tmp_path / "run").__enter__()
        with files.alone_in(tmp_path / "run" / "step"):
            pass
    with files.alone_in(tmp_path / "run"):
        pass
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("x")
    with pytest.raises(ConfigError, match="run: a file; expected a folder, or nothing there"):
        files.alone_in(tmp_path / "run").__enter__()
