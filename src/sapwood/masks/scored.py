"""Single weights by any score, in patterns, with any way to share the sparsity: what torch's methods do not have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils import prune

from sapwood.arguments import check_kind
from sapwood.errors import MaskError
from sapwood.masks.budgets import BUDGETS
from sapwood.masks.case import METHODS, MaskMethod
from sapwood.masks.select import num_kept
from sapwood.masks.slots import Slot

GIVEN = "how many weights each parameter keeps was given, not found by the budget"
"""Note of a record where it was."""


@METHODS.register("scored")
class Scored(MaskMethod):
    """Removes what scores least: units of ``case.blocks``, shared among parameters by ``case.budget``.

    The masks are put on by :func:`torch.nn.utils.prune.custom_from_mask`, so keys and hooks are torch's. All parameters
    together lose ``sparsity`` of their units, half a unit counting as one removed; at least one stays.
    """

    takes_scores: ClassVar[bool] = True
    why_local: ClassVar[str] = "how parameters share the sparsity is said by its budget"

    def refusal(self, slot: Slot) -> str | None:
        """Returns a reason for parameters that hold a mask already, or whose shape the pattern does not fit."""
        if slot.mask is not None:
            return "it has a live mask; make that permanent first (remove)"
        return self.case.unit_pattern.refusal(tuple(slot.tensor.shape))

    def mask_(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        """Puts the masks on.

        Raises:
            MaskError: If scores are missing, of another shape or not finite, the budget cannot use them, or the numbers
                that stay are missing or out of range.
        """
        pattern = self.case.unit_pattern
        scores = self._scores(slots)
        units = [pattern.unit_scores(own) for own in scores]
        counts = self._shared(slots, units) if self.kept is None else self._given(slots, units, self.kept)
        for slot, own, count in zip(slots, scores, counts, strict=True):
            mask = pattern.mask(own, count).to(slot.tensor.device)
            prune.custom_from_mask(slot.module, slot.parameter, mask)  # type: ignore[no-untyped-call]
        return (
            () if self.kept is None else ("how many weights each parameter keeps was given, not found by the budget",)
        )

    def _shared(self, slots: Sequence[Slot], units: Sequence[Tensor]) -> tuple[int, ...]:
        """How many units of each parameter stay, by the budget."""
        shapes = [tuple(slot.tensor.shape) for slot in slots]
        uses = None if self.uses is None else [_uses(self.uses, slot) for slot in slots]
        return BUDGETS[self.case.budget](units, shapes, num_kept(sum(map(len, units)), self.case.amount), uses)

    def _given(self, slots: Sequence[Slot], units: Sequence[Tensor], kept: Mapping[str, int]) -> tuple[int, ...]:
        """How many stay, as the caller says."""
        for slot, own in zip(slots, units, strict=True):
            count = kept.get(slot.name, 0)
            if isinstance(count, bool) or not isinstance(count, Integral) or not 1 <= count <= len(own):
                raise MaskError(
                    f"{slot.name}: kept is {kept.get(slot.name)!r}; expected a number from 1 to its {len(own)} units"
                )
        return tuple(kept[slot.name] for slot in slots)

    def _scores(self, slots: Sequence[Slot]) -> list[Tensor]:
        """The scores of each parameter, those of magnitude unless others were given."""
        if self.scores is None and self.case.criterion != "magnitude":
            raise MaskError(
                f"criterion {self.case.criterion!r}: no scores were given; expected scores= with a tensor a parameter, "
                "or criterion 'magnitude'"
            )
        if self.scores is None:
            return [slot.effective().abs() for slot in slots]
        return [_given(self.scores, slot) for slot in slots]


def _uses(uses: Mapping[str, float], slot: Slot) -> float:
    """How many products the caller says that each weight of a parameter is in."""
    found = uses.get(slot.name)
    if isinstance(found, bool) or not isinstance(found, Real) or not 0.0 < found < math.inf:
        raise MaskError(f"{slot.name}: uses is {found!r}; expected a number above 0 for every selected parameter")
    return float(found)


def _given(scores: Mapping[str, Tensor], slot: Slot) -> Tensor:
    """The scores that the caller has for a parameter."""
    if slot.name not in scores:
        raise MaskError(f"{slot.name}: no scores were given for it; expected a tensor for every selected parameter")
    check_kind(f"{slot.name}: its scores", scores[slot.name], Tensor, "a tensor")
    own, wanted = scores[slot.name].detach(), tuple(slot.tensor.shape)
    if tuple(own.shape) != wanted:
        raise MaskError(f"{slot.name}: its scores have the shape {tuple(own.shape)}; expected {wanted}")
    finite = torch.isfinite(own)
    if not finite.all():
        bad = int(finite.numel() - finite.sum())
        raise MaskError(f"{slot.name}: {bad} of {own.numel()} scores are NaN or infinite; expected finite ones")
    return own
