"""The page of Ultralytics: every block runs, and every command in its text."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import sapwood
from sapwood.cli import main
from support.yolo_files import write_checkpoint, write_data

ultralytics = pytest.importorskip("ultralytics.utils", reason="needs pip install sapwood[ultralytics]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that Ultralytics imports

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ultralytics.md"
PART = re.compile(r"^```(?P<kind>\w*)\n(?P<block>.*?)^```$|`(?P<inline>sapwood [^`]+)`", re.DOTALL | re.MULTILINE)
SMALLER = "--sparsity 0.4 --round-to 1 --recover distill --recover-steps 2"
QUICKER = {
    "--latency 0.5 --runtime onnxruntime --recover distill": SMALLER,
    "--runtime onnxruntime": "--runtime onnxruntime --rounds 2",
    "epochs=20": "epochs=1, batch=4, workers=0, plots=False, amp=False, device='cpu', exist_ok=True",
}
"""A clock decides nothing in a test."""


def quicker(text: str) -> str:
    for slow, quick in QUICKER.items():
        text = text.replace(slow, quick)
    return text


def run(command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert ended.value.code in (0, None), command


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page names, where Ultralytics writes its runs too."""
    write_checkpoint(tmp_path / "best.pt")
    write_data(tmp_path / "shapes").rename(tmp_path / "data.yaml")
    Image.open(tmp_path / "shapes" / "images" / "val" / "0.png").save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.cfg.TESTS_RUNNING", False)  # or its runs are written beside the package
    monkeypatch.setattr(type(ultralytics.SETTINGS), "_save", lambda _: None)  # the user's own stay as they are
    monkeypatch.setitem(ultralytics.SETTINGS, "runs_dir", str(tmp_path / "runs"))
    return tmp_path


def test_every_block_runs_in_the_order_of_the_page(at_home: Path) -> None:
    pytest.importorskip("onnxruntime")
    ran = {"command": 0, "python": 0, "pip": 0}
    known: dict[str, Any] = {}
    for part in PART.finditer(PAGE.read_text()):
        text = part["inline"] or part["block"]
        if part["kind"] == "python":
            exec(quicker(text), known)
            ran["python"] += 1
            continue
        for line in text.splitlines():
            if line.startswith("pip install"):
                ran["pip"] += 1
            else:
                run(quicker(line))
                ran["command"] += 1
    assert ran == {"command": 4, "python": 2, "pip": 1}
    small, tuned = (
        sapwood.load_model(str(at_home / name)) for name in ("small.pt", "runs/detect/train/weights/best.pt")
    )
    shapes = [[tensor.shape for tensor in one.model.parameters()] for one in (small, tuned)]
    assert shapes[0] == shapes[1]
    assert sapwood.count_params(small.model) < 0.7 * sapwood.count_params(sapwood.load_model("best.pt").model)
