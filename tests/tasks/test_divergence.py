"""How far outputs are from a reference, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sapwood.errors import ConfigError
from sapwood.tasks import divergence
from sapwood.types import TaskSpec, YoloHead

ROUNDING = 1e-5  # relative, float32
NONE = 1e-6  # float32: a few sums of numbers near 1 that cancel

CLASSIFIER = TaskSpec("classification", (8, 8), ("a", "b", "c"))
PROBABILITIES = TaskSpec("classification", (8, 8), ("a", "b", "c"), outputs="probabilities")
DETECTOR = TaskSpec("detection", (32, 32), ("a",), heads=(YoloHead("yolo", ((8.0, 8.0),), 1),))


def logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


def kl(wanted: list[float], found: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(wanted, found, strict=True))


def cell(objectness: float, probability: float = 0.9, width: float = 0.0) -> torch.Tensor:
    """One place: a box in the middle of its cell, 8 * exp(width) wide and 8 high."""
    values = [0.0, 0.0, width, 0.0, logit(objectness), logit(probability)]
    return torch.tensor(values).reshape(1, 6, 1, 1)


def test_a_classifier_by_hand() -> None:
    wanted, found = [[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]], [[0.25, 0.5, 0.25], [0.6, 0.2, 0.2]]
    expected = (kl(wanted[0], found[0]) + kl(wanted[1], found[1])) / 2
    outputs, reference = torch.tensor(found), torch.tensor(wanted)
    model = nn.Identity()
    assert float(divergence(PROBABILITIES, outputs, reference, model)) == pytest.approx(expected, rel=ROUNDING)
    logits = (outputs.log() + 3.0, reference.log() - 1.0)  # a shift of all classes changes no probability
    assert float(divergence(CLASSIFIER, *logits, model)) == pytest.approx(expected, rel=ROUNDING)


def test_a_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[4.0, 1.0, 0.0]])
    model = nn.Identity()
    found, wanted = ((one.double() / 4).softmax(dim=1)[0].tolist() for one in logits)
    value = float(divergence(CLASSIFIER, *logits, model, temperature=4.0))
    assert value == pytest.approx(16 * kl(wanted, found), abs=16 * NONE)
    shares = [one.softmax(dim=1) for one in logits]
    assert float(divergence(PROBABILITIES, *shares, model, temperature=4.0)) == pytest.approx(value, abs=16 * NONE)


def test_a_detector_by_hand() -> None:
    """Objectness 0.8 and 0.4 times class 0.9; then a box twice as wide, which overlaps by half."""
    wanted, found = 0.8 * 0.9, 0.4 * 0.9
    coins = kl([wanted, 1 - wanted], [found, 1 - found])
    model = nn.Identity()
    value = float(divergence(DETECTOR, (cell(0.4),), (cell(0.8),), model))
    assert value == pytest.approx(coins, rel=ROUNDING)
    value = float(divergence(DETECTOR, (cell(0.4, width=math.log(2.0)),), (cell(0.8),), model))
    assert value == pytest.approx(coins + wanted * 0.5, rel=ROUNDING)


def test_a_box_that_the_reference_does_not_believe_in_may_be_anywhere() -> None:
    moved = float(divergence(DETECTOR, (cell(0.005, width=1.0),), (cell(0.005),), nn.Identity()))
    assert moved == pytest.approx(0.0, abs=NONE)


def test_it_is_a_mean_over_pictures() -> None:
    one = float(divergence(DETECTOR, (cell(0.4),), (cell(0.8),), nn.Identity()))
    both = (torch.cat([cell(0.4), cell(0.8)]),), (torch.cat([cell(0.8), cell(0.8)]),)
    assert float(divergence(DETECTOR, *both, nn.Identity())) == pytest.approx(one / 2, rel=ROUNDING)


@given(st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 10.0, 100.0]))
def test_never_below_zero_and_zero_for_equals(seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    scores = scale * torch.randn(2, 4, 3)
    maps = scale * torch.randn(2, 2, 6, 3, 3)
    model = nn.Identity()
    for task, first, second in (
        (CLASSIFIER, scores[0], scores[1]),
        (PROBABILITIES, scores[0].softmax(1), scores[1].softmax(1)),
        (DETECTOR, (maps[0],), (maps[1],)),
    ):
        assert float(divergence(task, first, first, model)) == pytest.approx(0.0, abs=NONE)
        value = float(divergence(task, first, second, model))
        assert math.isfinite(value)
        assert value >= 0.0


def test_a_model_without_a_task() -> None:
    """Whatever is of the same size in both counts; states that became narrower do not."""
    wanted = {"score": torch.full((2,), 2.0), "states": [torch.ones(3), torch.zeros(2)]}
    found = {"score": torch.ones(2), "states": [torch.ones(1), torch.ones(2)]}
    assert float(divergence(TaskSpec("none"), found, wanted, nn.Identity())) == 0.25
    with pytest.raises(ConfigError, match=r"the reference gives a torch.float32 \(2,\); expected a float"):
        divergence(TaskSpec("none"), {"a": torch.ones(1)}, {"a": torch.ones(2)}, nn.Identity())
    with pytest.raises(ConfigError, match=r"task 'poems': nothing says how far two outputs are apart; expected a"):
        divergence(TaskSpec("poems"), torch.zeros(1), torch.zeros(1), nn.Identity())
