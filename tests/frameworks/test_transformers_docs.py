"""The blocks of docs/transformers.md, run in a folder with what they name."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from sapwood.cli import main
from support.hub_folders import make_folder

pytest.importorskip("transformers", reason="needs pip install sapwood[transformers]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

PAGE = Path(__file__).resolve().parents[2] / "docs" / "transformers.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUICKER = {"--latency 0.5 --runtime onnxruntime": "--sparsity 0.5", "--recover distill": "--recover reconstruct"}
"""A clock decides nothing in a test."""


def run(command: str) -> None:
    for slow, quick in QUICKER.items():
        command = command.replace(slow, quick)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert ended.value.code in (0, None), command


def test_every_block_runs_in_the_order_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("accelerate", reason="Trainer needs pip install sapwood[transformers]")
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "dense", "bert")
    (tmp_path / "texts").mkdir()
    lines = "\n".join(
        json.dumps({"text": f"the film is {word}", "label": label}) for label, word in enumerate(("bad", "good"))
    )
    for split in ("train", "val"):
        (tmp_path / "texts" / f"{split}.jsonl").write_text(lines)
    known: dict[str, object] = {}
    ran = {"": 0, "python": 0}
    for kind, text in BLOCK.findall(PAGE.read_text()):
        for line in text.splitlines() if kind == "" else ():
            if line.startswith("sapwood "):
                run(line)
                ran[""] += 1
        if kind == "python":
            exec(text, known)
            ran["python"] += 1
    assert ran == {"": 7, "python": 3}
    assert known["names"] == ["input_ids", "attention_mask", "token_type_ids"]
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["intermediate_size"] == 24  # of 48
