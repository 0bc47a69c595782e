"""What was probably meant is said wherever a name or a path is not there: one table a kind of name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sapwood.allocation import ALLOCATORS
from sapwood.cli import main
from sapwood.config import TrainConfig, parse_config
from sapwood.criteria import CRITERIA
from sapwood.data import open_detection
from sapwood.errors import SapwoodError
from sapwood.export import EXPORTERS
from sapwood.masks import BUDGETS, METHODS
from sapwood.meant import letters, meant_name, meant_path
from sapwood.models import load_model, save_model
from sapwood.models.meant_specs import meant_spec
from sapwood.registry import Registry
from sapwood.runtime import RUNTIMES
from sapwood.training.regularizers import REGULARIZERS

REGISTRIES: list[Registry[Any]] = [ALLOCATORS, BUDGETS, CRITERIA, EXPORTERS, METHODS, REGULARIZERS, RUNTIMES]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_another_case_or_another_mark_between_words_is_told_by_every_registry(registry: Registry[Any]) -> None:
    forms = ((name, (name.upper(), name.replace("_", "-").title(), name.replace("-", " ") + " ")) for name in registry)
    others = [(name, written) for name, writings in forms for written in writings if written not in registry]
    assert others
    for name, written in others:
        with pytest.raises(SapwoodError, match=rf"; did you mean '{name}'\?$"):
            registry[written]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_what_others_call_it_is_an_entry_and_no_entry_s_name(registry: Registry[Any]) -> None:
    for word, name in registry.others.items():
        assert name in registry
        assert word == letters(word)
        assert word not in {letters(one) for one in registry}
        assert registry.meant(word) == f"; did you mean {name!r}?"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("tailor", "taylor"), ("fishr", "fisher"), ("random_", "random"), ("activation mean", "activation_mean")],
)
def test_what_is_spelled_alike_is_told(given: str, meant: str) -> None:
    assert CRITERIA.meant(given) == f"; did you mean {meant!r}?"


@pytest.mark.parametrize("given", ["", "-", "best", "x", None, 3])
def test_nothing_is_made_up(given: object) -> None:
    assert meant_name(given, CRITERIA, CRITERIA.others) == ""


COMMANDS: list[tuple[list[str], str]] = [
    (["prun", "net"], "'prune'?"),
    (["Prune", "net"], "'prune'?"),
    (["evaluate", "net"], "'eval'?"),
    (["test", "net"], "'eval'?"),
    (["quantize", "net"], "'export'?"),
    (["version"], "'--version'?"),
    (["prune", "NET", "--macs", "0.5", "--recover", "Reconstruct"], "'reconstruct'?"),
    (["prune", "NET", "--macs", "0.5", "--criterion", "L2"], "'l2'?"),
    (["prune", "NET", "--macs", "0.5", "--allocator", "Knapsack"], "'knapsack'?"),
    (["prune", "NET", "--macs", "0.5", "--runtime", "engine"], "'sapwood'?"),
    (["mask", "NET", "--method", "l1-unstructured"], "'l1_unstructured'?"),
    (["mask", "NET", "--scope", "Global"], "'global'?"),
    (["export", "NET", "--format", "ONNX", "-o", "net.onnx"], "'onnx'?"),
    (["bench", "NET", "--runtime", "ort"], "'onnxruntime'?"),
    (["eval", "NET", "--data", "Digits"], "'digits'?"),
    (["eval", "builtin:digit", "--data", "digits"], "'digits'?"),
]


@pytest.mark.parametrize(("arguments", "meant"), COMMANDS, ids=" ".join)
def test_the_command_line_says_what_was_meant(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main(["builtin:digits" if one == "NET" else one for one in arguments])
    assert end.value.code == 2
    assert f"did you mean {meant}" in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_an_option_of_another_program_s_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, option in (
        (["train", "net", "--imgsz", "320"], "--input-size"),
        (["mask", "net", "--amount", "1"], "--sparsity"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert f"(Possible options: {option})" in capsys.readouterr().err


def test_a_field_and_a_value_of_a_configuration_are_told() -> None:
    for values, meant in (
        ({"epoch": 3}, "'epochs'"),
        ({"schedule": "Cosine"}, "'cosine'"),
        ({"augment": {"flip": 1}}, None),
    ):
        with pytest.raises(SapwoodError) as error:
            parse_config(TrainConfig, values, where="here")
        assert str(error.value).endswith(f"; did you mean {meant}?") is (meant is not None)


def test_a_path_is_told_from_what_stands_beside_it(tmp_path: Path) -> None:
    for name in ("yolov3-tiny.cfg", "yolov4-tiny.cfg", "000138.jpg"):
        (tmp_path / name).write_text("")
    (tmp_path / "pictures").mkdir()
    assert meant_path(tmp_path / "yolov3-tny.cfg") == f"; did you mean {tmp_path / 'yolov3-tiny.cfg'}?"
    assert meant_path(tmp_path / "picture" / "a.jpg") == f"; did you mean {tmp_path / 'pictures'}?"
    assert meant_path(tmp_path / "000139.jpg") == ""
    assert meant_path(tmp_path / ("n" * 300)) == meant_path("a\0b") == meant_path("") == meant_path("/") == ""
    assert meant_spec("n" * 300) == meant_spec("a\0b") == meant_spec("") == ""


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda folder: load_model(folder / "nett.cfg"), "net.cfg"),
        (load_model, "net.cfg"),
        (lambda folder: load_model(folder / "run"), "run/model"),
        (lambda folder: open_detection(folder / "piktures", split="val"), "pictures"),
    ],
    ids=["a cfg", "a folder with a cfg", "a folder with a model", "a data set"],
)
def test_every_reader_of_a_place_tells_it(call: Callable[[Path], Any], meant: str, tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text("")
    (tmp_path / "pictures").mkdir()
    save_model(load_model("builtin:digits-half"), tmp_path / "run" / "model")
    with pytest.raises(SapwoodError) as error:
        call(tmp_path)
    assert str(error.value).endswith(f"; did you mean {tmp_path / meant}?")


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("resnet18", "did you mean torchvision:resnet18?"),
        ("net.weights", "net.cfg --weights net.weights"),
        ("net.pth", ".pth files are weights, which go beside a model: torchvision:NAME --weights net.pth"),
        ("conftest.py", "did you mean conftest.py:FUNCTION, of which conftest.py has the code?"),
        ("net.onnx", "expected the network of PyTorch that one was made of"),
        ("nothing-like-it", ""),
    ],
)
def test_what_is_no_model_is_told_from_what_it_is(spec: str, meant: str) -> None:
    if spec == "resnet18":
        pytest.importorskip("torchvision")
    assert meant_spec(spec).endswith(meant) if meant else meant_spec(spec) == ""


def test_a_file_of_python_is_told_with_its_functions(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text("def net(width=8): ...\ndef helper(x): ...\nclass Other: ...\n")
    assert meant_spec(str(file)) == f"; did you mean {file}:net, of which {file} has the code?"
    with pytest.raises(SapwoodError, match=r"has no 'nett'; expected a function or a class; did you mean 'net'\?$"):
        load_model(f"{file}:nett")


def test_a_pt_of_tensors_is_told_from_one_of_ultralytics(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "net.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    for name in ("net.pt", "whole.pt"):
        with pytest.raises(
            SapwoodError, match=rf"torchvision:NAME --weights .*{name}, .*file.py:factory --weights .*\)$"
        ):
            load_model(tmp_path / name)


def test_fields_are_told_by_what_others_call_them() -> None:
    for values, meant in (({"imgsz": 320}, "input_size"), ({"batch": 4}, "batch_size"), ({"learning_rate": 1}, "lr")):
        with pytest.raises(SapwoodError, match=rf"did you mean '{meant}'\?$"):
            parse_config(TrainConfig, values, where="here")
