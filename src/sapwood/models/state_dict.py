"""State dicts from elsewhere: read without executing anything, and put into a model that they fit."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sapwood.errors import WeightsError
from sapwood.foreign import is_safetensors
from sapwood.models.computed import refresh_masked
from sapwood.models.live_masks import masked_names, restore_masks_
from sapwood.pickled import Inert, read_pickled, tensors_of
from sapwood.reading import opened, read_safetensors, reading

_EXPECTED = "tensors by name, .safetensors or from torch.save, that load without executing code"
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema")
"""Keys of averages over the training steps, which timm and Ultralytics measure by and load before all others."""

_WRAPPING_KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights")
_WRAPPING_PREFIXES = ("module.", "_orig_mod.")
_COUNTER = "n_averaged"
"""What torch.optim.swa_utils.AveragedModel keeps beside the model."""

_DEPTH = 4
_SHOWN = 3


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Reads a state dict.

    A dict that holds the state dict under a name that trainers give it (``state_dict``, ``model``, ``model_ema`` and
    the like), or as its only dict of tensors, is unwrapped, a module that was saved whole is taken apart, and the
    prefixes that ``DataParallel``, ``torch.compile`` and averaging put before every name are taken off. Averages over
    the steps of training come before the weights of the last step, which a warning says.

    Args:
        path: A ``.safetensors`` file, or one that ``torch.save`` wrote.

    Raises:
        WeightsError: If the file cannot be read, or holds anything but tensors by name.
    """
    path = Path(path)
    content = _unwrapped(_load(path), path)
    if not _is_state(content):
        raise WeightsError(f"{path}: holds {_describe(content)}; expected tensors by name")
    state = {name: tensor for name, tensor in content.items() if name != _COUNTER or len(content) == 1}
    while prefix := next((one for one in _WRAPPING_PREFIXES if all(key.startswith(one) for key in state)), ""):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def fitted_state(state: Mapping[str, Tensor], model: nn.Module, origin: str) -> dict[str, Tensor]:
    """The tensors of a model whose trainer keeps it inside of something larger, under the names that the model has.

    A LightningModule holds a network as ``model.`` or ``net.``, and beside it whatever its losses keep. Where no name
    is the model's, and all of the model's are there behind one prefix, it is taken off, and what is left out is told.

    Args:
        state: As it was read.
        model: Has the names; shapes are not looked at.
        origin: Where ``state`` came from, for messages.

    Raises:
        WeightsError: If the model is there more than once.
    """
    own = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    if not own or any(name in state or f"{name}_orig" in state for name in own):
        return dict(state)
    ends = {name[: len(name) - len(own[0])] for name in state if name.endswith(f".{own[0]}")}
    found = sorted(prefix for prefix in ends if all(f"{prefix}{name}" in state for name in own))
    if len(found) > 1:
        raise WeightsError(f"{origin}: holds the tensors of the model {len(found)} times, as {', '.join(found)}")
    if not found:
        return dict(state)
    others = [name for name in state if not name.startswith(found[0])]
    if others:
        warnings.warn(f"{origin}: {_few(others)}: not read, the model has no such tensors", stacklevel=4)
    return {name.removeprefix(found[0]): tensor for name, tensor in state.items() if name.startswith(found[0])}


def module_versions(model: nn.Module) -> dict[str, int | str]:
    """The versions of the formats that the modules of ``model`` keep their state in, by module; 1 is left out.

    Some modules (torchvision's MNASNet) refuse a state whose version they are not told; some name theirs by a text
    (transformers' Phi-3).
    """
    metadata = getattr(model.state_dict(), "_metadata", {})
    versions = {name: own.get("version", 1) for name, own in metadata.items()}
    return {name: version for name, version in versions.items() if version != 1 and type(version) in (int, str)}


def infinities(state: Mapping[str, Tensor]) -> dict[str, int]:
    """How many values of each tensor are infinite, where any is: a causal mask of -inf, the bounds of a clamp.

    Examples:
        >>> import torch
        >>> infinities({"mask": torch.full((2, 2), float("-inf")).triu(1), "weight": torch.ones(2)})
        {'mask': 1}
    """
    counts = {name: int(tensor.isinf().sum()) for name, tensor in state.items() if _has_fractions(tensor)}
    return {name: count for name, count in counts.items() if count}


