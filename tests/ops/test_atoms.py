"""Index atoms on small cases worked out by hand."""

from __future__ import annotations

import numpy as np

from sapwood.ops import ALWAYS, Atoms, fixed_axis
from sapwood.ops.atoms import concatenate, merge


def test_joined_axes_are_one() -> None:
    atoms = Atoms()
    a, b, c = atoms.fresh(4), atoms.fresh(4), atoms.fresh(4)
    atoms.join(a, b, "added")
    atoms.join(c, b, "added")
    assert np.array_equal(atoms.resolve(a), atoms.resolve(c))


def test_split_makes_heads_and_widths_everywhere() -> None:
    atoms = Atoms()
    a, b = atoms.fresh(6), atoms.fresh(6)
    atoms.join(a, b, "added")
    heads, widths = atoms.split(a, (2, 3))
    assert np.array_equal(atoms.resolve(b), merge([atoms.resolve(heads), atoms.resolve(widths)]))


def test_splitting_again_gives_the_same_parts() -> None:
    atoms = Atoms()
    a = atoms.fresh(6)
    first = atoms.split(a, (2, 3))
    second = atoms.split(a, (2, 3))
    assert all(np.array_equal(atoms.resolve(x), atoms.resolve(y)) for x, y in zip(first, second, strict=True))


def test_two_ways_of_cutting_are_refined() -> None:
    atoms = Atoms()
    a = atoms.fresh(8)
    atoms.split(a, (2, 4))
    atoms.split(a, (4, 2))
    resolved = atoms.resolve(a)
    assert resolved.shape == (8, 3)
    assert len(np.unique(resolved)) == 6


def test_a_fixed_side_freezes_the_other_with_the_first_reason() -> None:
    atoms = Atoms()
    a = atoms.fresh(3)
    atoms.join(a, fixed_axis(3), "meets the input")
    atoms.freeze(a, "later")
    assert atoms.is_frozen(atoms.resolve(a)).all()
    assert {atoms.frozen_reason(int(root)) for root in atoms.resolve(a).ravel()} == {"meets the input"}


def test_freezing_survives_a_join() -> None:
    atoms = Atoms()
    a, b = atoms.fresh(3), atoms.fresh(3)
    atoms.freeze(b, "output")
    atoms.join(a, b, "added")
    assert atoms.is_frozen(atoms.resolve(a)).all()


def test_one_index_carries_no_atom() -> None:
    assert Atoms().fresh(1).shape == (1, 0)


def test_axes_of_different_depth_are_padded() -> None:
    atoms = Atoms()
    whole = concatenate([merge([atoms.fresh(2), atoms.fresh(2)]), atoms.fresh(3), fixed_axis(1)])
    assert whole.shape == (8, 2)
    assert (whole[4:7, 1] == ALWAYS).all()
    assert (whole[7] == ALWAYS).all()


def test_what_an_index_needs_beside_itself_stays_and_the_index_may_go() -> None:
    """Heads that one side knows and the other has inside of something, as behind a second run of the same layer."""
    atoms = Atoms()
    heads, around = atoms.fresh(4), atoms.fresh(2)
    atoms.join(np.concatenate([np.repeat(around[:1], 4, axis=0), heads], axis=1), heads, "multiplied")
    assert not atoms.is_frozen(atoms.resolve(heads)).any()
    assert atoms.is_frozen(around[:1]).all()
    assert atoms.frozen_reason(int(around[0, 0])) == "its indices are tied to groups of themselves"


def test_parts_of_which_one_has_groups_are_cut_together() -> None:
    """Four channels side by side, and four that are two groups of two: three groups of them all would not divide."""
    atoms = Atoms()
    plain, grouped = atoms.fresh(4), atoms.fresh(4)
    atoms.split(grouped, (2, 2))
    outer, inner = atoms.split(concatenate([atoms.resolve(plain), atoms.resolve(grouped)]), (4, 2))
    both = atoms.resolve(concatenate([plain, grouped]))
    assert np.array_equal(both, merge([atoms.resolve(outer), atoms.resolve(inner)]))
    assert not atoms.is_frozen(both).any()


def test_axes_resolved_together_are_those_resolved_one_by_one() -> None:
    atoms = Atoms()
    heads, widths, flat, same, plain = (atoms.fresh(size) for size in (2, 3, 6, 6, 4))
    atoms.join(flat, merge([heads, widths]), "")
    atoms.join(same, flat, "")
    axes = [flat, plain, fixed_axis(5), same, merge([heads, widths]), atoms.fresh(1)]
    together = atoms.resolve_all(axes)
    assert [one.tolist() for one in together] == [atoms.resolve(axis).tolist() for axis in axes]
    assert together[0].shape == (6, 2)
