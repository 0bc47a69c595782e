"""The four methods that choose for themselves what to remove; ``torch.nn.utils.prune`` does the choosing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch.nn.utils import prune

from sapwood.masks.case import METHODS, MaskMethod, Scope
from sapwood.masks.slots import Slot


class _Unstructured(MaskMethod):
    """Single weights go: in each parameter the fraction, or the fraction of all parameters taken as one."""

    scopes: ClassVar[tuple[Scope, ...]] = ("local", "global")
    torch_method: ClassVar[type[prune.BasePruningMethod]]

    def refusal(self, slot: Slot) -> str | None:
        """Returns a reason for tensors whose elements torch cannot put in a row as they are."""
        if slot.tensor.is_contiguous():
            return None
        return "not contiguous in memory (channels_last?), which torch's unstructured methods cannot mask"

    def mask_(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        """Masks each parameter by itself, or all of them against one threshold or draw."""
        amount = self.case.amount
        if self.case.scope == "global":
            pairs = [(slot.module, slot.parameter) for slot in slots]
            prune.global_unstructured(pairs, pruning_method=self.torch_method, amount=amount)
            return ()
        for slot in slots:
            self.torch_method.apply(slot.module, slot.parameter, amount)  # type: ignore[no-untyped-call]
        return ()


@METHODS.register("l1_unstructured")
class L1Unstructured(_Unstructured):
    """Removes the weights of smallest magnitude."""

    torch_method = prune.L1Unstructured


@METHODS.register("random_unstructured")
class RandomUnstructured(_Unstructured):
    """Removes weights at random."""

    torch_method = prune.RandomUnstructured


class _Structured(MaskMethod):
    """Whole slices along ``case.dim`` go; one slice at least stays, where torch would take the last one too."""

    structured: ClassVar[bool] = True
    why_local: ClassVar[str] = "torch.nn.utils.prune has no global structured pruning"

    def refusal(self, slot: Slot) -> str | None:
        """Returns a reason for tensors without slices along ``case.dim``."""
        num_dims = slot.tensor.ndim
        if num_dims < 2:
            return f"its shape is {tuple(slot.tensor.shape)}; structured methods remove slices of at least 2 dimensions"
        if not -num_dims <= self.case.dim < num_dims:
            return f"it has no dimension {self.case.dim}: its shape is {tuple(slot.tensor.shape)}"
        if num_slices_left(slot, self.case.dim) == 0:
            return f"its live mask has left no slice along dimension {self.case.dim}"
        return None

    def mask_(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        """Masks each parameter, with a number instead of a fraction where the fraction would be all."""
        notes = []
        for slot in slots:
            num_slices = num_slices_left(slot, self.case.dim)
            takes_all = round(self.case.amount * num_slices) == num_slices
            self.mask_one_(slot, num_slices - 1 if takes_all else self.case.amount)
            if takes_all:
                notes.append(f"{slot.name}: {self.case.amount:g} of {num_slices} slices would be all; one stays")
        return tuple(notes)

    def mask_one_(self, slot: Slot, amount: float | int) -> None:
        """Masks one parameter; ``amount`` is torch's: a fraction as a float, a number of slices as an int."""
        raise NotImplementedError(f"{type(self).__name__} masks nothing")


def num_slices_left(slot: Slot, dim: int) -> int:
    """Returns the number of slices along ``dim`` that a live mask has not removed whole, as torch counts them."""
    if slot.mask is None:
        return slot.tensor.shape[dim]
    return int((slot.mask != 0).movedim(dim, 0).flatten(1).any(dim=1).sum())


@METHODS.register("ln_structured")
class LnStructured(_Structured):
    """Removes the slices of smallest norm of order ``case.n``."""

    def mask_one_(self, slot: Slot, amount: float | int) -> None:
        """Keeps the slices of largest norm, whatever the sign of ``n``."""
        name, case = slot.parameter, self.case
        prune.ln_structured(slot.module, name, amount, n=case.norm_order, dim=case.dim)  # type: ignore[no-untyped-call]


@METHODS.register("random_structured")
class RandomStructured(_Structured):
    """Removes slices at random."""

    def mask_one_(self, slot: Slot, amount: float | int) -> None:
        """Draws the slices from torch's global generator, which the caller has seeded."""
        prune.random_structured(slot.module, slot.parameter, amount, dim=self.case.dim)  # type: ignore[no-untyped-call]