def load_state_(
    model: nn.Module,
    state: Mapping[str, Tensor],
    origin: str,
    *,
    versions: Mapping[str, int | str] | None = None,
    infinite: Mapping[str, int] | None = None,
) -> None:
    """Fills ``model`` from ``state``; masks that ``state`` holds are live in ``model`` afterwards.

    Args:
        model: Changed in place. Its parameters keep their dtype.
        state: Every parameter and buffer of ``model`` and nothing else. Counters of batches may be missing.
        origin: Where ``state`` came from, for messages.
        versions: From :func:`module_versions` of the model that had the state; unknown if None.
        infinite: From :func:`infinities` of the state as it was written. Where None, what is infinite in ``model`` may
            be infinite in ``state``.

    Raises:
        WeightsError: If names or shapes differ, or values are not finite that were.
    """
    with reading(origin, "the tensors of the model", WeightsError):
        _load_(model, state, origin, versions, infinite)


def _load_(
    model: nn.Module,
    state: Mapping[str, Tensor],
    origin: str,
    versions: Mapping[str, int | str] | None,
    infinite: Mapping[str, int] | None,
) -> None:
    try:
        restore_masks_(model, masked_names(state))
    except AttributeError as error:
        raise WeightsError(
            f"{origin}: holds a mask for what the model has not: {error}; expected a file of this model"
        ) from error
    own = model.state_dict()
    _check_names(own, state, origin)
    for name in (name for name in own if name in state):
        tensor, wanted = state[name], tuple(own[name].shape)
        if tuple(tensor.shape) != wanted:
            raise WeightsError(f"{origin}: {name} has shape {tuple(tensor.shape)}; expected {wanted}")
        count = None if infinite is None else infinite.get(name, 0)
        bad = _damaged(tensor, own[name], count) if _has_fractions(tensor) else 0
        if bad:
            raise WeightsError(f"{origin}: {name}: {bad} of {tensor.numel()} values are NaN or infinite")
    whole = OrderedDict(state)
    if versions is not None:
        known = {name: {"version": versions.get(name, 1)} for name, _ in model.named_modules(remove_duplicate=False)}
        whole._metadata = known  # type: ignore[attr-defined]
    model.load_state_dict(whole, strict=False)
    refresh_masked(model)


def _has_fractions(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _damaged(tensor: Tensor, own: Tensor, known: int | None) -> int:
    """How many values are not finite though they were.

    Args:
        tensor: What came.
        own: What stands there in the model.
        known: How many infinities it was written with, where that is known.
    """
    bad = ~tensor.isfinite()
    if not bool(bad.any()):
        return 0
    if known is None:
        return int((bad & ~(own.isinf().to(tensor.device) & (tensor == own.to(tensor.device)))).sum())
    number = int(tensor.isinf().sum())
    return int(tensor.isnan().sum()) + (0 if number == known else number)


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors" or _begins_as_safetensors(path):
        return read_safetensors(path, _EXPECTED, WeightsError)[0]
    return read_pickled(path, _EXPECTED, WeightsError)


def _begins_as_safetensors(path: Path) -> bool:
    with opened(path, _EXPECTED, WeightsError) as file:
        return is_safetensors(file.read(16))


def _unwrapped(content: Any, path: Path) -> Any:
    """The state dict in what was read; what was read where there is none in it."""
    for _ in range(_DEPTH):
        if isinstance(content, Inert):
            with reading(path, _EXPECTED, WeightsError):
                content = tensors_of(content) or content
        if not isinstance(content, Mapping) or _is_state(content):
            break
        inside = {key: value for key, value in content.items() if _may_hold(value)}
        key = next((one for one in (*_AVERAGED, *_WRAPPING_KEYS) if one in inside), None)
        if key is None:
            states = [one for one, value in inside.items() if _is_state(value)]
            if len(states) != 1:
                break
            key = states[0]
        last = next((one for one in _WRAPPING_KEYS if one in inside), None)
        if key in _AVERAGED and last is not None:
            warnings.warn(
                f"{path}: holds the weights of the last step ({last}) and averages of them ({key}); the averages were "
                "read, as timm and Ultralytics do",
                stacklevel=4,
            )
        content = inside[key]
    return content


def _may_hold(value: object) -> bool:
    if isinstance(value, Inert):
        return "_modules" in value.state
    return isinstance(value, Mapping) and bool(value)


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(_is_entry, value.items()))


def _is_entry(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        others = [f"{key}{_of(value)}" for key, value in content.items() if not isinstance(value, Tensor)]
        return f"a dict with {', '.join(others[:_SHOWN])} that are no tensors" if others else "an empty dict"
    return f"an object of {content.named}" if isinstance(content, Inert) else f"a {type(content).__name__}"


def _of(value: object) -> str:
    return f" ({value.named})" if isinstance(value, Inert) else ""


def _check_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str) -> None:
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    parts = [f"{kind} {_few(names)}" for kind, names in (("lacks", missing), ("has unknown", unknown)) if names]
    if parts:
        stranger = "" if any(name in own for name in state) else ", of which it has none"
        raise WeightsError(f"{origin}: {' and '.join(parts)}; expected the {len(own)} tensors of the model{stranger}")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
