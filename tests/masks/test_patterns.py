from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sapwood.masks import Block, NOfM, Pattern, Unstructured, parse_pattern


@given(st.integers(0, 10_000), st.sampled_from([(1, 2), (2, 4), (4, 8), (1, 3)]), st.booleans())
def test_every_window_keeps_its_n_largest(seed: int, numbers: tuple[int, int], ties: bool) -> None:
    n, m = numbers
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, 2 * m, 2, 1, generator=generator)
    scores = (scores * 3).round() if ties else scores
    mask = NOfM(n, m).mask(scores, 0)
    assert mask.shape == scores.shape
    for row, kept in zip(scores.flatten(1).tolist(), mask.flatten(1).tolist(), strict=True):
        for start in range(0, len(row), m):
            window = row[start : start + m]
            expected = sorted(range(m), key=lambda place: (-window[place], place))[:n]
            assert [place for place in range(m) if kept[start + place]] == sorted(expected)


@given(st.integers(0, 10_000), st.sampled_from([(2, 1), (1, 2), (2, 3)]), st.data())
def test_blocks_go_whole_and_the_weakest_first(seed: int, sides: tuple[int, int], data: st.DataObject) -> None:
    rows, columns = sides
    scores = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix = scores.flatten(1)
    blocks = {
        (top, left): matrix[top : top + rows, left : left + columns].sum().item()
        for top in range(0, 4, rows)
        for left in range(0, 6, columns)
    }
    count = data.draw(st.integers(0, len(blocks)))
    mask = Block(rows, columns).mask(scores, count).flatten(1)
    expected = torch.zeros(4, 6, dtype=torch.bool)
    for top, left in sorted(blocks, key=lambda corner: -blocks[corner])[:count]:
        expected[top : top + rows, left : left + columns] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("pattern", [Unstructured(), Block(2, 1), Block(1, 2)])
def test_equal_scores_keep_the_exact_count_from_the_front(pattern: Pattern) -> None:
    scores = torch.ones(4, 6)
    units = len(pattern.unit_scores(scores))
    for count in (0, 1, units - 1, units):
        mask = pattern.mask(scores, count)
        assert int(mask.sum()) == count * scores.numel() // units
        assert count == 0 or mask[0, 0]


@pytest.mark.parametrize("pattern", [Unstructured(), Block(2, 1), NOfM(2, 4)])
def test_scores_are_not_touched(pattern: Pattern) -> None:
    scores = torch.rand(4, 8)
    before = scores.clone()
    pattern.mask(scores, 3)
    assert torch.equal(scores, before)


@pytest.mark.parametrize(
    ("text", "shape", "reason"),
    [
        ("2:4", (8, 3, 3, 3), "a row has 27 weights, no multiple of 4"),
        ("2:4", (8,), "its shape is (8,); 2:4 needs at least 2 dimensions"),
        ("2x1", (7, 4), "as a matrix it is 7 x 4, no whole number of 2x1 blocks"),
        ("1x2", (8, 3, 3, 3), "as a matrix it is 8 x 27, no whole number of 1x2 blocks"),
        ("1x2", (8,), "its shape is (8,); blocks need at least 2 dimensions"),
        ("2:4", (8, 4, 3, 3), None),
        ("2x1", (8, 3, 3, 3), None),
        ("unstructured", (8,), None),
    ],
)
def test_shapes_that_do_not_fit_are_refused(text: str, shape: tuple[int, ...], reason: str | None) -> None:
    assert parse_pattern(text).refusal(shape) == reason


def test_units_of_a_convolution_in_any_memory_order() -> None:
    scores = torch.rand(4, 4, 3, 3)
    other = scores.to(memory_format=torch.channels_last)
    for pattern in (Unstructured(), Block(2, 1), NOfM(1, 4)):
        count = math.prod(scores.shape) // 8
        assert torch.equal(pattern.mask(scores, count), pattern.mask(other, count))
