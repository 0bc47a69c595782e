"""Int8 files: what is left in float32 for accuracy's sake, what is told of them, and what is not left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sapwood.errors import CheckFailedError, ConfigError, DataError
from sapwood.pipeline import Int8File, Int8Options, export_int8, quantising
from sapwood.pipeline.agreeing import agreement
from sapwood.tasks import open_data
from sapwood.types import ModelBundle, ModelSource, TaskSpec

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxruntime.quantization", reason="needs pip install sapwood[int8]")

SHADES = {"dark": 20, "light": 220}


@contextmanager
def stage(name: str) -> Iterator[Callable[[int, int], None]]:
    """No bar."""
    assert name
    yield lambda done, total: None


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of two classes that brightness tells apart."""
    root = tmp_path_factory.mktemp("shades")
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, shade in SHADES.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                picture = shade + generator.integers(-15, 16, (16, 16, 3))
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def bundle(fragile: float = 0.0) -> ModelBundle:
    """A classifier by brightness. With ``fragile`` the middle layer reads it through weights that are so many times
    smaller than one of a channel that is always 0, and so below a step of int8."""
    torch.manual_seed(0)
    first, middle, last = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
    with torch.no_grad():
        for layer in (first, middle):
            layer.weight.fill_(0.1)
            layer.bias.zero_()
        last.weight[0], last.weight[1] = -1.0, 1.0
        level = 0.1 * 27 * 0.5 * 0.3 * 4
        last.bias[0], last.bias[1] = level, -level
        if fragile:
            first.weight[0], first.bias[0] = 0.0, -1.0
            middle.weight[:, 0] = 0.1 * fragile
    layers = (first, nn.ReLU(), middle, nn.ReLU(), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    task = TaskSpec(kind="classification", input_size=(16, 16), class_names=tuple(SHADES))
    model = nn.Sequential(*layers).eval()
    return ModelBundle(model, torch.rand(1, 3, 16, 16), task, ModelSource("shades", "factory"))


def export(given: ModelBundle, path: Path, data: Path, **options: Any) -> Int8File:
    return export_int8(given, "onnx", path, Int8Options(str(data), threads=1, **options), stage=stage)


def float_layers(path: Path) -> set[str]:
    """The layers whose weights are no int8."""
    names = {one.name for one in onnx.load(path).graph.initializer}
    return {name for name in ("0", "2", "4") if f"model.{name}.weight" in names}


def test_a_file_is_written_measured_and_told_of(shades: Path, tmp_path: Path) -> None:
    given = bundle()
    before = {name: value.clone() for name, value in given.model.state_dict().items()}
    result = export(given, tmp_path / "net.onnx", shades)
    assert [file.name for file in result.exported.files] == ["net.onnx"] == [one.name for one in tmp_path.iterdir()]
    assert result.exported.max_relative_error <= result.exported.tolerance
    assert (result.num_int8, result.num_layers, result.left) == (3, 3, {})
    assert (result.num_calibrated, result.num_measured) == (8, 8)
    assert (result.judged.metric, result.judged.before, result.judged.after) == ("top-1", 1.0, 1.0)
    assert (result.judged.agreement, result.judged.drop) == (1.0, 0.0)
    assert not float_layers(tmp_path / "net.onnx")
    assert all(torch.equal(value, before[name]) for name, value in given.model.state_dict().items())
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"images": np.ones((1, 3, 16, 16), dtype=np.float32)})[0].argmax() == 1


def test_the_fewest_layers_stay_in_float32(shades: Path, tmp_path: Path) -> None:
    fragile = bundle(fragile=1000.0)
    worse = export(fragile, tmp_path / "all.onnx", shades)
    assert worse.judged.before == 1.0
    assert worse.judged.drop == 0.5
    result = export(fragile, tmp_path / "some.onnx", shades, max_drop=0.01)
    assert result.left == {"2": "--int8-max-drop"}
    assert (result.judged.after, result.num_int8) == (1.0, 2)
    assert float_layers(tmp_path / "some.onnx") == {"2"}


