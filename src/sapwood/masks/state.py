"""What a model's tensors look like: keys, live masks and zeros of every parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.utils.prune import BasePruningMethod, PruningContainer

from sapwood.masks.slots import Slot, distinct_slots


@dataclass(frozen=True)
class TensorState:
    """One parameter as the model computes with it.

    Attributes:
        name: Full name, without torch's ``_orig``.
        kind: ``"conv"``, ``"bn"``, ``"linear"`` or ``"other"``.
        shape: Its sizes.
        num_params: Its elements.
        num_zeros: Elements whose value, after a live mask, is 0.
        sparsity: ``num_zeros / num_params``.
        live: Whether a mask of ``torch.nn.utils.prune`` is on it.
        keys: Its names in the state dict: the plain one, or ``..._orig`` and ``..._mask``.
        hook: What keeps the mask alive (``"L1Unstructured"``), empty without one.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    num_params: int
    num_zeros: int
    sparsity: float
    live: bool
    keys: tuple[str, ...]
    hook: str


@dataclass(frozen=True)
class MaskingState:
    """Every parameter of a model, and the totals.

    Attributes:
        tensors: The parameters in the model's order; one that several modules share stands once, under its first name,
            or, where their live masks differ, once for each mask.
        num_params: Elements of all parameters.
        num_zeros: Those whose value, after live masks, is 0.
        sparsity: ``num_zeros / num_params``; 0 for a model without parameters.
        num_live: Parameters (tensors) with a live mask.
        live_params: Elements of the parameters with a live mask.
        live_zeros: Their zeros.
        live_sparsity: ``live_zeros / live_params``; 0 where no mask is live.
    """

    tensors: tuple[TensorState, ...]
    num_params: int
    num_zeros: int
    sparsity: float
    num_live: int
    live_params: int
    live_zeros: int
    live_sparsity: float


def masking_state(model: nn.Module) -> MaskingState:
    """Describes every parameter of a model: its keys, its live mask, its zeros.

    Args:
        model: Any module, masked by Sapwood, by ``torch.nn.utils.prune`` or not at all. It is not changed.

    Returns:
        A record whose ``asdict`` is plain JSON.

    Examples:
        >>> from torch.nn.utils import prune
        >>> state = masking_state(prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=0.5))
        >>> state.tensors[0].keys, state.tensors[0].sparsity, state.tensors[0].hook
        (('weight_orig', 'weight_mask'), 0.5, 'L1Unstructured')
        >>> state.num_params, state.num_zeros, state.live_params, state.live_sparsity
        (10, 4, 8, 0.5)
    """
    tensors = tuple(_describe(slot) for slot in distinct_slots(model))
    live = [tensor for tensor in tensors if tensor.live]
    num_params, num_zeros = _count(tensors)
    live_params, live_zeros = _count(live)
    return MaskingState(
        tensors=tensors,
        num_params=num_params,
        num_zeros=num_zeros,
        sparsity=fraction(num_zeros, num_params),
        num_live=len(live),
        live_params=live_params,
        live_zeros=live_zeros,
        live_sparsity=fraction(live_zeros, live_params),
    )


def fraction(part: int, whole: int) -> float:
    """Returns ``part / whole``, and 0 of nothing."""
    return part / whole if whole else 0.0


def _describe(slot: Slot) -> TensorState:
    num_params = slot.tensor.numel()
    num_zeros = num_params - int(slot.effective().count_nonzero())
    return TensorState(
        name=slot.name,
        kind=slot.kind,
        shape=tuple(slot.tensor.shape),
        num_params=num_params,
        num_zeros=num_zeros,
        sparsity=fraction(num_zeros, num_params),
        live=slot.hook is not None,
        keys=slot.keys,
        hook="" if slot.hook is None else _hook_name(slot.hook),
    )


def _hook_name(hook: BasePruningMethod) -> str:
    """``"L1Unstructured"``, or of a stack of masks ``"PruningContainer(L1Unstructured, CustomFromMask)"``."""
    name = type(hook).__name__
    if not isinstance(hook, PruningContainer):
        return name
    return f"{name}({', '.join(type(method).__name__ for method in hook)})"


def _count(tensors: Sequence[TensorState]) -> tuple[int, int]:
    """Elements and zeros of several parameters."""
    return sum(tensor.num_params for tensor in tensors), sum(tensor.num_zeros for tensor in tensors)
