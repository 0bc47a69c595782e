"""Multiply-accumulates of one run of a model, counted at the operators it really calls.

:class:`torch.utils.flop_counter.FlopCounterMode` has the formulas. This file adds what it does not tell: which
operators had none, and how many of the multiplications meet a weight that is not 0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sapwood.arguments import check_example_inputs, check_model
from sapwood.masks import Slot, find_slots
from sapwood.ops import CallMode, flop_formulas, is_free, nothing_compiled
from sapwood.runtime import eval_mode, run
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class MacCount:
    """Work of one run of a model; its ``asdict`` is plain JSON.

    Attributes:
        total: Multiply-accumulates of the whole run (half its FLOPs).
        nonzero_macs: Those of them that multiply with a weight that is not 0: the work of an engine that skips zeros.
        per_module: The same as ``total`` by module path, without modules that do none; a module's figure includes its
            children's.
        uncounted: Operators that may do such work and have no formula, with the number of calls and the reason. Where
            it is empty, ``total`` is complete.
    """

    total: int
    nonzero_macs: int
    per_module: Mapping[str, int]
    uncounted: tuple[str, ...]


def count_macs(model: nn.Module, example_inputs: ExampleInputs) -> MacCount:
    """Counts the multiply-accumulates of one run, for the batch that ``example_inputs`` has.

    Counted are convolutions, matrix products and attention. By convention element-wise operators, normalisation,
    pooling, resizing, softmax and data movement are free, and a bias is not work. For ``nonzero_macs`` a weight is a
    parameter, a masked parameter, a view of one, or the filter of a convolution; products of activations count in full.

    Args:
        model: Any module, with live masks or without. Its training mode, hooks and the caller's random numbers are as
            before; it is run once in eval mode without autograd.
        example_inputs: On the model's device.

    Examples:
        >>> conv = nn.Conv2d(3, 8, kernel_size=3, padding=1)
        >>> count_macs(conv, torch.zeros(1, 3, 10, 10)).total == 8 * 3 * 3 * 3 * 10 * 10
        True
    """
    check_model(model)
    check_example_inputs(example_inputs)
    from torch.utils.flop_counter import FlopCounterMode  # which loads Triton

    counter = FlopCounterMode(display=False, custom_mapping=flop_formulas())
    watcher = _Watcher(model, counter.flop_registry)
    with ExitStack() as stack:
        stack.enter_context(nothing_compiled())
        stack.enter_context(_plain_kernels(model))
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        stack.enter_context(eval_mode(model.modules()))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_plain_leaves(model, example_inputs))
        stack.enter_context(watcher)
        stack.enter_context(counter)  # innermost: it takes operators apart before the watcher meets the pieces
        run(model, example_inputs)
    per_module = _by_path(model, counter.get_flop_counts())
    return MacCount(watcher.total, watcher.nonzero, per_module, watcher.uncounted())


def weight_uses(model: nn.Module, example_inputs: ExampleInputs) -> dict[str, float]:
    """How many products each weight of a parameter is in, in one run: positions of a convolution's output.

    They are the MACs of the modules that hold it, their children's left out, over these modules' weights of two
    dimensions and more; 1 where that is less.

    Args:
        model: Any module.
        example_inputs: On the model's device.

    Returns:
        By the name of a parameter, without torch's ``_orig``; those that modules share under each of their names.

    Examples:
        >>> weight_uses(nn.Conv2d(3, 8, kernel_size=3, bias=False), torch.zeros(1, 3, 10, 10))
        {'weight': 64.0}
    """
    count = count_macs(model, example_inputs)
    own = Counter({"": count.total, **count.per_module})
    for path, macs in count.per_module.items():
        own[path.rpartition(".")[0]] -= macs
    slots = find_slots(model)
    weights: Counter[str] = Counter()
    for slot in slots:
        weights[_owner(slot)] += slot.tensor.numel() if slot.tensor.dim() > 1 else 0
    times: dict[int, float] = defaultdict(float)
    for slot in slots:
        times[id(slot.tensor)] += own[_owner(slot)] / max(1, weights[_owner(slot)])
    return {slot.name: max(1.0, times[id(slot.tensor)]) for slot in slots}


def _owner(slot: Slot) -> str:
    """The path of the module that holds a parameter."""
    return slot.name.rpartition(".")[0]


class _Watcher(CallMode):
    """Adds up the work of each counted operator, and notes those without a formula."""

    def __init__(self, model: nn.Module, formulas: Mapping[Any, Callable[..., int]]) -> None:
        super().__init__()
        self.total = 0
        self.nonzero = 0
        self._formulas = formulas
        self._unknown: Counter[str] = Counter()
        slots = find_slots(model)
        self._parameters = {_address(slot.tensor) for slot in slots}
        self._masked = [(slot.module, slot.parameter) for slot in slots if slot.hook is not None]

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call and counts it."""
        output = self.pass_on(func, args, kwargs)
        packet = getattr(func, "_overloadpacket", func)
        formula = self._formulas.get(packet)
        if formula is None:
            if not is_free(func):
                self._unknown[str(packet)] += 1
            return output
        macs = formula(*args, **kwargs, out_val=output) // 2
        self.total += macs
        weights = [args[1]] if _is_convolution(func) else [arg for arg in args if self._is_weight(arg)]
        self.nonzero += min((_share_of_nonzero(macs, weight) for weight in weights), default=macs)
        return output

    def uncounted(self) -> tuple[str, ...]:
        return tuple(
            f"{name.replace('.', '::', 1)} ({calls} {'call' if calls == 1 else 'calls'}): no formula"
            for name, calls in sorted(self._unknown.items())
        )

    def _is_weight(self, value: object) -> bool:
        """Whether an operand is a parameter of the model, a masked one, or a view of such."""
        if not isinstance(value, Tensor) or value.ndim < 2 or value.layout is not torch.strided:
            return False
        address = _address(value)
        return address in self._parameters or any(address == _address(getattr(*masked)) for masked in self._masked)


