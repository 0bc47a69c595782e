"""The two passes over the batches: through the model as it is, and through a copy that trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from sapwood.calibration.statistic import Source
from sapwood.calibration.sums import Sums
from sapwood.calibration.watch import as_samples, consumers, watching, watching_weights
from sapwood.errors import ConfigError
from sapwood.models import copy_model, drop_masks_, live_masks

Loss: TypeAlias = Callable[[nn.Module, Any], Tensor]
"""Given a model and a batch, returns the mean loss over the batch's samples, a scalar."""


class Pass(Protocol):
    """Something that learns from batch after batch."""

    def run(self, batch: Any, number: int, size: int) -> None:
        """Learns from the batch of that number, which has ``size`` samples."""


class _Copy:
    """A copy of the caller's model in eval mode, without masks, under the caller's names for its parameters."""

    def __init__(self, model: nn.Module, *, gradients: bool) -> None:
        self.model = copy_model(model).eval()
        held = list(_holders(self.model))
        drop_masks_(self.model, live_masks(self.model))
        self._parts: dict[str, dict[int, nn.Parameter]] = defaultdict(dict)
        for name, module, leaf in held:
            parameter = module.get_parameter(leaf)
            if parameter.is_floating_point():
                self._parts[name][id(parameter)] = parameter
        self.parameters = {name: next(iter(parts.values())) for name, parts in self._parts.items()}
        for parameter in self.model.parameters():
            parameter.requires_grad_(gradients and parameter.is_floating_point())

    def gradients(self) -> Mapping[str, Tensor]:
        """The gradient of each parameter, zero where the loss does not follow from it; forgotten by the copy.

        A parameter that modules share under different masks stands in the copy as several, whose gradients add up.
        """
        found = {}
        for name, parts in self._parts.items():
            gradients = [part.grad for part in parts.values() if part.grad is not None]
            if len(parts) > 1:
                gradients = [part.grad * (part != 0) for part in parts.values() if part.grad is not None]
            found[name] = sum(gradients[1:], gradients[0]) if gradients else torch.zeros_like(self.parameters[name])
            for part in parts.values():
                part.grad = None
        return found


def _holders(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Each place of each parameter: the name that it goes by first, the module, and its name there without its mask."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    masked = {f"{name}_orig" for name in live_masks(model)}
    for path, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                full = f"{path}.{name}" if path else name
                yield first[id(parameter)], module, name.removesuffix("_orig") if full in masked else name


class DensePass:
    """Everything that can be learned from the model as it is.

    Args:
        model: Copied.
        loss: The mean loss of a batch.
        sums: By what they are fed with.
        left_out: Modules whose gates have no samples are put here, with the reason.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, sums: Mapping[Source, Sums], left_out: MutableMapping[str, str]
    ) -> None:
        self._loss, self._sums, self._left_out = loss, sums, left_out
        watched = any(sums[source].names for source in ("gate", "output")) and bool(consumers(model))
        self._backward = watched or bool(sums["gradient"].names)
        self._copy = _Copy(model, gradients=bool(sums["gradient"].names))

    def run(self, batch: Any, number: int, size: int) -> None:
        """Runs one batch forward, and backward where needed."""
        gates: dict[str, list[Tensor]] = {}

        def see_input(module: str, values: Tensor) -> None:
            self._sums["input"].add(module, values, size)

        def see_gate(module: str, rows: Tensor) -> None:
            gates.setdefault(module, []).append(rows)

        watched = watching(
            self._copy.model,
            see_input if self._sums["input"].names else None,
            see_gate if self._sums["gate"].names else None,
        )
        weights = watching_weights(
            self._copy.model,
            (lambda module, rows: self._sums["patches"].add(module, rows, size))
            if self._sums["patches"].names
            else None,
            (lambda module, rows: self._sums["output"].add(module, rows, size)) if self._sums["output"].names else None,
        )
        mode: AbstractContextManager[Any] = torch.enable_grad() if self._backward else torch.no_grad()
        with mode, watched, weights:
            value = _checked(self._loss(self._copy.model, batch), number, backward=self._backward)
            if self._backward:
                value.backward()  # type: ignore[no-untyped-call]
        if self._sums["gradient"].names:
            for name, gradient in self._copy.gradients().items():
                self._sums["gradient"].add(name, gradient, size)
        for module, parts in gates.items():
            self._add_gates(module, parts, size)

    def _add_gates(self, module: str, parts: list[Tensor], size: int) -> None:
        """Adds up a sample's derivatives over the times a module ran; a batch's mean loss counts each 1/size."""
        samples = [as_samples(part, size) for part in parts]
        if any(part is None for part in samples):
            counts = sorted({str(len(part)) for part in parts})
            self._left_out[module] = f"read {', '.join(counts)} rows for a batch of {size} samples"
            return
        self._sums["gate"].add(module, size * sum(part for part in samples if part is not None), size)  # type: ignore[arg-type]


class TrainingPass:
    """What is learned by training a copy, a step a batch."""

    def __init__(self, model: nn.Module, loss: Loss, sums: Sums, learning_rate: float) -> None:
        self._loss, self._sums, self._learning_rate = loss, sums, learning_rate
        self._copy = _Copy(model, gradients=True)

    def run(self, batch: Any, number: int, size: int) -> None:
        """Makes one step."""
        with torch.enable_grad():
            hint = f" after {number} steps for 'movement' at learning_rate {self._learning_rate:g}" if number else ""
            value = _checked(self._loss(self._copy.model, batch), number, backward=True, hint=hint)
            value.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, gradient in self._copy.gradients().items():
                parameter = self._copy.parameters[name]
                self._sums.add(name, -parameter * gradient, size)
                parameter.sub_(gradient, alpha=self._learning_rate)


def _checked(value: Any, number: int, *, backward: bool, hint: str = "") -> Tensor:
    """The loss, if it is a finite scalar."""
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        came = f"shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"the loss of batch {number} is of {came}; expected a floating-point tensor of one number")
    if not bool(torch.isfinite(value)):
        raise ConfigError(f"the loss of batch {number} is {float(value.detach())}{hint}; expected a finite number")
    if backward and not value.requires_grad:
        raise ConfigError(
            f"the loss of batch {number} does not follow from the model given to it (was it computed under no_grad, "
            "or detached?); expected one that can be differentiated"
        )
    return value.reshape(())
