"""What holds for every entry of every registry; criteria and operators have files of their own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sapwood.calibration import STATISTICS, collect
from sapwood.cases import ROW_KINDS, CaseRow
from sapwood.errors import ConfigError, MissingDependencyError
from sapwood.export import EXPORTERS
from sapwood.graph import build_groups, trace
from sapwood.models.spec import LOADERS
from sapwood.registry import Registry
from sapwood.runtime import RUNTIMES
from sapwood.tasks import TASKS
from sapwood.training.regularizers import REGULARIZERS, Regularizer, make_regularizer
from support.nets import batches, loss, net

REGISTRIES: list[Registry[object]] = [
    EXPORTERS, LOADERS, REGULARIZERS, ROW_KINDS, RUNTIMES, STATISTICS, TASKS,
]  # fmt: skip


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_another_name_is_refused_with_those_there_are(registry: Registry[object]) -> None:
    assert len(registry) > 1
    message = f"unknown {registry.kind} 'nothing'; expected one of: {', '.join(registry)}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        registry["nothing"]
    with pytest.raises(ValueError, match="is registered twice"):
        registry.register(next(iter(registry)))(object())


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_says_its_name_and_version(name: str) -> None:
    assert RUNTIMES[name].name == name
    try:
        version = RUNTIMES[name].version()
    except MissingDependencyError as missing:
        pytest.skip(str(missing))
    assert re.match(r"\d+\.\d+", version)


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_says_its_name_and_suffix(name: str) -> None:
    assert EXPORTERS[name].name == name
    assert EXPORTERS[name].suffix.startswith(".") or name == "transformers"  # which writes a folder
    assert isinstance(EXPORTERS[name].has_batch, bool)


def test_no_two_exporters_write_one_suffix() -> None:
    assert len({EXPORTERS[name].suffix for name in EXPORTERS}) == len(EXPORTERS)


def held(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_finite_and_the_same_twice_and_changes_nothing(name: str) -> None:
    model = net()
    before = held(model)
    first, second = (collect(model, batches(), loss, {name})[name] for _ in range(2))
    assert first
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert bool(torch.isfinite(value).all())
        assert torch.equal(value, second[key])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


STEPS = 30
"""So many that one whose pull grows has begun."""


def pulled(name: str, model: nn.Module) -> Regularizer:
    analysis = build_groups(trace(model, batches()[0][0][:2]))
    return make_regularizer(name, analysis, model, strength=0.01)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_regularizer_makes_channels_smaller_and_nothing_larger(name: str) -> None:
    model = net()
    regularizer, before = pulled(name, model), held(model)
    assert regularizer.name == name
    for _ in range(STEPS):
        assert regularizer.step_(model, 0.1) >= 0.0
    after = model.state_dict()
    assert all(bool((after[key].abs() <= value.abs() + 1e-12).all()) for key, value in before.items())
    assert any(not torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_regularizer_goes_on_where_it_stopped(name: str) -> None:
    one, other = net(), net()
    first, second = pulled(name, one), pulled(name, other)
    for _ in range(STEPS):
        first.step_(one, 0.1)
        second.step_(other, 0.1)
    again = pulled(name, other)
    again.restore(second.state())
    for _ in range(STEPS):
        first.step_(one, 0.1)
        again.step_(other, 0.1)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("strength", [0.0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_strength_that_pulls_nowhere_is_refused(name: str, strength: float) -> None:
    model = net()
    analysis = build_groups(trace(model, batches()[0][0][:2]))
    with pytest.raises(ConfigError, match=f"strength: got {strength}; expected a number above 0"):
        make_regularizer(name, analysis, model, strength=strength)


@pytest.mark.parametrize("spec", ["net.cfg", "torchvision:resnet18", "timm:resnet18", "package.module:factory"])
def test_a_specification_is_of_one_kind(spec: str) -> None:
    assert len([kind for kind in LOADERS if LOADERS[kind].matches(spec)]) == 1


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_says_what_it_reads(kind: str) -> None:
    assert LOADERS[kind].form
    assert not LOADERS[kind].matches("no such thing")


def test_every_row_of_a_cases_file_can_be_made() -> None:
    for kind in ROW_KINDS:
        assert ROW_KINDS[kind].prepare is not CaseRow.prepare
        assert ROW_KINDS[kind].model_fields["kind"].default == kind
        assert ROW_KINDS[kind].sweep in ROW_KINDS[kind].model_fields
        assert set(ROW_KINDS[kind].file_fields) <= set(ROW_KINDS[kind].model_fields)


def test_the_tasks_that_are_known_before_they_are_loaded_are_those_there_are() -> None:
    assert set(TASKS._lazy) == set(TASKS._entries)
    assert all(module == TASKS[kind].__module__.rpartition(".")[0] for kind, module in TASKS._lazy.items())


def test_a_lazy_entry_is_there_before_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[str] = Registry("stone", lazy={"agate": "lazy_stones", "beryl": "no_such_stones"})
    (tmp_path / "lazy_stones.py").write_text("STONES.register('agate')('banded')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("builtins.STONES", registry, raising=False)
    monkeypatch.delitem(sys.modules, "lazy_stones", raising=False)
    assert ("agate" in registry, "topaz" in registry, list(registry), len(registry)) == (
        True, False, ["agate", "beryl"], 2,
    )  # fmt: skip
    assert "lazy_stones" not in sys.modules
    assert registry["agate"] == "banded"
    with pytest.raises(ModuleNotFoundError, match="no_such_stones"):
        registry["beryl"]
    with pytest.raises(ConfigError, match=r"^unknown stone 'topaz'; expected one of: agate, beryl$"):
        registry["topaz"]
