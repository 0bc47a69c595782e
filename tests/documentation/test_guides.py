"""Every block of the tutorial and the how-to pages runs, with a tiny detector for the reader's network."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import sapwood
from sapwood.cli import main
from sapwood.criteria import CRITERIA
from sapwood.errors import EngineMissingError
from sapwood.export import EXPORTERS
from sapwood.models import LOADERS
from sapwood.ops import FACTS, RULES, UNKNOWN
from sapwood.runtime.engine import instruction_set
from support.cfgs import plain_detector

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
WITHOUT_BLOCKS = {"index.md", "several-gpus.md"}
"""Of the how-to pages; the second starts processes, as the tests of training do."""

HOW_TO = sorted(path.name for path in (DOCS / "howto").glob("*.md") if path.name not in WITHOUT_BLOCKS)
QUICK = {"masked-model.md", "unlabelled-pictures.md", "extend.md", "ci.md"}
PAGES = [
    *(pytest.param(page, marks=pytest.mark.slow) for page in ("tutorial.md", "troubleshooting.md")),
    *(pytest.param(f"howto/{name}", marks=[] if name in QUICK else [pytest.mark.slow]) for name in HOW_TO),
]

QUICKER = {
    "--teacher builtin:digits --epochs 4": "--teacher net.cfg --teacher-weights net.weights --epochs 1",
    "builtin:digits": "net.cfg --weights net.weights",
    "--data digits": "--data pictures",
    "train small --data pictures --epochs 1": "train net.cfg --weights net.weights --data pictures --epochs 1",
    "--sparsity 0.1 -o masked": "--sparsity 0.4 -o masked",
    "--recover-pictures 500": "--recover-pictures 4",
    "--runtime torch,onnxruntime": "--runtime torch --rounds 2",
    "--runtime sapwood,onnxruntime": "--runtime sapwood --rounds 2",
}
"""What is said to a reader, and what a test does in its place."""

NOT_RUN = ("pip ", "accelerate ", "ACCELERATE_", "make ", "cd ")
"""How lines begin that install something or start processes."""


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every block, a block inside a list moved to the left."""
    found = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    return [(kind, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in found]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the pages speak of: a network, pictures with boxes, and the examples of the project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("start.cfg").write_text(plain_detector(8, 8))
    torch.manual_seed(0)
    sapwood.export_darknet(sapwood.load_model("start.cfg").model, "net.cfg")
    Path("net.names").write_text("dark\nlight\n")
    generator = np.random.default_rng(0)
    for folder in ("pictures", "other-pictures"):
        for split in ("train", "val", "test"):
            for number in range(2):
                image = Path(folder, "images", split, f"{number}.png")
                label = Path(folder, "labels", split, f"{number}.txt")
                image.parent.mkdir(parents=True, exist_ok=True)
                label.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(image)
                label.write_text("0 0.5 0.5 0.4 0.4\n")
    Image.new("RGB", (40, 30), "white").save("picture.ppm")
    Path("examples").symlink_to(DOCS.parent / "examples")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


def keep_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has what a page registers gone after the test."""
    for registry in (CRITERIA, RULES, LOADERS, EXPORTERS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_owners", dict(registry._owners))
    monkeypatch.setitem(FACTS, "mine.softcap", UNKNOWN)


def ended(words: list[str]) -> int:
    """The exit code of a command line, run in this process."""
    try:
        main(words[1:]) if words[0] == "sapwood" else runpy.run_path(words[1], {"__name__": "__main__"})
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def run_commands(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs each line that is a command; a clock decides nothing in a test."""
    for told, done in QUICKER.items():
        text = text.replace(told, done)
    text = re.sub(r"(sapwood prune .*)--latency 0\.\d+( --runtime \w+)?", r"\1--macs 0.7", text)
    text = re.sub(r"(sapwood mask .*)--latency 0\.\d+", r"\1--sparsity 0.5", text)
    lines = [line.partition("  #")[0].removeprefix("PYTHONPATH=. ") for line in text.splitlines()]
    for line in lines:
        if line.startswith(NOT_RUN) or not line.strip():
            continue
        words = shlex.split(line)
        if words[:2] == ["python", "-c"]:
            exec(words[2], {})
        else:
            monkeypatch.setattr(sys, "argv", words[1:])
            assert ended(words) == 0, line


def test_the_check_of_a_pipeline_reads_what_eval_writes(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (check,) = (text for kind, text in blocks("howto/ci.md") if kind == "python")
    (workplace / "check.py").write_text(check)
    evaluated = ["sapwood", "eval", "net.cfg", "--weights", "net.weights", "--data", "pictures", "--json"]
    assert ended(evaluated) == 0
    printed = capsys.readouterr().out
    Path("accuracy.json").write_text(printed)
    monkeypatch.setattr(sys, "argv", ["check.py", "accuracy.json"])
    assert ended(["python", "check.py"]) == 1
    assert (
        capsys.readouterr().out
        == f"mAP@0.5 {json.loads(Path('accuracy.json').read_text())['metrics']['mAP@0.5']:.3f}\n"
    )


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.filterwarnings("default")
def test_every_block_of_the_page_runs(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "zeros" in page or page == "tutorial.md":
        try:
            instruction_set()
        except EngineMissingError as error:
            pytest.skip(str(error))
    pytest.importorskip("onnxruntime")
    keep_registries(monkeypatch)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where its dataclasses look for their annotations
    done = 0
    for kind, text in blocks(page):
        file = re.match(r"# (\w+\.py)\n", text)
        if kind == "python" and file:
            (workplace / file[1]).write_text(text)
        elif kind == "python":
            exec(compile(text.replace("Target(latency=", "Target(macs="), page, "exec"), vars(module))
        elif kind == "yaml":
            assert yaml.safe_load(text)
            continue
        elif kind == "":
            run_commands(text, monkeypatch)
        done += 1
    assert done > 0
