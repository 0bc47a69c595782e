"""What is printed where it cannot be: on a full disk, to nobody, to an output that was closed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sapwood.cli import main
from sapwood.cli.output import Output
from sapwood.errors import WriteError


def sapwood(arguments: str, shell: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a shell of its own."""
    line = shell.format(f"{sys.executable} -m sapwood {arguments}")
    return subprocess.run(["bash", "-c", line], stderr=subprocess.PIPE, text=True, check=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", ["--help", "inspect {}", "inspect {} --json"])
def test_a_full_disk(arguments: str, cfg: Path) -> None:
    ended = sapwood(arguments.format(cfg), "{} > /dev/full")
    assert ended.returncode == 2
    assert ended.stderr == "error: standard output: cannot be written (No space left on device)\n"


@pytest.mark.parametrize("arguments", ["--help", "inspect {}", "inspect {} --json", "inspect {} -o {}.html"])
def test_nobody_reads_it(arguments: str, cfg: Path) -> None:
    ended = sapwood(arguments.format(cfg, cfg), "{} | true; exit ${{PIPESTATUS[0]}}")
    assert (ended.returncode, ended.stderr) == (141, "")


def test_the_output_is_closed(cfg: Path) -> None:
    ended = sapwood(f"inspect {cfg} -o {cfg}.html", "{} >&-")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Path(f"{cfg}.html").read_text().strip().endswith("</html>")


def test_errors_go_nowhere_where_nobody_wants_them() -> None:
    assert sapwood("inspect no-such.cfg", "{} 2> /dev/full").returncode == 2
    assert sapwood("inspect no-such.cfg", "{} 2>&-").returncode == 2


class Full(io.StringIO):
    """A stream that cannot be written."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_an_output_names_itself() -> None:
    with pytest.raises(WriteError, match=r"^standard output: cannot be written \(No space left on device\)$"):
        Output(Full()).write("x")
    stream = io.StringIO()
    out = Output(stream)
    assert (out.write("text"), out.getvalue(), out.isatty()) == (4, "text", False)


def test_a_warning_is_one_line(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., int], capsys: pytest.CaptureFixture[str], cfg: Path
) -> None:
    def warn(*_: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn("not kept for the next time", stacklevel=1)

    monkeypatch.setattr("sapwood.pipeline.check_inputs", warn)
    stream = sys.stdout
    assert run("inspect", cfg) == 0
    assert capsys.readouterr().err == "warning: not kept for the next time\n"
    assert sys.stdout is stream
    with pytest.raises(SystemExit):
        main(["--version"])
    assert sys.stdout is stream


def test_an_interruption_while_options_are_read_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sapwood.cli.flags.Verb.parse_args", stop)
    with pytest.raises(SystemExit) as end:
        main(["inspect", "my net.cfg"])
    assert end.value.code == 130
    told = "interrupted: before anything new was written; start again with: sapwood inspect 'my net.cfg'\n"
    assert capsys.readouterr().err == told


def test_an_interruption_while_the_command_is_loaded_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "sapwood.cli.app", Loading("sapwood.cli.app"))
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 130
    told = "interrupted: before anything new was written; start again with: sapwood --version\n"
    assert capsys.readouterr().err == told


def test_a_terminal_of_another_encoding_shows_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    with pytest.raises(SystemExit) as end:
        main(["inspect", "builtin:digits"])
    sys.stdout.flush()
    assert end.value.code == 0
    assert b"layers.0.conv" in shown.getvalue()
