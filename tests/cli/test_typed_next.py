"""Every command that a verb or its page proposes can be typed as it stands: weights, data and quoting are kept."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from sapwood.cli.app import app
from support.cfgs import plain_detector

Capture = pytest.CaptureFixture[str]
Run = Callable[..., int]
COMMANDS: Any = typer.main.get_command(app)

NET = ("my net.cfg", "--weights", "my net.weights")
DATA = ("--data", "my data")
MASK = ("mask", *NET, "--sparsity", "0.5")
VERBS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", *NET, "-o", "page.html"),
    "prune": ("prune", *NET, "--sparsity", "0.5", "-o", "my small"),
    "prune, recovered": ("prune", *NET, "--macs", "0.9", *DATA, "--recover", "batchnorm", "-o", "my small"),
    "prune, not saved": ("prune", *NET, "--sparsity", "0.5"),
    "mask": (*MASK, "-o", "my masked"),
    "mask, filters": (*MASK, "--method", "ln_structured", "-o", "my masked"),
    "mask, not saved": MASK,
    "compact": ("compact", *NET, "-o", "my small"),
    "compact, not saved": ("compact", *NET),
    "train": ("train", *NET, *DATA, "--epochs", "1", "--batch-size", "2", "--split", "train", "-o", "my run"),
    "eval": ("eval", *NET, *DATA, "-o", "page.html"),
    "eval, against": (
        "eval",
        "my saved",
        "--against",
        *NET[:1],
        "--against-weights",
        *NET[2:],
        *DATA,
        "-o",
        "page.html",
    ),
    "eval, against itself": ("eval", *NET, "--against", "my saved", *DATA, "-o", "page.html"),
    "detect": ("detect", *NET, "my data/images/val", "-o", "found"),
    "compile": ("compile", *NET, "--no-tune", "--threads", "1", "-o", "fast"),
    "export": ("export", *NET, "--format", "darknet", "-o", "other.cfg", "--report", "page.html"),
    "bench": ("bench", *NET, "--rounds", "2", "-o", "page.html"),
    "bench, twice": ("bench", "my net.cfg", *NET, "--weights", "my net.weights", "--rounds", "2", "-o", "page.html"),
    "run": ("run", "my recipe.yaml", "-o", "my out"),
    "report": ("report", "my saved"),
}
PAGES = ("page.html", "my small/report.html", "my masked/report.html", "my run/report.html", "found/report.html")
LONG = {"bench", "compile", "train"}
"""Verbs that take seconds: what is proposed of them is read, and not run."""


@pytest.fixture
def place(tmp_path: Path, data: Path, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    """A folder with a network, its weights and pictures, whose names have spaces."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my net.cfg").write_text(plain_detector(8, 8))
    shutil.copytree(data, "my data")
    Path("my recipe.yaml").write_text(json.dumps({"model": "my net.cfg", "steps": [{"prune": {"sparsity": 0.5}}]}))
    assert run("export", "my net.cfg", "--format", "darknet", "-o", "a.cfg", "--quiet") == 0
    Path("a.weights").rename("my net.weights")
    assert run("prune", *NET, "--sparsity", "0.5", "-o", "my saved", "--quiet") == 0
    capsys.readouterr()
    return tmp_path


def proposed(printed: str) -> list[str]:
    return re.findall(r"^(?:next|  or): (.*)$", printed, re.MULTILINE)


def on_pages() -> list[str]:
    """The commands of the pages that stand in the folder."""
    found: list[str] = []
    for page in filter(Path.is_file, map(Path, PAGES)):
        codes = re.findall(r'<dd class="command"><code>(.*?)</code>', page.read_text(), re.DOTALL)
        found += [html.unescape(re.sub(r"<[^>]+>", "", code)) for code in codes]
    return found


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.usefixtures("place")
def test_what_is_proposed_can_be_typed(verb: str, run: Run, capsys: Capture) -> None:
    assert run(*VERBS[verb]) == 0
    told = proposed(capsys.readouterr().out)
    assert told
    shown = on_pages()
    assert not shown or set(told) <= set(shown), "the page and the console propose the same"
    for command in dict.fromkeys([*told, *shown]):
        words = ["my data" if word == "DIR" else word for word in shlex.split(command)]
        if words[0] == "python":
            assert words[1:4] == ["-m", "webbrowser", "-t"]
            continue
        assert words[0] == "sapwood"
        assert not ("my net.cfg" in words and "my net.weights" not in words), command
        check(words[1:], run)


def check(words: list[str], run: Run) -> None:
    """Runs a command; one that takes seconds is only read, and what it names has to be there."""
    if words[0] not in LONG and "--latency" not in words:
        assert run(*words, "--quiet") == 0
        return
    verb = COMMANDS.commands[words[0]]
    options = verb.make_context(words[0], words[1:]).params
    for model in options.get("models") or [options["model"]]:
        assert Path(model).exists()


@pytest.mark.usefixtures("own_model")
def test_functions_of_ones_own_are_named_again(run: Run, capsys: Capture) -> None:
    for verb in (
        ("prune", "ownnet:factory", "--sparsity", "0.5", "-o", "small"),
        ("mask", "ownnet:factory", "--sparsity", "0.5", "-o", "masked"),
        ("train", "ownnet:factory", "--data", "shades", "--epochs", "1", "--batch-size", "2", "-o", "run"),
    ):
        assert run(*verb) == 0
        told = proposed(capsys.readouterr().out)
        of_saved = [shlex.split(command) for command in told if "ownnet:factory" not in command.split()[2:3]]
        assert of_saved
        for words in of_saved:
            assert words[words.index("--model-factory") + 1] == "ownnet:factory"
            check([("shades" if word == "DIR" else word) for word in words[1:]], run)
        capsys.readouterr()
