from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sapwood.errors import MaskError
from sapwood.masks import BUDGETS, lamp_scores

SHAPES = [(16, 3, 3, 3), (32, 16, 3, 3), (10, 32), (10,)]
USES = [900.0, 225.0, 1.0, 1.0]


def scores_of(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(math.prod(shape), generator=generator) for shape in SHAPES]


@pytest.mark.parametrize("name", BUDGETS)
@given(seed=st.integers(0, 1000), fraction=st.floats(0, 1), equal=st.booleans())
def test_the_total_is_exact(name: str, seed: int, fraction: float, equal: bool) -> None:
    scores = [torch.ones(math.prod(shape)) for shape in SHAPES] if equal else scores_of(seed)
    total = sum(len(own) for own in scores)
    num_kept = round(fraction * total)
    counts = BUDGETS[name](scores, SHAPES, num_kept, USES)
    assert sum(counts) == num_kept
    assert all(0 <= count <= len(own) for count, own in zip(counts, scores, strict=True))


@pytest.mark.parametrize("name", BUDGETS)
def test_everything_and_nothing(name: str) -> None:
    scores = scores_of(0)
    sizes = tuple(len(own) for own in scores)
    assert BUDGETS[name](scores, SHAPES, sum(sizes), USES) == sizes
    assert BUDGETS[name](scores, SHAPES, 0, USES) == (0, 0, 0, 0)


def test_erk_by_hand() -> None:
    """Sums of sizes 6 + 6 and 3 x 3 are 4+2=6, 12+4=16, 8+8=16; of 40 weights in all the shares are 6f, 16f, 16f.

    19 kept: f = 0.5, so 3 of 8, 8 of 48 and 8 of 64. 57 kept: f = 1.5 gives 9 > 8, so the first stays whole and the
    others get 24.5 each: of equal remainders the earlier is rounded up.
    """
    shapes = [(4, 2), (12, 4), (8, 8)]
    scores = [torch.ones(math.prod(shape)) for shape in shapes]
    assert BUDGETS["erk"](scores, shapes, 19) == (3, 8, 8)
    assert BUDGETS["erk"](scores, shapes, 57) == (8, 25, 24)


def test_erk_counts_the_kernel() -> None:
    """(8, 4, 3, 3): (8 + 4 + 3 + 3) / 288; (6, 6): 12 / 36. Kept in the ratio 18 : 12 of 15."""
    shapes = [(8, 4, 3, 3), (6, 6)]
    assert BUDGETS["erk"]([torch.ones(288), torch.ones(36)], shapes, 15) == (9, 6)


def test_lamp_scores_are_the_definition() -> None:
    scores = torch.tensor([0.5, 3.0, 1.0, 2.0], dtype=torch.float64)
    expected = [s**2 / sum(t**2 for t in scores.tolist() if t >= s) for s in scores.tolist()]
    torch.testing.assert_close(lamp_scores(scores), torch.tensor(expected, dtype=torch.float64))


def test_lamp_of_equal_scores_prefers_the_earlier() -> None:
    assert lamp_scores(torch.ones(4)).tolist() == [1.0, 1 / 2, 1 / 3, 1 / 4]
    assert lamp_scores(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_lamp_does_not_see_the_scale_of_a_layer_and_empties_none(seed: int, scale: float) -> None:
    scores = scores_of(seed)
    scaled = [scores[0] * 2.0 ** round(math.log2(scale)), *scores[1:]]  # a power of two, so that nothing is rounded
    assert BUDGETS["lamp"](scores, SHAPES, 40) == BUDGETS["lamp"](scaled, SHAPES, 40)
    assert all(BUDGETS["lamp"](scores, SHAPES, 4))


def test_lamp_needs_scores_that_are_not_negative() -> None:
    with pytest.raises(MaskError, match=r"budget 'lamp': a score is negative; expected scores of at least 0"):
        BUDGETS["lamp"]([torch.tensor([-1.0, 2.0])], [(2,)], 1)


def test_one_threshold() -> None:
    scores = scores_of(3)
    threshold = torch.cat(scores).sort(descending=True).values[99]
    assert BUDGETS["global"](scores, SHAPES, 100) == tuple(int((own >= threshold).sum()) for own in scores)


def test_lamp_macs_by_hand() -> None:
    """Scores 3, 2, 1 are 9, 4, 1 in squares, by LAMP 1, 4/13 and 1/14; used 4 times half of that, but for the best."""
    scores = [torch.tensor([3.0, 2.0, 1.0]), torch.tensor([3.0, 2.0, 1.0])]
    shapes = [(3, 1), (3, 1)]
    assert BUDGETS["lamp_macs"](scores, shapes, 4, [4.0, 1.0]) == (2, 2), "1, 1, 4/13, 2/13 are the largest"
    assert BUDGETS["lamp_macs"](scores, shapes, 3, [4.0, 1.0]) == (1, 2)
    assert BUDGETS["lamp_macs"](scores, shapes, 4, [25.0, 1.0]) == (1, 3), "1/14 is more than 4/65"


@given(seed=st.integers(0, 1000), kept=st.integers(4, 900))
def test_lamp_macs_is_lamp_where_all_are_used_alike_and_empties_none(seed: int, kept: int) -> None:
    scores = scores_of(seed)
    assert BUDGETS["lamp_macs"](scores, SHAPES, kept, [1.0] * 4) == BUDGETS["lamp"](scores, SHAPES, kept)
    assert all(BUDGETS["lamp_macs"](scores, SHAPES, kept, [1e9, 1e6, 10.0, 1.0]))


def test_lamp_macs_needs_the_uses() -> None:
    with pytest.raises(MaskError, match=r"budget 'lamp_macs': nothing says how often weights are used; expected uses="):
        BUDGETS["lamp_macs"](scores_of(0), SHAPES, 40)
