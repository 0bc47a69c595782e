"""What a framework's models need beside being modules is asked at one door, and nobody else names a framework."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.cli.shrink import _own_files
from sapwood.config import TrainConfig
from sapwood.errors import SapwoodError, TrainingError
from sapwood.export import EXPORTERS, Exported, ExportOptions
from sapwood.models import FRAMEWORKS, Framework, Plan, apply_plan, framework_of, load_model, load_saved, save_model
from sapwood.models.darknet import DarknetNetwork
from sapwood.pipeline import shrink_describable
from sapwood.training.preparation import prepare
from sapwood.types import ClassificationDataset, ExampleInputs, ModelBundle, ModelSource, TaskSpec

PACKAGE = Path(sapwood.__file__).parent

AT_HOME = ("models/darknet/", "models/darknet_loader.py", "export/darknet.py")
"""Where Darknet may be imported: its folder, its loader, its exporter."""
FACES = {"models/__init__.py", "export/__init__.py"}
"""Where those are imported so that they register themselves, and are offered to users by name."""


def mentions(path: Path) -> list[str]:
    """The lines of a file that import from Darknet's folder or name its network, text and comments aside."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Name | ast.Attribute):
            names = [node.id if isinstance(node, ast.Name) else node.attr]
        else:
            continue
        wanted = [name for name in names if "models.darknet" in name or name.endswith("DarknetNetwork")]
        found += [f"{path.name}:{node.lineno}: {name}" for name in wanted]
    return found


SOURCES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
ELSEWHERE = [path for name, path in SOURCES.items() if not name.startswith(AT_HOME) and name not in FACES]


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nobody_else_names_darknet_networks(path: Path) -> None:
    assert mentions(path) == [], "ask sapwood.models.framework_of what the model needs"


def test_the_check_sees_mentions(tmp_path: Path) -> None:
    file = tmp_path / "probe.py"
    file.write_text(
        "from sapwood.models.darknet import parse_cfg\n"
        "import sapwood.models.darknet.widths\n"
        "def small(model):\n"
        "    'DarknetNetwork'\n"
        "    return isinstance(model, darknet.DarknetNetwork)\n"
    )
    assert [line.split(":")[1] for line in mentions(file)] == ["1", "2", "5"]


@pytest.fixture
def digits() -> ModelBundle:
    return load_model("builtin:digits")


def test_who_owns_what(digits: ModelBundle) -> None:
    assert framework_of(digits.model) is FRAMEWORKS["darknet"]
    assert framework_of(nn.Linear(2, 2)) is FRAMEWORKS["torch"]


@pytest.mark.parametrize("name", list(FRAMEWORKS))
def test_every_framework_names_what_there_is(name: str) -> None:
    framework = FRAMEWORKS[name]
    assert framework.title
    assert framework.exporter is None or framework.exporter in EXPORTERS
    assert all(Path(file).name == file for file in framework.own_files)


def test_of_any_module_nothing_is_known() -> None:
    model = nn.Linear(2, 2)
    plain = framework_of(model)
    assert (plain.routes(model), plain.describe(model), plain.notes(model)) == ({}, {}, {})
    bundle = plain.bundle(model)
    assert (bundle.task.kind, bundle.source.spec, bundle.source.kind) == ("none", "a Linear of a session", "session")
    assert plain.defaults(bundle) == {}
    assert plain.keep_whole(model, SapwoodError("no")) == {}


def test_darknet_says_what_it_is_saved_as(digits: ModelBundle) -> None:
    network = digits.model
    assert isinstance(network, DarknetNetwork)
    darknet = framework_of(network)
    assert set(darknet.describe(network)) == {"model.cfg"}
    assert darknet.routes(network)
    twin = load_model("builtin:digits").model
    twin.header = replace(network.header, seen=7)
    darknet.take_notes_(network, darknet.notes(twin))
    assert network.header.seen == 7
    darknet.take_notes_(network, {"darknet_header": None})
    assert network.header.seen == 7


