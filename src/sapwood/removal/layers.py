"""Whole layers left out of a transformers model, so that its config says how many there are: which, and the proof."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

from torch import Tensor, nn

from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import Outputs, counting, leaving_no_trace, output_tensors, plain_kernels, run_model
from sapwood.models import (
    Ignored,
    Plan,
    apply_plan,
    config_layers,
    later_name,
    quieten_,
    whole_parts,
    whole_tensors,
    wide_copy,
)
from sapwood.removal.blocks import Blocks
from sapwood.removal.dense import Dense
from sapwood.removal.difference import lively_copy, relative_error
from sapwood.removal.proof import PROOF_TOLERANCE, Verification
from sapwood.types import ExampleInputs


@dataclass(frozen=True)
class ConfigLayer:
    """An entry of a list of layers.

    Attributes:
        name: Its name.
        list: That of the list.
        number: Which entry it is.
        of: Of layers with one such name one has to stay; empty where another entry of the list stays in any case.
    """

    name: str
    list: str
    number: int
    of: str = ""

    def holds(self, module: str) -> bool:
        """Whether a module is of the layer alone."""
        return module == self.name or module.startswith(f"{self.name}.")


class Layers:
    """The layers of a transformers model that may go, and the model without some of them; as :class:`Blocks`.

    Args:
        model: The model; not touched.
        inputs: Its example inputs.
        ignore: What must stay whole, as for :func:`sapwood.models.whole_tensors`: so does a layer that holds it.
        outputs: Which of the model's outputs count; see :func:`sapwood.graph.counting`.

    Attributes:
        model: The model.
        inputs: Its example inputs.
        ignored: What must stay whole, as it was given.
        found: Those that may go, in the order of the model.
        refused: All others by name, with the reason.

    Raises:
        ConfigError: If there is no config that says how many layers the model has.
    """

    def __init__(
        self, model: nn.Module, inputs: ExampleInputs, ignore: Ignored = None, outputs: Outputs | None = None
    ) -> None:
        self.model, self.inputs, self.ignored = model, inputs, ignore
        self._dense = Dense(model, inputs, outputs)
        self._said = config_layers(model)
        self._whole = whole_tensors(model, ignore)
        stays = {**whole_parts(model), **self._whole}
        every = [
            ConfigLayer(f"{one.list}.{number}", one.list, number)
            for one in self._said.counts
            for number in range(one.count)
        ]
        self.refused = {layer.name: why for layer in every if (why := self._reason(layer, stays))}
        firm = {layer.list for layer in every if layer.name in self.refused}
        self.found = tuple(
            replace(layer, of="" if layer.list in firm else layer.list)
            for layer in every
            if layer.name not in self.refused
        )

    def plan(self, names: Sequence[str]) -> Plan:
        """What leaves out the layers of these names.

        Raises:
            ConfigError: If the config with so many layers builds another model, as where none would stay.
        """
        gone: dict[str, list[int]] = {}
        for layer in self.found:
            if layer.name in set(names):
                gone.setdefault(layer.list, []).append(layer.number)
        for one in self._said.counts:
            if len(gone.get(one.list, ())) == one.count:
                raise ConfigError(
                    f"depth: all {one.count} layers of {one.list} would go; expected one at least to stay"
                )
        return self._said.plan(gone)

    def proven(self, names: Sequence[str]) -> Verification:
        """Compares the model without these layers with the dense one in which they hand on what they get, in float64.

        Raises:
            CheckFailedError: If the model without them does not run, or is not right.
        """
        plan = self.plan(names)
        error, moved = self._compared(self._dense.model, names, plan)
        if moved == 0.0 and names:
            error = max(error, self._compared(lively_copy(self._dense.model), names, plan)[0])
        if not error <= PROOF_TOLERANCE:
            raise CheckFailedError(
                f"without {', '.join(names)} the model differs from the one in which they hand on what they get by "
                f"{error:.1e} of the largest output; expected at most {PROOF_TOLERANCE:.0e}. The model given is "
                "unchanged."
            )
        return Verification(error, "float64", passed=True, distance_from_dense=moved if math.isfinite(moved) else None)

    def far(self, compact: nn.Module) -> float | None:
        """How far a smaller model is from the dense one in float64; None where that tells nothing."""
        far = relative_error(self._run(quieten_(wide_copy(compact).eval())), self._run(self._dense.model))
        return far if math.isfinite(far) else None

    def stays_in(self, plan: Plan) -> Ignored:
        """What must stay whole, by the names in the model that a plan leaves."""
        renamed = {later_name(name, plan): why for name, why in self._whole.items()}
        return {name: why for name, why in renamed.items() if name is not None}

    def _reason(self, layer: ConfigLayer, stays: Mapping[str, str]) -> str:
        """Why a layer stays; empty where it may go."""
        for name, why in stays.items():
            if layer.holds(name.partition("[")[0].rpartition(".")[0]):
                return why
        try:
            self._said.plan({layer.list: [layer.number]})
        except ConfigError as error:
            return str(error)
        return ""

    def _compared(self, model: nn.Module, names: Sequence[str], plan: Plan) -> tuple[float, float]:
        """How far a model without layers is from the one that passes them by, and that from the dense one."""
        try:
            found = self._run(apply_plan(model, plan))
        except Exception as error:  # the model's own code may fail in any way
            raise CheckFailedError(
                f"without {', '.join(names)} the model's code fails: {type(error).__name__}: "
                f"{' '.join(str(error).split())}"
            ) from error
        with passed_by(model, names):
            wanted = self._run(model)
        return relative_error(found, wanted), relative_error(wanted, self._run(model))

    def _run(self, model: nn.Module) -> list[Tensor]:
        """The outputs that count."""
        with leaving_no_trace(model), plain_kernels(model):
            result = run_model(model, self._dense.inputs)
        every = zip(output_tensors(result), counting(result, self._dense.counted), strict=True)
        return [tensor for tensor, counts in every if counts]


Removables: TypeAlias = Blocks | Layers
"""What may go as a whole, with the plans that take it out and the proof."""


@contextmanager
def passed_by(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Inside, these layers hand on their first tensor in the place of what they make of it."""

    def hook(_: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
        given = next(value for value in chain(args, kwargs.values()) if isinstance(value, Tensor))
        return given if isinstance(result, Tensor) else (given, *result[1:])

    handles = [model.get_submodule(name).register_forward_hook(hook, with_kwargs=True) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
