"""Views that cannot be learnt by heart."""

from __future__ import annotations

import pytest
import torch

from sapwood.recovery.distillation.samples import looked_at
from sapwood.recovery.views import MOSAIC_SCALES, SMALL, Looks, augmented, moved_and_mirrored, varied


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_two_views_are_alike_and_a_seed_makes_them_again() -> None:
    pictures = torch.rand(4, 3, SMALL + 8, SMALL, generator=_seeded(0))
    before, generator = pictures.clone(), _seeded(1)
    first, second = varied(pictures, generator), varied(pictures, generator)
    assert first.shape == second.shape == pictures.shape
    assert bool(first.isfinite().all())
    assert torch.equal(pictures, before)
    assert not torch.equal(first, second)
    assert torch.equal(first, varied(pictures, _seeded(1)))


def test_mosaics_show_several_pictures_of_other_sizes() -> None:
    """Pictures of one value each: a mosaic holds more than one, a single view one and what is outside."""
    pictures = torch.arange(1.0, 9.0)[:, None, None, None].expand(8, 1, SMALL * 2, SMALL * 2) * 10.0
    generator = _seeded(0)
    levels = [
        len({round(float(value) / 8) for value in view[0, 8::16, 8::16].flatten() if value > 8})
        for _ in range(8)
        for view in varied(pictures, generator)
    ]
    assert max(levels) >= 3
    assert min(levels) == 1
    assert MOSAIC_SCALES == (0.3, 1.7)


def test_small_pictures_are_not_scaled() -> None:
    """A picture of two values has no third one but the frame's, apart from its brightness."""
    picture = torch.ones(1, 1, 16, 16)
    picture[..., ::2] = 2.0
    for seed in range(4):
        view = varied(picture, _seeded(seed))
        seen = sorted({round(float(value), 4) for value in view.flatten()} - {0.0})
        assert len(seen) == 2
        assert seen[1] / seen[0] == torch.tensor(2.0).item() or abs(seen[1] / seen[0] - 2.0) < 1e-3


def test_distillation_shows_mosaics_where_they_are_asked_for() -> None:
    pictures = torch.rand(4, 3, SMALL + 8, SMALL, generator=_seeded(0))
    for mosaics, view in ((True, varied), (False, augmented)):
        seen = looked_at(pictures, _seeded(1), mosaics=mosaics)
        assert torch.equal(seen, view(pictures, _seeded(1)))  # type: ignore[arg-type]
    tokens = {"ids": torch.zeros(2, 3)}
    assert looked_at(tokens, _seeded(1), mosaics=True) is tokens


def test_looks_are_made_when_asked_for_and_are_the_same_again_in_any_order() -> None:
    """As one run over all of them would draw them: pictures, mirror images, then views of one generator."""
    for size in (SMALL // 4, SMALL + 8):
        batches = [torch.rand(count, 3, size, size, generator=_seeded(count)) for count in (2, 1, 3)]
        generator = _seeded(5)
        drawn = [moved_and_mirrored(batch, generator) for _ in range(3) for batch in batches]
        wanted = [*batches, *(batch.flip(3) for batch in batches), *drawn]
        looks = Looks(batches, views=5, seed=5)
        assert len(looks) == len(wanted) == 15
        for number in (14, 3, 0, 8, 7, 14):
            assert torch.equal(looks[number], wanted[number])
        assert all(torch.equal(one, other) for one, other in zip(looks, wanted, strict=True))
        assert all(torch.equal(one, other) for one, other in zip(looks[2:9:3], wanted[2:9:3], strict=True))
        assert looks[1] is batches[1]  # not a copy
        with pytest.raises(IndexError, match="look 15 of 15"):
            looks[15]
    assert len(Looks(batches, views=1, seed=0)) == 3