class Wide(nn.Module):
    """As models of a framework are that say how wide they are, in an attribute that nothing computes with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.width = 8
        self.stamp = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


class WideFramework(Framework[Wide]):
    """A framework with all that the next ones have: width attributes, files and an exporter of its own, notes."""

    title: ClassVar[str] = "Wide"
    fits_data: ClassVar[bool] = True
    exporter: ClassVar[str | None] = "wide"
    own_files: ClassVar[tuple[str, ...]] = ("wide.txt",)

    def owns(self, model: nn.Module) -> bool:
        return isinstance(model, Wide)

    def describe(self, model: Wide) -> Mapping[str, str]:
        if model.width < 5:
            raise SapwoodError("too thin for a file")
        return {"wide.txt": f"width {model.width}"}

    def keep_whole(self, model: Wide, error: SapwoodError) -> Mapping[str, str]:
        return {"first.weight[0]": "wide files are wide"} if "too thin" in str(error) else {}

    def refit_(self, model: Wide, plan: Plan) -> None:
        model.width = model.first.out_features

    def notes(self, model: Wide) -> Mapping[str, Any]:
        return {"stamp": model.stamp}

    def take_notes_(self, model: Wide, notes: Mapping[str, Any]) -> None:
        model.stamp = notes["stamp"]


class WideExporter:
    name = "wide"
    suffix = ".wide"
    has_batch = False

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        del example_inputs, options
        assert isinstance(model, Wide)
        path.write_text(str(model.width))
        return Exported(self.name, (path,), 0.0, 0.0)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> ModelBundle:
    monkeypatch.setattr(FRAMEWORKS, "_entries", {**FRAMEWORKS._entries, "wide": WideFramework()})
    monkeypatch.setattr(EXPORTERS, "_entries", {**EXPORTERS._entries, "wide": WideExporter()})
    torch.manual_seed(0)
    return ModelBundle(Wide().eval(), torch.rand(2, 4), TaskSpec("none"), ModelSource("wide", "session"))


def test_another_framework_is_asked_after_a_plan_and_before_saving(wide: ModelBundle, tmp_path: Path) -> None:
    pruned = sapwood.prune(wide.model, wide.example_inputs, target=sapwood.Target(sparsity=0.25))
    assert (wide.model.width, pruned.model.width) == (8, 6)
    assert apply_plan(wide.model, pruned.plan).width == 6
    pruned.model.stamp = 5
    save_model(replace(wide, model=pruned.model), tmp_path / "saved", plan=pruned.plan)
    assert (tmp_path / "saved" / "wide.txt").read_text() == "width 6"
    again = load_saved(tmp_path / "saved", factory=Wide).model
    assert isinstance(again, Wide)
    assert (again.width, again.stamp) == (6, 5)
    assert torch.equal(again(wide.example_inputs), pruned.model(wide.example_inputs))
    save_model(replace(wide, source=replace(wide.source, files={})), tmp_path / "saved")  # its files are Sapwood's own
    assert (tmp_path / "saved" / "wide.txt").read_text() == "width 8"


def test_what_its_files_cannot_say_is_kept_whole(wide: ModelBundle) -> None:
    asked: list[dict[str, str]] = []

    def shrink(ignore: dict[str, str]) -> Any:
        asked.append(dict(ignore))
        return sapwood.prune(wide.model, wide.example_inputs, target=sapwood.Target(sparsity=0.5), ignore=ignore)

    result = shrink_describable(wide.model, {}, shrink)
    assert result.model.width == 8
    assert asked == [{}, {"first.weight[0]": "wide files are wide"}]


def test_what_keeping_whole_does_not_help_is_said(wide: ModelBundle) -> None:
    wide.model.width = 4
    kept = type("Kept", (), {"model": wide.model})
    with pytest.raises(SapwoodError, match="too thin for a file"):
        shrink_describable(wide.model, {}, lambda ignore: kept)


def test_its_own_files_are_written_by_its_exporter(wide: ModelBundle, tmp_path: Path) -> None:
    assert _own_files(wide, tmp_path) == ({"wide": "model.wide"}, None)
    assert (tmp_path / "model.wide").read_text() == "8"
    plain = replace(wide, model=nn.Linear(2, 2))
    assert _own_files(plain, tmp_path) == ({}, None)


def test_what_only_some_frameworks_do_names_those_that_can(wide: ModelBundle) -> None:
    plain, config = replace(wide, model=nn.Linear(2, 2)), TrainConfig(input_size=64)
    data = ClassificationDataset("none", (), ())
    with pytest.raises(TrainingError, match="input_size: 64 is for Darknet or Wide networks; wide is none"):
        prepare(plain, data, config)