def _is_convolution(func: Any) -> bool:
    """Whether an operator moves its second argument, the filter, over a padded map; each device has its own."""
    schema = getattr(func, "_schema", None)  # an operator of operators has none
    names = [] if schema is None else [argument.name for argument in schema.arguments]
    return names[1:2] == ["weight"] and "padding" in names


def _address(tensor: Tensor) -> int:
    """Identifies a tensor's memory, which its views share."""
    return int(tensor.untyped_storage()._cdata)


def _share_of_nonzero(macs: int, weight: Tensor) -> int:
    """The part of ``macs`` that meets a non-zero; every element of a weight takes part in the same number of them."""
    if weight.is_meta or not weight.numel():
        return macs
    return macs * int(weight.count_nonzero()) // weight.numel()


@contextmanager
def _plain_kernels(model: nn.Module) -> Iterator[None]:
    """Switches off fused kernels that hide their matrix products: attention's fast path, oneDNN's recurrent layers."""
    fast_path, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(onednn and not recurrent)  # mkldnn.flags() sets more, and warns of TF32
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        torch._C._set_mkldnn_enabled(onednn)


@contextmanager
def _plain_leaves(model: nn.Module, example_inputs: ExampleInputs) -> Iterator[None]:
    """No parameter or input asks for gradients inside: PyTorch 2.4 cannot count a module that is called with one."""
    leaves = [*model.parameters(), *(one for one in tree_leaves(example_inputs) if isinstance(one, Tensor))]
    asking = [leaf for leaf in leaves if leaf.requires_grad and leaf.is_leaf]
    try:
        for leaf in asking:
            leaf.requires_grad_(False)
        yield
    finally:
        for leaf in asking:
            leaf.requires_grad_()


def _by_path(model: nn.Module, counts: Mapping[str, Mapping[Any, int]]) -> dict[str, int]:
    """MACs by module path, in the model's order; the counter names modules from the model's class on."""
    root = f"{type(model).__name__}."
    macs = {
        name.removeprefix(root): sum(flops.values()) // 2 for name, flops in counts.items() if name.startswith(root)
    }
    return {path: macs[path] for path, _ in model.named_modules() if macs.get(path)}
