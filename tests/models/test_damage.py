"""Whatever stands in the files of a saved model: it loads, or the error is a SavedModelError that names the file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

import sapwood
from sapwood.errors import SavedModelError, WeightsError
from sapwood.models import load_saved
from sapwood.models.state_dict import read_state

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**9, 2**70, 10**400, 0.5, float("nan"), float("inf"), "", "x", "0.weight", "\ud800",
    "x" * 300, "a\0b", [], [1], [0, 1], ["x"], {}, {"tuple": [8]}, {"torch.Size": ["x"]}, {"a": "b"}, [[[]]],
)  # fmt: skip


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.LayerNorm(144)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Of a model that was pruned and compacted, with a live mask."""
    model, folder = network(), tmp_path_factory.mktemp("saved") / "small"
    pruned = sapwood.prune(model, torch.randn(1, 3, 8, 8), target=sapwood.Target(sparsity=0.5))
    with torch.no_grad():
        pruned.model[0].weight[0] = 0
    prune.l1_unstructured(pruned.model[3], "weight", amount=3)
    sapwood.save(pruned, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def saved(files: dict[str, bytes], tmp_path: Path) -> Path:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, those of long lists by their first two."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value[:2]):
            yield from places(item, (*path, number))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def outcome(directory: Path) -> str:
    """Loads it; anything but the right error fails the test."""
    message = None
    try:
        load_saved(directory, factory=network)
    except SavedModelError as error:
        message = str(error)
    assert message is None or str(directory) in message or "no name for a file" in message, message
    return "loaded" if message is None else "refused"


def test_any_value_at_any_place_of_the_plan(saved: Path) -> None:
    plan = json.loads((saved / "plan.json").read_text())
    counts = {"loaded": 0, "refused": 0}
    for path in places(plan):
        for new in random.Random(str(path)).sample(ODD, 8):
            (saved / "plan.json").write_text(json.dumps(replaced(plan, path, new)))
            counts[outcome(saved)] += 1
    assert counts["refused"] > 400, counts
    assert counts["loaded"] > 50, counts  # of the record, notes and what stands there already


def test_any_part_of_the_plan_may_be_missing(saved: Path) -> None:
    whole = (saved / "plan.json").read_bytes()
    outcomes = []
    for number in range(60):
        start = random.Random(number).randrange(len(whole))
        (saved / "plan.json").write_bytes(whole[:start] + whole[start + 1 + number :])
        outcomes.append(outcome(saved))
    assert outcomes.count("refused") > 50, "a gap is rarely inside of a note, which nobody checks"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"schema_version": 2, "plans": ' + "[" * 900 + "]" * 900 + "}"]
)
def test_deep_nesting_is_named(text: str, saved: Path) -> None:
    (saved / "plan.json").write_text(text)
    assert outcome(saved) == "refused"


def test_damaged_weights_are_named(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    outcomes = []
    for number in range(150):
        chance = random.Random(number)
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(end)] = chance.randrange(256)
        (saved / "model.safetensors").write_bytes(data)
        outcomes.append(outcome(saved))
    assert outcomes.count("refused") > 140, "all of the header means something"


@pytest.mark.parametrize(
    "kept", ["5", "[]", "null", '{"0": ["x"]}', '{"0": 1e999}', '{"0": 1.5}', "{", "[" * 99_999, "é"]
)
def test_damaged_module_versions_are_named(kept: str, saved: Path) -> None:
    state = safetensors.torch.load_file(saved / "model.safetensors")
    safetensors.torch.save_file(state, saved / "model.safetensors", metadata={"module_versions": kept})
    with pytest.raises(SavedModelError, match=r"model\.safetensors"):
        load_saved(saved, factory=network)


def test_tensors_of_odd_types_are_named(saved: Path) -> None:
    state = safetensors.torch.load_file(saved / "model.safetensors")
    found = {}
    for dtype in (torch.float8_e4m3fn, torch.bool, torch.int64, torch.uint8, torch.complex64):
        odd = {name: tensor.to(dtype) for name, tensor in state.items()}
        with suppress(KeyError):  # early releases of safetensors cannot write all of these
            safetensors.torch.save_file(odd, saved / "model.safetensors")
            found[dtype] = outcome(saved)
    assert found.pop(torch.complex64, "loaded") == "loaded", (
        "a model may be of complex numbers; its types are those of the file"
    )
    if torch.__version__ >= "2.15":  # multiplies numbers of eight bits by masks
        assert found.pop(torch.float8_e4m3fn, "loaded") == "loaded"
    assert set(found.values()) == {"refused"}, found


def test_damaged_state_dicts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "state.pth"
    for legacy in (False, True):
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=not legacy)
        whole, messages = path.read_bytes(), []
        for number in range(200):
            chance = random.Random(number)
            data = bytearray(whole[: chance.randrange(len(whole))] if number % 4 == 0 else whole)
            for _ in range(chance.randrange(1, 6) if data else 0):
                data[chance.randrange(len(data))] = chance.randrange(256)
            path.write_bytes(data)
            try:
                read_state(path)
            except WeightsError as error:
                messages.append(str(error))
        assert len(messages) > 100, "what is cut off, and damage to all that is no weight, is seen"
        assert all(str(path) in message for message in messages)
