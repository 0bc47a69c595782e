"""What widths a runtime likes: told from times that are made up, kept, and used by pruning for that runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sapwood
from sapwood.errors import MeasureError
from sapwood.goals import Bench, Deployment, WidthSteps, find_width_steps, known_steps
from sapwood.measure import LatencyRow, LatencyTable, best_multiple, count_macs, multiple_of
from sapwood.removal import Planner

READ = {1: 1.5, 2: 1.5, 4: 1.1, 8: 1.0, 16: 1.0}
WRITTEN = {1: 1.2, 2: 1.2, 4: 1.2, 8: 1.2, 16: 1.0}
X = torch.zeros(1, 3, 4, 4)


SIZES = (128, 192, 256, 192, 128, 4)
NAMES = ("0", "2", "4", "6", "8", "10")


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((3, *SIZES), SIZES, strict=False):
        layers += [nn.Conv2d(before, after, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


class Made:
    """A session whose layers take what their widths say."""

    def __init__(
        self, model: nn.Module, read: Mapping[int, float], written: Mapping[int, float], picky: Collection[str] = NAMES
    ) -> None:
        self.times: dict[str, float] = {}
        work = count_macs(model, X).per_module
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d):
                factor = read[multiple_of(layer.in_channels)] * written[multiple_of(layer.out_channels)]
                self.times[name] = 1e-3 * work[name] * (factor if name in picky else 1.0)

    def __call__(self) -> None:
        raise AssertionError("nothing is timed here")

    def layer_times(self, rounds: int) -> Mapping[str, float]:
        assert rounds > 0
        return self.times


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., WidthSteps]:
    """Measures the chain where times are those of the two tables."""
    monkeypatch.setenv("SAPWOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sapwood.goals.width_search.FRACTIONS", (0.6, 0.8))

    def measured(
        read: Mapping[int, float] = READ,
        written: Mapping[int, float] = WRITTEN,
        picky: Collection[str] = NAMES,
        mixed_takes: float = 1.0,
    ) -> WidthSteps:
        def table(sessions: Mapping[str, Made], baseline: str, **_: Any) -> LatencyTable:
            sums = {name: sum(session.times.values()) for name, session in sessions.items()}
            if baseline == "1":  # widths of each group's own kind beside those of one
                sums["0"] *= mixed_takes
            rows = [
                LatencyRow(name, took, took, took, took, took / sums[baseline], 1.0, 1.0, 1.0)
                for name, took in sums.items()
            ]
            return LatencyTable(tuple(rows), baseline, {"rounds": 1})

        with monkeypatch.context() as patched:
            patched.setattr(Bench, "load", lambda self, model: Made(model, read, written, picky))
            patched.setattr("sapwood.goals.width_search.measure_latency", table)
            return find_width_steps(Planner(chain(), X), chain(), bench())

    return measured


def bench() -> Bench:
    return Bench.of(X, Deployment("torch", threads=1))


def test_what_a_layer_reads_is_told_from_what_it_writes(steps: Callable[..., WidthSteps]) -> None:
    found = steps()
    by_name = {layer.layer: layer for layer in found.layers}
    for name in NAMES[1:-1]:
        assert by_name[name].reads == pytest.approx(READ, abs=1e-5)
        assert by_name[name].writes == pytest.approx(WRITTEN, abs=1e-5)
    first, last = by_name["0"], by_name["10"]
    assert (list(first.reads), list(last.writes)) == ([1], [4])
    assert found.layers[0].ms == max(layer.ms for layer in found.layers)
    assert found.multiple == 16
    assert found.times[16] == (1.0, 0.0)
    assert found.times[1][0] == pytest.approx(1.8, abs=0.05)


def test_the_finest_multiple_that_does_as_well_is_taken(steps: Callable[..., WidthSteps]) -> None:
    nothing = dict.fromkeys(READ, 1.0)
    assert steps(nothing, nothing).multiple == 1
    assert steps(READ, nothing).multiple == 8


def test_groups_that_no_layer_is_picky_about_are_free(
    steps: Callable[..., WidthSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = steps(picky=("0", "2"))
    assert found.multiple == 16
    assert found.with_groups == pytest.approx((1.0, 0.0), abs=2e-3)  # picky layers have another share of the work
    free = {("4.weight[0]", 0): 1, ("6.weight[0]", 0): 1, ("8.weight[0]", 0): 1}
    assert found.by_group == {("0.weight[0]", 0): 8, **free}  # layer 0, which alone likes 16 of these, takes no time
    assert known_steps(Planner(chain(), X).analysis(), bench()) == found
    monkeypatch.setattr("sapwood.goals.clock.ROUNDS", 5)
    pruned = sapwood.prune(chain(), X, target={"sparsity": 0.45}, deployment=Deployment("torch", threads=1))
    widths = [layer.out_channels for layer in pruned.model if isinstance(layer, nn.Conv2d)][:-1]
    assert widths[0] % 8 == widths[1] % 16 == 0
    assert all(width % 8 for width in widths[2:])
    assert any("multiples of 16 (4 of them of 1, 8)" in note for note in pruned.notes)


def test_layers_are_believed_only_where_the_network_does_as_well(steps: Callable[..., WidthSteps]) -> None:
    found = steps(picky=("0", "2"), mixed_takes=1.05)
    assert found.groups == ()
    assert found.with_groups == pytest.approx((1.05, 0.0), abs=2e-3)


def test_a_noisy_clock_asks_for_nothing() -> None:
    assert best_multiple({1: (1.06, 0.05), 8: (1.0, 0.0)}) == 1
    assert best_multiple({1: (1.06, 0.03), 8: (1.0, 0.0)}) == 8


def test_it_is_remembered_for_the_runtime_and_its_threads(steps: Callable[..., WidthSteps]) -> None:
    analysis = Planner(chain(), X).analysis()
    assert known_steps(analysis, bench()) is None
    found = steps()
    assert known_steps(analysis, bench()) == found
    ignoring = Planner(chain(), X, {"4.weight": "as asked"}).analysis()
    assert known_steps(ignoring, bench()) == found
    for other in (Deployment("torch", threads=2), Deployment("torch-compile", threads=1)):
        assert known_steps(analysis, Bench.of(X, other)) is None


def test_fewer_instructions_are_another_machine(
    steps: Callable[..., WidthSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis, found = Planner(chain(), X).analysis(), steps()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert known_steps(analysis, bench()) is None
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert known_steps(analysis, bench()) == found


@pytest.mark.parametrize("damage", ["{", "[]", '"multiple"', "multiple"])
def test_a_damaged_file_is_named(damage: str, steps: Callable[..., WidthSteps], tmp_path: Path) -> None:
    steps()
    (file,) = (tmp_path / "cache" / "widths").iterdir()
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "multiple": 3}) if damage == "multiple" else damage)
    with pytest.warns(UserWarning, match="expected what widths a runtime likes.*inspect --widths"):
        assert known_steps(Planner(chain(), X).analysis(), bench()) is None


def test_pruning_for_the_runtime_keeps_them(steps: Callable[..., WidthSteps], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sapwood.goals.clock.ROUNDS", 5)  # what it takes is not looked at

    def pruned(**options: Any) -> sapwood.pipeline.Pruned:
        return sapwood.prune(chain(), X, target={"sparsity": 0.45}, **options)

    def widths(found: sapwood.pipeline.Pruned) -> list[int]:
        return [layer.out_channels for layer in found.model if isinstance(layer, nn.Conv2d)][:-1]

    where = Deployment("torch", threads=1)
    assert widths(pruned(deployment=where)) == widths(pruned()) == [72, 104, 136, 104, 72]
    steps()
    found = pruned(deployment=where)
    assert widths(found) == [64, 112, 128, 112, 64]
    assert any("multiples of 16" in note and "inspect --widths" in note for note in found.notes)
    assert widths(pruned()) == [72, 104, 136, 104, 72]
    exact = pruned(deployment=where, limits={"round_to": 1})
    assert widths(exact) == [70, 106, 141, 106, 70]
    assert not any("inspect --widths" in note for note in exact.notes)


def test_a_network_without_channels_to_remove_is_refused() -> None:
    alone = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(MeasureError, match="no channels can be removed"):
        find_width_steps(Planner(alone, X), alone, bench())
