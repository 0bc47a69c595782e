from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import torch

from sapwood.measure import hardware, machine


def test_the_machine_is_named_in_json() -> None:
    said = machine()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["threads"] == torch.get_num_threads()
    assert said["torch"] == torch.__version__
    assert said["python"] == platform.python_version()
    assert 1 <= said["usable_cores"] <= said["logical_cores"]
    assert platform.node() not in said.values()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Quick CPU @ 3 GHz\n\nprocessor\t: 1\n", "Quick CPU @ 3 GHz"),
        ("processor : 0\nBogoMIPS : 108.00\nModel : Raspberry Pi 4\n", "Raspberry Pi 4"),
        ("model name :\n", None),
    ],
)
def test_the_name_of_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, name: str | None) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    monkeypatch.setattr(hardware, "CPUINFO", file)
    assert machine()["cpu"] == (name or platform.processor() or platform.machine())
