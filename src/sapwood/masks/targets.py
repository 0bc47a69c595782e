"""Chooses the parameters a case masks, and says of the others why they cannot be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from sapwood.errors import MaskError
from sapwood.masks.slots import KIND_MODULES, KIND_PARAMETERS, Slot, find_slots, own_name, same_mask


@dataclass(frozen=True)
class MaskTarget:
    """One parameter to mask.

    Attributes:
        slot: Where it is, and where a method puts its mask.
        twins: Further slots of the very same parameter; they get the same mask, or one layer would still use what
            the other has lost.
    """

    slot: Slot
    twins: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What a case masks.

    Attributes:
        targets: The parameters, each once, in the model's order.
        skipped: Parameters that were meant too and cannot be masked: the name and the reason.
    """

    targets: tuple[MaskTarget, ...]
    skipped: tuple[str, ...]


def select_targets(model: nn.Module, layers: Sequence[str], pattern: str | None = None) -> Selection:
    """Chooses parameters by the kind of their layer and by name.

    Args:
        model: Any module. It is not changed.
        layers: Any of ``"conv"`` (weights of convolutions, transposed ones too), ``"bn"`` (weight and bias of
            BatchNorms), ``"linear"`` (weights of :class:`torch.nn.Linear`) and ``"all"`` (these three). Empty: any
            parameter.
        pattern: Keeps those whose full name fits, as :mod:`fnmatch` does it.

    Returns:
        The parameters, and what was meant but cannot be masked.

    Raises:
        MaskError: If nothing is selected at all; names what is there.

    Examples:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False))
        >>> selection = select_targets(model, ("bn",))
        >>> [target.slot.name for target in selection.targets]
        ['1.weight', '1.bias']
        >>> selection.skipped
        ('2.weight: the layer has none', '2.bias: the layer has none')
    """
    kinds = frozenset(KIND_MODULES) if "all" in layers else frozenset(layers)
    slots = find_slots(model)
    targets, skipped = _sort_out(slots, [slot for slot in slots if _meant(slot, kinds, pattern)])
    absent = [
        f"{name}: {reason}" for kind, name, reason in _absent(model, slots) if kind in kinds and _fits(name, pattern)
    ]
    if not targets and not skipped and not absent:
        raise MaskError(_nothing_selected(model, slots, layers, pattern))
    return Selection(targets, (*absent, *skipped))


def _fits(name: str, pattern: str | None) -> bool:
    return pattern is None or fnmatchcase(name, pattern)


def _meant(slot: Slot, kinds: AbstractSet[str], pattern: str | None) -> bool:
    return (not kinds or slot.kind in kinds) and _fits(slot.name, pattern)


def _sort_out(slots: Sequence[Slot], meant: Sequence[Slot]) -> tuple[tuple[MaskTarget, ...], list[str]]:
    """Tells of the slots that were meant what can be masked, each parameter once, and why the rest cannot."""
    holders: dict[int, list[Slot]] = {}
    for slot in slots:
        holders.setdefault(id(slot.tensor), []).append(slot)
    targets: dict[int, MaskTarget] = {}
    skipped = []
    for slot in meant:
        if id(slot.tensor) in targets:
            continue
        twins = tuple(twin for twin in holders[id(slot.tensor)] if twin is not slot)
        reason = next(_refusals(slot, twins), None)
        if reason is None:
            targets[id(slot.tensor)] = MaskTarget(slot, twins)
        else:
            skipped.append(f"{slot.name}: {reason}")
    return tuple(targets.values()), skipped


def _absent(model: nn.Module, slots: Sequence[Slot]) -> Iterator[tuple[str, str, str]]:
    """Parameters that a kind of layer has and some layers here have not: the kind, the name and the reason."""
    held = {(id(slot.module), slot.parameter) for slot in slots}
    for path, module in model.named_modules():
        for kind, module_type in KIND_MODULES.items():
            for parameter in KIND_PARAMETERS[kind]:
                if isinstance(module, module_type) and (id(module), parameter) not in held:
                    yield kind, own_name(path, parameter), _why_absent(module, parameter)


def _why_absent(module: nn.Module, parameter: str) -> str:
    if is_parametrized(module, parameter):
        return "computed by torch.nn.utils.parametrize; remove the parametrization first"
    if getattr(module, parameter, None) is None:
        return "the layer has none"
    return "computed from other tensors before each forward (weight_norm or the like); remove that first"


def _refusals(slot: Slot, twins: Sequence[Slot]) -> Iterator[str]:
    """The reasons why no method can mask this parameter, the first to be reported first."""
    yield from _place_refusals(slot)
    for twin in twins:
        yield from (f"shared with {twin.name}: {reason}" for reason in _place_refusals(twin))
        if not same_mask(slot, twin):
            yield f"shared with {twin.name}, and their live masks differ"
    tensor = slot.tensor
    if nn.parameter.is_lazy(tensor):
        yield "not initialised yet; run the model once"
    elif tensor.is_meta:
        yield "on the meta device, without values"
    elif not tensor.is_floating_point() and not tensor.is_complex():
        yield f"its values are {str(tensor.dtype).removeprefix('torch.')}, not floating point"
    elif tensor.numel() == 0:
        yield "it has no elements"


def _place_refusals(slot: Slot) -> Iterator[str]:
    """Why a mask at this place would not be followed: torch applies masks just before a module's own forward."""
    module = slot.module
    if isinstance(module, (nn.ParameterList, nn.ParameterDict)):
        yield f"held by a {type(module).__name__}, which has no forward to apply a mask before"
    if isinstance(module, ParametrizationList):
        yield "belongs to a torch.nn.utils.parametrize parametrization; remove the parametrization first"
    if isinstance(module, NonDynamicallyQuantizableLinear):
        yield "read by its MultiheadAttention without calling the layer, so that a mask would not follow training"
    if any(isinstance(hook, (WeightNorm, SpectralNorm)) for hook in module._forward_pre_hooks.values()):
        yield "its layer computes a weight before each forward (weight_norm or spectral_norm); remove that first"


def _nothing_selected(model: nn.Module, slots: Sequence[Slot], layers: Sequence[str], pattern: str | None) -> str:
    """What was asked for and what there is."""
    asked = " and ".join(
        part
        for part in (f"layers {', '.join(layers)}" if layers else "", f"pattern {pattern!r}" if pattern else "")
        if part
    )
    kind_counts = {kind: sum(slot.kind == kind for slot in slots) for kind in (*KIND_MODULES, "other")}
    present = ", ".join(f"{count} {kind}" for kind, count in kind_counts.items() if count) or "none"
    message = f"{asked}: no parameter of {type(model).__name__} fits; it has {present}"
    if pattern is None:
        return message
    names = [slot.name for slot in slots]
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
    return f"{message}; the nearest names are {', '.join(near)}" if near else message


def check_finite(slot: Slot) -> None:
    """Refuses values that no magnitude orders, and that a mask would not silence: 0 times infinity is not 0.

    Raises:
        MaskError: If a value is NaN or infinite; gives the count.
    """
    finite = torch.isfinite(slot.tensor)
    if not finite.all():
        bad = int(finite.numel() - finite.sum())
        raise MaskError(f"{slot.name}: {bad} of {finite.numel()} values are NaN or infinite; expected finite weights")
