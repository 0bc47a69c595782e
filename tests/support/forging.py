"""Networks of the engine that were changed after they were written, with the digest that fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from sapwood.errors import EngineError
from sapwood.runtime import load
from sapwood.runtime.engine import saved

Change: TypeAlias = Callable[[dict[str, Any]], Any]


def forged(written: Path, folder: Path, change: Change, version: int = saved.VERSION) -> Path:
    """A copy of what was written that ``change`` has changed, with the digest that fits."""
    head = json.loads((written / saved.NETWORK_NAME).read_text())
    data = (written / saved.WEIGHTS_NAME).read_bytes()
    content = json.loads(head["content"])
    change(content)
    text = json.dumps(content)
    head.update(version=version, content=text, sha256=saved._digest(text, data))
    folder.mkdir()
    (folder / saved.WEIGHTS_NAME).write_bytes(data)
    (folder / saved.NETWORK_NAME).write_text(json.dumps(head))
    return folder


def refused(written: Path, folder: Path, change: Change, message: str, version: int = saved.VERSION) -> None:
    place = forged(written, folder, change, version)
    with pytest.raises(EngineError, match=message) as caught:
        load(place, threads=1, tune=False)
    assert str(caught.value).startswith(f"{place / saved.NETWORK_NAME}: ")


def node(content: dict[str, Any], kind: str, number: int = 0) -> dict[str, Any]:
    found: list[dict[str, Any]] = [one for one in content["nodes"] if one["node"] == kind]
    return found[number]


def resized(content: dict[str, Any], kind: str, size: list[int]) -> None:
    out = node(content, kind)["out"]
    for row in content["sizes"]:
        if row[0] == out:
            row[1:] = size