def test_pictures_of_all_classes_are_measured(shades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders come class by class, and int8 is wrong on one class."""
    monkeypatch.setattr(quantising, "MOST_MEASURED", 4)
    result = export(bundle(fragile=1000.0), tmp_path / "net.onnx", shades)
    assert result.num_measured == 4
    assert result.judged.drop == 0.5


def test_a_file_that_is_too_bad_is_not_left(shades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"earlier")
    drops = iter([0.5, 0.4, 0.3])
    given = quantising.Judged
    judge = lambda self, quantised: given(1.0, "top-1", 1.0, 1.0 - next(drops))  # noqa: E731
    monkeypatch.setattr(quantising._Quantising, "_judged", judge)
    message = (
        r"net.onnx: int8 loses 0.5000 of top-1 \(1.0000 to 0.5000\), and more than 0.1 with all but one of 3 layers in "
        r"float32; expected at most that. Nothing was written"
    )
    with pytest.raises(CheckFailedError, match=message):
        export(bundle(), path, shades, max_drop=0.1)
    assert path.read_bytes() == b"earlier"
    assert [one.name for one in tmp_path.iterdir()] == ["net.onnx"]
    assert next(drops, None) is None


def test_pictures_without_labels_are_judged_by_what_float32_finds(shades: Path, tmp_path: Path) -> None:
    plain = tmp_path / "pictures"
    plain.mkdir()
    for number, file in enumerate(sorted((shades / "val").rglob("*.png"))):
        (plain / f"{number}.png").write_bytes(file.read_bytes())
    result = export(bundle(fragile=1000.0), tmp_path / "net.onnx", plain)
    assert (result.judged.metric, result.judged.before, result.judged.after) == (None, None, None)
    assert result.judged.agreement == 0.5 == result.judged.drop


def test_a_layer_that_was_asked_for_stays(shades: Path, tmp_path: Path) -> None:
    result = export(bundle(), tmp_path / "net.onnx", shades, ignore=("4",))
    assert result.left == {"4": "--int8-ignore"}
    assert float_layers(tmp_path / "net.onnx") == {"4"}


class Bare(nn.Module):
    """A product in the network's own forward, which belongs to no other module."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.left = nn.Conv2d(3, 4, 8, 8), nn.Parameter(torch.rand(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return (self.left @ self.conv(x).flatten(2)).mean(2)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_what_runs_in_float32_is_told_by_its_name(shades: Path, tmp_path: Path, kind: torch.dtype) -> None:
    given = bundle()
    given = replace(given, model=Bare().to(kind).eval(), example_inputs=given.example_inputs.to(kind))
    result = export(given, tmp_path / "net.onnx", shades)
    assert (result.num_int8, result.num_layers) == (1, 2)
    assert result.left == {"node_matmul": "onnxruntime-int8 computes it in float32"}


def test_any_batch(shades: Path, tmp_path: Path) -> None:
    options = Int8Options(str(shades), num_pictures=5, threads=1)
    export_int8(bundle(), "onnx", tmp_path / "net.onnx", options, dynamic_batch=True, stage=stage)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        (found,) = session.run(None, {"images": np.ones((batch, 3, 16, 16), dtype=np.float32)})
        assert found.shape == (batch, 2)


@pytest.mark.parametrize(("file_format", "options", "error", "message"), [
    ("darknet", {}, ConfigError, "darknet files hold no int8; expected --format onnx or openvino"),
    ("onnx", {"ignore": ("9",)}, ConfigError, "--int8-ignore 9: fits no layer; expected one of 0, 2, 4"),
    ("onnx", {"split": "test"}, DataError, "test"),
])  # fmt: skip
def test_what_does_not_fit_is_named(
    file_format: str, options: dict[str, Any], error: type[Exception], message: str, shades: Path
) -> None:
    given = Int8Options(str(shades), threads=1, **options)
    with pytest.raises(error, match=message):
        export_int8(bundle(), file_format, shades / "net.onnx", given, stage=stage)
    assert sorted(one.name for one in shades.iterdir()) == ["train", "val"]


def test_a_drop_is_a_fraction() -> None:
    with pytest.raises(ConfigError, match=r"--int8-max-drop 1.5; expected a number in \[0, 1\)"):
        Int8Options("somewhere", max_drop=1.5)


def test_agreement_counts_what_both_find(shades: Path) -> None:
    dataset = open_data(bundle(), shades)
    assert agreement(bundle(), bundle(), dataset) == 1.0
    other = bundle()
    with torch.no_grad():
        other.model[4].bias[0] = 1e6  # all is dark
    assert agreement(bundle(), other, dataset) == 0.5


def test_openvino_files_are_written_together(shades: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="needs pip install sapwood[int8]")
    options = Int8Options(str(shades), threads=1)
    result = export_int8(bundle(), "openvino", tmp_path / "net.xml", options, stage=stage)
    assert [file.name for file in result.exported.files] == ["net.xml", "net.bin"]
    assert (result.judged.agreement, result.judged.after) == (1.0, 1.0)
    text = (tmp_path / "net.xml").read_text()
    assert "i8" in text
    assert '<task value="classification"' in text


def test_an_int8_file_tells_how_it_is_used(shades: Path, tmp_path: Path) -> None:
    given = bundle()
    export(given, tmp_path / "net.onnx", shades)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert (told["task"], json.loads(told["names"])) == ("classification", list(given.task.class_names))
