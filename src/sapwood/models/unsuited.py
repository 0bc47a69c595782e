"""Models that cannot be changed or proven, each with what to do instead; and parts that have to stay whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.models.copying import CONTAINERS, SHARED
from sapwood.models.walking import all_modules, named_modules, named_tensors


def check_suited(model: nn.Module) -> None:
    """Checks that a model can be run in float64 and cut.

    Raises:
        ConfigError: If it is compiled by TorchScript, sharded, only drives a model inside, holds modules whose weights
            are whole numbers, or lazy ones that never ran; the message names the modules, and what was expected.

    Examples:
        >>> check_suited(nn.Linear(3, 2))
    """
    for found, text in UNSUITED:
        names = [f"{name or '(the model)'} ({type(module).__name__})" for name, module in _those(model, found)]
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise ConfigError(text.format(", ".join(names[:SHOWN]) + more))


def check_has_values(model: nn.Module) -> None:
    """Checks that a model's tensors hold values, to score, to cut and to compare.

    Raises:
        ConfigError: If some are on the meta device; the message names them.

    Examples:
        >>> check_has_values(nn.Linear(3, 2))
    """
    names = [name for name, tensor in named_tensors(model) if tensor.is_meta]
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise ConfigError(
            f"{', '.join(names[:SHOWN])}{more}: on the meta device, which holds no values; "
            "expected a model with its weights (model.to_empty(device='cpu'), then load_state_dict)"
        )


SHOWN = 3


def _those(model: nn.Module, found: Callable[[nn.Module], bool]) -> list[tuple[str, nn.Module]]:
    if found in {_is_script, _is_driver}:  # parts are left whole, or never asked
        return [("", model)] if found(model) else []
    if not any(map(found, all_modules(model))):  # names take their time
        return []
    return [(name, module) for name, module in model.named_modules() if found(module)]


def _is_script(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _is_driver(module: nn.Module) -> bool:
    """Whether it has no forward, but is called: what predicts, trains and exports with a model inside."""
    kind = type(module)
    if _is_script(module):
        return False
    has_none = kind.forward is nn.Module.forward and "forward" not in vars(module)
    return has_none and kind.__call__ is not nn.Module.__call__


def _is_lazy(module: nn.Module) -> bool:
    held = [*module._parameters.values(), *module._buffers.values()]
    return any(torch.nn.parameter.is_lazy(tensor) for tensor in held if tensor is not None)


def _is_sharded(module: nn.Module) -> bool:
    return type(module).__name__ == "FullyShardedDataParallel"


def _is_quantised(module: nn.Module) -> bool:
    if _is_script(module):
        return False
    tensors = [one for one in (*module._parameters.values(), *module._buffers.values()) if one is not None]
    if not NO_TENSORS.issuperset(map(type, vars(module).values())):
        tensors += [one for one in vars(module).values() if isinstance(one, torch.Tensor)]
    packed = "quantized" in type(module).__module__ and hasattr(module, "_packed_params")
    return packed or any(tensor.is_quantized for tensor in tensors)


NO_TENSORS = SHARED | CONTAINERS | {set}
"""What attributes of most modules are of, none of which then has to be asked what it is."""

UNSUITED: tuple[tuple[Callable[[nn.Module], bool], str], ...] = (
    (
        _is_script,
        "{} is compiled by TorchScript, and its code cannot follow smaller widths; "
        "expected the module before torch.jit.script or torch.jit.trace",
    ),
    (
        _is_driver,
        "{} has no forward: it predicts, trains or exports with a model inside; "
        "expected that model (of ultralytics' YOLO: yolo.model), which can be put back there once it is pruned",
    ),
    (
        _is_lazy,
        "{} have no widths yet; expected a model that ran once: call it on the example inputs, then prune it",
    ),
    (_is_sharded, "{} keep parts of their parameters in other processes; expected the module before it was sharded"),
    (
        _is_quantised,
        "{} hold whole numbers for weights, and cannot be run in float64, in which the result is proven; "
        "expected the model before it was quantised: prune first, then quantise what is left",
    ),
)
"""Kinds of modules that are in the way of everything, and what is said of them."""


def whole_parts(model: nn.Module) -> dict[str, str]:
    """Parameters and buffers that have to stay as they are, each with the reason: those of TorchScript modules.

    Examples:
        >>> whole_parts(nn.Linear(1, 1))
        {}
    """
    reason = "belongs to a TorchScript module, whose code cannot follow"
    return {
        f"{name}.{own}".lstrip("."): reason
        for name, module in named_modules(model)
        if isinstance(module, torch.jit.ScriptModule)
        for own, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    }
