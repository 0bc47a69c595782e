"""A dense network as teacher in Ultralytics' own trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sapwood
from sapwood.errors import ConfigError, TrainingError
from sapwood.export import export_ultralytics
from sapwood.models.ultralytics import keep_widths
from sapwood.training.ultralytics import taught_by
from support.yolo_files import SIZE, write_checkpoint, write_classes, write_data

ultralytics = pytest.importorskip("ultralytics", reason="needs pip install sapwood[ultralytics]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that Ultralytics imports


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dense network and a pruned one."""
    return dense_and_small(tmp_path_factory.mktemp("networks"), "yolo11n")


def dense_and_small(folder: Path, name: str) -> tuple[Path, Path]:
    dense = write_checkpoint(folder / "dense.pt", f"{name}.yaml")
    bundle = sapwood.load_model(str(dense))
    pruned = sapwood.prune(
        bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.5), limits=sapwood.Limits(round_to=1)
    )
    export_ultralytics(pruned.model, bundle.example_inputs, folder / "small.pt")
    return dense, folder / "small.pt"


def train(model: Any, data: Path, folder: Path, trainer: Any, **more: Any) -> Any:
    options = {"epochs": 1, "imgsz": SIZE, "batch": 4, "workers": 0, "plots": False, "verbose": False, "amp": False}
    model = ultralytics.YOLO(model) if isinstance(model, Path) else model
    options |= {"project": str(folder), "name": "run", "exist_ok": True, "device": "cpu", **more}
    model.train(data=str(data), trainer=trainer, **options)
    return model


def columns(folder: Path) -> dict[str, list[float]]:
    """What the trainer noted of each epoch."""
    names, *rows = (line.split(",") for line in (folder / "run" / "results.csv").read_text().split())
    return {name: [float(row[place]) for row in rows] for place, name in enumerate(names)}


def shapes(path: Path) -> list[torch.Size]:
    return [tensor.shape for tensor in sapwood.load_model(str(path)).model.parameters()]


def test_widths_stay_and_the_teacher_stays_out(files: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    dense, small = files
    before = sapwood.load_model(str(dense))
    state = {name: tensor.clone() for name, tensor in before.model.state_dict().items()}
    model = train(small, data, tmp_path, taught_by(before, weight=2.0), epochs=2)
    noted = columns(tmp_path)
    assert all(value > 0 for value in noted["train/teacher_loss"])
    assert noted["val/teacher_loss"] == [0, 0]
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.model.state_dict().items())
    for name in ("last.pt", "best.pt"):
        file = tmp_path / "run" / "weights" / name
        assert shapes(file) == shapes(small)
        assert not [one for one in torch.serialization.get_unsafe_globals_in_checkpoint(str(file)) if "sapwood" in one]
        assert file.stat().st_size < 1.5 * small.stat().st_size
    assert model.trainer.model.criterion is None
    train(model, data, tmp_path / "alone", keep_widths)
    assert "train/teacher_loss" not in columns(tmp_path / "alone")


def losses(small: Path, data: Path, folder: Path, trainer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What Ultralytics sums up of the first batch, and what the network gives for its pictures."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def look(own: Any) -> None:
        if not seen:
            seen.append((own.loss.detach(), own.loss_items))

    model = ultralytics.YOLO(small)
    model.add_callback("on_train_batch_end", look)
    train(model, data, folder, trainer, val=False)
    return seen[0]


def test_the_loss_has_the_term_weighted_a_picture(files: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    dense, small = files
    own, parts = losses(small, data, tmp_path, keep_widths)
    none, _ = losses(small, data, tmp_path, taught_by(dense, weight=0.0))
    half, halved = losses(small, data, tmp_path, taught_by(dense, weight=0.5))
    whole, _ = losses(small, data, tmp_path, taught_by(dense, weight=1.0))
    assert torch.equal(none, own)
    assert {name: value for name, value in halved.items() if name != "teacher_loss"} == parts
    torch.testing.assert_close(half - own, 4 * halved["teacher_loss"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole - own, 2 * (half - own), rtol=1e-4, atol=1e-4)


def test_a_run_that_was_stopped_goes_on_with_it(files: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    dense, small = files
    train(small, data, tmp_path / "whole", taught_by(dense), epochs=3, save_period=1)
    resumed = ultralytics.YOLO(tmp_path / "whole" / "run" / "weights" / "epoch1.pt")
    resumed.train(resume=True, trainer=taught_by(dense), plots=False, save_dir=str(tmp_path / "again" / "run"))
    assert resumed.trainer.start_epoch == 2
    assert columns(tmp_path / "again")["train/teacher_loss"][0] > 0
    assert shapes(tmp_path / "again" / "run" / "weights" / "last.pt") == shapes(small)


@pytest.mark.parametrize("name", ["yolov10n", "yolo26n", "yolo11n-cls"])
def test_other_heads_are_taught(name: str, data: Path, tmp_path: Path) -> None:
    dense, small = dense_and_small(tmp_path, name)
    where = write_classes(tmp_path / "classes") if name.endswith("-cls") else data
    softer = {"temperature": 4.0} if name.endswith("-cls") else {}
    train(small, where, tmp_path, taught_by(dense, **softer), epochs=2)
    assert all(value > 0 for value in columns(tmp_path)["train/teacher_loss"])
    assert shapes(tmp_path / "run" / "weights" / "last.pt") == shapes(small)


def test_what_is_no_teacher_is_named(files: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    dense, small = files
    with pytest.raises(ConfigError, match=r"distill_weight.*-1"):
        taught_by(dense, weight=-1)
    with pytest.raises(ConfigError, match="teacher is an int; expected a model's name"):
        taught_by(3)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="expected a network of Ultralytics"):
        taught_by("builtin:digits")
    with pytest.raises(TrainingError, match=r"distill_temperature: 2.0 .* expected 1"):
        taught_by(dense, temperature=2.0)
    other = write_checkpoint(tmp_path / "other.pt", names={0: "a", 1: "b"})
    with pytest.raises(TrainingError, match=r"the teacher's classes: \('a', 'b'\); expected .*'round', 'square'"):
        train(small, data, tmp_path, taught_by(other))
    classes = write_checkpoint(tmp_path / "classes.pt", "yolo11n-cls.yaml")
    with pytest.raises(TrainingError, match="the teacher's task: 'classify'; expected the network's, 'detect'"):
        train(small, data, tmp_path, taught_by(classes))
    newer = write_checkpoint(tmp_path / "newer.pt", "yolo26n.yaml")
    with pytest.raises(TrainingError, match="the teacher gives boxes, scores of shapes"):
        train(small, data, tmp_path, taught_by(newer))


def test_several_devices_have_no_teacher(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Their processes make a trainer each, by its name alone."""

    class OfTwo:
        world_size = 2

    monkeypatch.setattr("sapwood.training.ultralytics.keep_widths", lambda *_: OfTwo())
    with pytest.raises(TrainingError, match="2 devices; expected one"):
        taught_by(files[0])(overrides={"device": "0,1"})
