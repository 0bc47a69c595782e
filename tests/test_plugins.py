"""Other packages add by entry points: late, each fault named, no name taken twice; the example does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from sapwood.errors import ConfigError, PluginError
from sapwood.registry import Registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plugin"
GROUP = "sapwood.test_things"

Install = Callable[..., None]


def write_metadata(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    """What installing a package leaves beside its modules."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in own.items()) for group, own in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def things() -> Registry[str]:
    registry: Registry[str] = Registry("thing", entry_points=GROUP)
    registry.register("stone")("a stone")
    return registry


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, things: Registry[str]) -> Install:
    """Makes packages of one module each, whose code sees the registry as ``things``."""
    monkeypatch.syspath_prepend(tmp_path)
    import builtins

    monkeypatch.setattr(builtins, "_things_of_a_test", things, raising=False)

    def install_package(name: str, code: str) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(f"import builtins\nthings = builtins._things_of_a_test\n{code}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        write_metadata(tmp_path, name, {GROUP: {"mine": module}})

    return install_package


def test_plugins_are_imported_at_the_first_look(install: Install, things: Registry[str]) -> None:
    install("late-things", 'things.register("wood")("some wood")')
    things.register("sand")("sand")
    assert "late_things" not in sys.modules
    assert things["wood"] == "some wood"
    assert list(things) == ["sand", "stone", "wood"]
    assert len(things) == 3


@pytest.mark.parametrize("look", [len, list, lambda things: "wood" in things, lambda things: things["stone"]])
def test_every_look_imports(look: Callable[[Registry[str]], object], install: Install, things: Registry[str]) -> None:
    install("looked-things", 'things.register("wood")("some wood")')
    look(things)
    assert "looked_things" in sys.modules


def test_a_plugin_may_look_itself(install: Install, things: Registry[str]) -> None:
    install("looking-things", 'things.register("two stones")(things["stone"] * 2)')
    assert things["two stones"] == "a stonea stone"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("a = (", "SyntaxError: "),
    ],
)
def test_one_that_fails_is_named_once_and_left_out(
    code: str, error: str, install: Install, things: Registry[str]
) -> None:
    install("good-things", 'things.register("wood")("some wood")')
    install("broken-things", f'things.register("half")("a half")\n{code}')
    with pytest.warns(RuntimeWarning) as caught:
        assert list(things) == ["stone", "wood"]
    (warning,) = caught
    expected = f"broken-things 1.0 (broken_things) cannot be loaded as one of {GROUP}, and is left out: {error}"
    assert str(warning.message).startswith(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "half" not in things
        with pytest.raises(ConfigError, match="unknown thing 'half'; expected one of: stone, wood"):
            things["half"]


def test_a_taken_name_names_both(install: Install, things: Registry[str]) -> None:
    install("greedy-things", 'things.register("stone")("another")')
    message = (
        r"^thing 'stone' is registered twice: by builtins and by greedy-things 1\.0 \(greedy_things\); "
        "expected another name, or one of the two packages only$"
    )
    for _ in range(2):  # not only at the first look
        with pytest.raises(PluginError, match=message):
            things["stone"]


def test_two_plugins_with_one_name_are_named(install: Install, things: Registry[str]) -> None:
    install("first-things", 'things.register("wood")("oak")')
    install("second-things", 'things.register("wood")("ash")')
    pattern = r"by (first|second)-things 1\.0 \(\1_things\) and by (first|second)-things 1\.0 \(\2_things\)"
    with pytest.raises(PluginError, match=pattern):
        list(things)


def test_a_plugin_that_was_imported_before_is_no_clash(install: Install, things: Registry[str]) -> None:
    install("early-things", 'things.register("wood")("some wood")')
    __import__("early_things")
    assert list(things) == ["stone", "wood"]


def test_metadata_that_cannot_be_read_is_named(
    install: Install, things: Registry[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**given: object) -> None:
        raise ValueError("line 3 is no entry point")

    monkeypatch.setattr("importlib.metadata.entry_points", broken)
    with pytest.warns(RuntimeWarning, match=f"entry points of {GROUP} cannot be read: ValueError: line 3 is no"):
        assert list(things) == ["stone"]


def test_a_program_that_registers_twice_is_told_by_whom(things: Registry[str]) -> None:
    with pytest.raises(ValueError, match="thing 'stone' is registered twice: by builtins and by builtins"):
        things.register("stone")("another")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example as if it were installed: its modules, and the metadata that its pyproject.toml asks for."""
    described = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    os.symlink(EXAMPLE / "sapwood_example", tmp_path / "sapwood_example")
    write_metadata(tmp_path, described["name"], described["entry-points"])
    return tmp_path


def python(code: str, *places: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(map(str, (*places, ROOT / "src")))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False
    )


LATE = """
import importlib, pkgutil, sys
import sapwood, sapwood.cli.app
def loaded(): return sorted(name for name in sys.modules if name.startswith("sapwood_example"))
assert "torch" not in sys.modules and not loaded()
for found in pkgutil.walk_packages(sapwood.__path__, "sapwood."):
    if found.name.rpartition(".")[2] not in {"__main__", "libsapwood_engine"}:  # that is no module of Python
        importlib.import_module(found.name)
assert not loaded(), loaded()
assert "l_half" in sapwood.criteria.CRITERIA
print(*loaded())
"""


def test_importing_sapwood_imports_no_plugin(example: Path) -> None:
    done = python(LATE, example)
    assert done.stdout.split() == ["sapwood_example", "sapwood_example.criteria"], done.stderr


PRUNED = """
import torch
from torch import nn
import sapwood

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
    def forward(self, source):
        return self.second(torch.ops.sapwood_example.softcap(self.first(source), 2.0))

torch.manual_seed(0)
net = Net().eval()
with torch.no_grad():  # a channel of many small weights, and one of a large one: l2 keeps the other
    net.first.weight[:] = 1.0
    net.first.weight[0] = 0.1
    net.first.weight[1] = 0.0
    net.first.weight[1, 0, 0, 0] = 2.0
    net.second.weight[:] = 0.01
    net.first.bias[:] = 0.0
pruned = sapwood.prune(net, torch.randn(1, 3, 16, 16), target=sapwood.Target(sparsity=0.125), criterion="l_half")
print([one.reason for one in pruned.unpruned if one.tensor == "first.weight" and one.dim == 0])
print(tuple(pruned.model.first.weight.shape), pruned.verification.passed)
print(round(pruned.model.first.weight.detach()[0].abs().max().item(), 1))
"""


def test_a_network_with_the_operator_of_a_plugin_is_pruned_by_its_criterion(example: Path) -> None:
    done = python(PRUNED, example)
    assert done.stdout.splitlines() == ["[]", "(7, 3, 3, 3) True", "0.1"], done.stderr


def test_without_the_plugin_there_is_no_such_criterion(tmp_path: Path) -> None:
    os.symlink(EXAMPLE / "sapwood_example", tmp_path / "sapwood_example")
    done = python(PRUNED, tmp_path)
    assert "unknown criterion 'l_half'; expected one of: activation_mean, apoz" in done.stderr


def test_the_command_takes_what_a_plugin_adds(example: Path) -> None:
    code = "from sapwood.cli import main; main({})"
    prune = ["prune", "builtin:digits", "--sparsity", "0.5", "--criterion", "l_half", "-o", str(example / "small")]
    done = python(code.format(prune), example)
    assert done.returncode == 0, done.stderr
    assert (example / "small" / "report.html").is_file()


def test_a_rule_of_a_plugin_is_there_before_a_model_is_recorded(example: Path) -> None:
    code = (
        "import torch, sapwood; from sapwood.ops.facts import FACTS\n"
        "assert 'sapwood_example.softcap' not in FACTS\n"
        "sapwood.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))\n"
        "print(FACTS['sapwood_example.softcap'].passes)"
    )
    done = python(code, example)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.slow
def test_the_example_can_be_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    copy = tmp_path / "plugin"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if subprocess.run([*command[:3], "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this environment has no pip")
    done = subprocess.run([*command, "--target", tmp_path / "there", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = python("from sapwood.criteria import CRITERIA; print('l_half' in CRITERIA)", tmp_path / "there")
    assert found.stdout.strip() == "True", found.stderr


ALL_KINDS = """
from sapwood.criteria import CRITERIA
from sapwood.export import EXPORTERS
from sapwood.masks import METHODS
from sapwood.models import LOADERS
from sapwood.ops import RULES
from sapwood.runtime import RUNTIMES
from sapwood.tasks import TASKS
found = {one.entry_points: one for one in (CRITERIA, EXPORTERS, METHODS, LOADERS, RULES, RUNTIMES, TASKS)}
"""


def test_every_kind_has_a_group_that_is_asked_and_documented(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    groups = re.findall(r"^\| `(sapwood\.\w+)` \|", page, re.MULTILINE)
    assert len(groups) == 7
    (tmp_path / "all_kinds.py").write_text(
        ALL_KINDS + "for group, registry in found.items():\n    registry.register('mylib.mine')(group)\n"
    )
    write_metadata(tmp_path, "all-kinds", {group: {"mine": "all_kinds"} for group in groups})
    done = python(ALL_KINDS + "print(*(one['mylib.mine'] for one in found.values()))", tmp_path)
    assert sorted(done.stdout.split()) == sorted(groups), done.stderr
    paths = re.findall(r"\| `(\w+/\w+\.py)` \|$", page, re.MULTILINE)
    assert len(paths) == 7
    assert [path for path in paths if not (ROOT / "src" / "sapwood" / path).is_file()] == []
