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


def blocks(kind: str) -> list[str]:
    return [text for name, text in BLOCK.findall(PAGE.read_text()) if name == kind]


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "dense", "bert")
    (tmp_path / "texts").mkdir()
    lines = "\n".join(
        json.dumps({"text": f"the film is {word}", "label": label}) for label, word in enumerate(("bad", "good"))
    )
    for split in ("train", "val"):
        (tmp_path / "texts" / f"{split}.jsonl").write_text(lines)
    commands = [line for text in blocks("") for line in text.splitlines() if line.startswith("sapwood ")]
    assert len(commands) == 5
    for command in commands:
        line = command
        for slow, quick in QUICKER.items():
            line = line.replace(slow, quick)
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(line)[1:])
        assert ended.value.code in (0, None), line
    python = blocks("python")
    assert len(python) == 2
    known: dict[str, object] = {}
    for text in python:
        exec(text, known)
    assert known["names"] == ["input_ids", "attention_mask", "token_type_ids"]
