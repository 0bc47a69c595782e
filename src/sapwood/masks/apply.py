"""Puts the masks of a case on a model, whole or not at all, and makes masks permanent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.prune import PruningContainer

from sapwood.arguments import check_kind, check_model
from sapwood.errors import ConfigError, MaskError
from sapwood.masks.case import METHODS, MaskCase, MaskMethod
from sapwood.masks.slots import Slot, find_slots, live_hooks
from sapwood.masks.state import fraction
from sapwood.masks.targets import MaskTarget, Selection, check_finite, select_targets
from sapwood.models import drop_masks_, refresh_masked


@dataclass(frozen=True)
class MaskedParameter:
    """What one parameter has lost.

    Attributes:
        name: Full name, without torch's ``_orig``.
        shape: Its sizes.
        num_params: Its elements.
        num_masked: Elements that its mask silences; a stacked mask counts what the earlier ones silence too.
        sparsity: ``num_masked / num_params``.
    """

    name: str
    shape: tuple[int, ...]
    num_params: int
    num_masked: int
    sparsity: float


@dataclass(frozen=True)
class MaskRecord:
    """What a masking did; its ``asdict`` is plain JSON.

    Attributes:
        case: What was asked for.
        parameters: The masked parameters in the model's order, each once.
        sparsity: Fraction masked of the elements of ``parameters`` taken together.
        skipped: Parameters the case meant that could not be masked: the name and the reason.
        notes: What a reader should know, a sentence each, as that a mask silences a whole parameter.
    """

    case: MaskCase
    parameters: tuple[MaskedParameter, ...]
    sparsity: float
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def apply_masks_(
    model: nn.Module,
    case: MaskCase,
    *,
    scores: Mapping[str, Tensor] | None = None,
    kept: Mapping[str, int] | None = None,
    uses: Mapping[str, float] | None = None,
) -> MaskRecord:
    """Masks a model in place, as ``torch.nn.utils.prune`` does: ``weight`` becomes ``weight_orig`` and ``weight_mask``.

    Fractions are those of torch: ``round(sparsity * elements)`` go. On a parameter that holds a mask already, the
    fraction is of what is left, and torch stacks the masks in a ``PruningContainer``. Structured methods leave at least
    one slice, where torch would remove all. A parameter that several modules share gets one mask in all of them.

    Args:
        model: Any module. Where this function raises, the model is as before.
        case: What to mask.
        scores: Of method ``scored``: the name of a parameter -> one score a weight, larger = keep, any finite numbers
            in the parameter's shape. Names that ``case`` does not select are not read. Without: magnitudes.
        kept: Of method ``scored``: the name of every selected parameter -> how many of its units stay, at least 1, in
            place of ``case``'s sparsity and budget.
        uses: Of method ``scored``: the name of every selected parameter -> how many products each of its weights is in,
            in one run (:func:`sapwood.measure.weight_uses`); what budget ``lamp_macs`` reads.

    Returns:
        What each parameter lost, and what could not be masked.

    Raises:
        MaskError: If no parameter fits or none of those that fit can be masked, a weight is NaN or infinite, global
            parameters are on several devices, or a mask file, ``scores``, ``kept`` or ``uses`` do not fit the model.
        ConfigError: If ``scores``, ``kept`` or ``uses`` are given to a method that reads none.

    Examples:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
        >>> record = apply_masks_(model, MaskCase("l1_unstructured", 0.5, layers=("conv",)))
        >>> [(parameter.name, parameter.num_masked) for parameter in record.parameters], record.sparsity
        ([('0.weight', 6), ('1.weight', 4)], 0.5)
        >>> list(model.state_dict())
        ['0.weight_orig', '0.weight_mask', '1.weight_orig', '1.weight_mask']
    """
    check_model(model)
    check_kind("case", case, MaskCase, "a sapwood.MaskCase")
    for name, given in (("scores", scores), ("kept", kept), ("uses", uses)):
        if given is not None:
            check_kind(name, given, Mapping, "a dict by the names of parameters")
        if given is not None and not METHODS[case.method].takes_scores:
            raise ConfigError(f"{name}: given to {case.method}, which chooses for itself; expected method 'scored'")
    method = METHODS[case.method](case, scores, kept, uses)
    selection = _possible(select_targets(model, case.layers, case.pattern), method)
    slots = [target.slot for target in selection.targets]
    for slot in slots:
        check_finite(slot)
    if case.scope == "global":
        _check_device(slots)
    modules = [slot.module for target in selection.targets for slot in (target.slot, *target.twins)]
    with _restored_on_error(modules), _seeded(case.seed):
        notes = method.mask_(slots)
        _mask_twins(selection.targets)
        refresh_masked(model)  # values without history, which torch's own deepcopy accepts
        return _record(case, selection, notes)


def remove_masks_(model: nn.Module) -> tuple[str, ...]:
    """Makes every live mask permanent, as ``torch.nn.utils.prune.remove`` does: plain weights with zeros, no hooks.

    Other than torch's, it leaves the outputs as they are where modules share a parameter of which one has another mask,
    or none: the masked module gets a parameter of its own.

    Args:
        model: Any module; without live masks it stays as it is.

    Returns:
        The names of the parameters that had a mask.

    Examples:
        >>> model = nn.Linear(4, 2, bias=False)
        >>> _ = apply_masks_(model, MaskCase("l1_unstructured", 0.5, layers=("linear",)))
        >>> remove_masks_(model), list(model.state_dict()), int((model.weight == 0).sum())
        (('weight',), ['weight'], 4)
    """
    check_model(model)
    live = [slot for slot in find_slots(model) if slot.hook is not None]
    names = tuple(slot.name for slot in live)
    drop_masks_(model, names)
    return names


def _possible(selection: Selection, method: MaskMethod) -> Selection:
    """The selection without what the method cannot mask.

    Raises:
        MaskError: If nothing is left of it.
    """
    refusals = [(target, method.refusal(target.slot)) for target in selection.targets]
    targets = tuple(target for target, reason in refusals if reason is None)
    skipped = tuple(f"{target.slot.name}: {reason}" for target, reason in refusals if reason is not None)
    skipped = selection.skipped + skipped
    if not targets:
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise MaskError(f"none of the selected parameters can be masked by {method.case.method}: {skipped[0]}{more}")
    return Selection(targets, skipped)


def _check_device(slots: Sequence[Slot]) -> None:
    devices = sorted({str(slot.tensor.device) for slot in slots})
    if len(devices) > 1:
        raise MaskError(f"scope 'global': the parameters are on {', '.join(devices)}; expected all on one device")


def _mask_twins(targets: Sequence[MaskTarget]) -> None:
    """Gives the other holders of a shared parameter the mask that its first holder got."""
    for target in targets:
        mask = getattr(target.slot.module, f"{target.slot.parameter}_mask")
        for twin in target.twins:
            prune.custom_from_mask(twin.module, twin.parameter, mask)  # type: ignore[no-untyped-call]


def _record(case: MaskCase, selection: Selection, notes: tuple[str, ...]) -> MaskRecord:
    parameters = []
    for target in selection.targets:
        mask = getattr(target.slot.module, f"{target.slot.parameter}_mask")
        num_masked = int((mask == 0).sum())
        sparsity = fraction(num_masked, mask.numel())
        parameters.append(MaskedParameter(target.slot.name, tuple(mask.shape), mask.numel(), num_masked, sparsity))
    total = fraction(sum(p.num_masked for p in parameters), sum(p.num_params for p in parameters))
    notes += tuple(
        f"{p.name}: all {p.num_params} values are masked" for p in parameters if p.num_masked == p.num_params
    )
    notes += tuple(
        f"{target.slot.name}: shared with {', '.join(twin.name for twin in target.twins)}, masked there too"
        for target in selection.targets
        if target.twins
    )
    return MaskRecord(case, tuple(parameters), total, selection.skipped, notes)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from ``seed`` inside, the caller's own afterwards; on the CPU and on every CUDA device."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def _restored_on_error(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Puts modules back as they were when the block raises, whatever torch had done to them by then."""
    saved = [(module, _tables(module)) for module in modules]
    stacks = {
        id(hook): (hook, hook._pruning_methods)
        for module in modules
        for hook in live_hooks(module).values()
        if isinstance(hook, PruningContainer)
    }
    try:
        yield
    except BaseException:
        for hook, methods in stacks.values():
            hook._pruning_methods = methods
        for module, tables in saved:
            _put_back(module, tables)
        raise


def _tables(module: nn.Module) -> dict[str, Any]:
    """A copy of what a module holds: its attributes, and one level into its tables (parameters, buffers, hooks)."""
    return {key: value.copy() if isinstance(value, (dict, list, set)) else value for key, value in vars(module).items()}


def _put_back(module: nn.Module, tables: dict[str, Any]) -> None:
    """Restores a module's attributes, its tables in the very objects others may hold."""
    current = vars(module)
    for key in [key for key in current if key not in tables]:
        del current[key]
    for key, value in tables.items():
        held = current.get(key)
        if isinstance(value, list) and isinstance(held, list):
            held[:] = value
        elif isinstance(value, (dict, set)) and isinstance(held, (dict, set)):
            held.clear()
            held.update(value)
        else:
            current[key] = value
