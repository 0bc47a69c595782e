"""What a criterion sees of a model: values, statistics, and what the recorded run tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from sapwood.calibration import Statistics, consumers
from sapwood.criteria.readers import Readers, find_readers, summed_dims, whole_groups
from sapwood.errors import ConfigError, CriterionError, ShapeError
from sapwood.graph import Analysis, ChannelGroup, Member
from sapwood.models import named_parameters, used_parts
from sapwood.ops import TensorRef

Members = Literal["all", "producers", "consumers"]
"""Which slices of a channel count: those that read it (in the dimensions that are summed over), the others, or all."""

Sums: TypeAlias = dict[tuple[int, str, int], tuple[Any, Tensor]]


@dataclass(frozen=True)
class ModelView:
    """A model as a criterion sees it.

    Attributes:
        parameters: Values by (first) name; of a masked parameter ``..._orig``, what the model uses, value times mask.
            A weight of a shared one is used where any of its holders has no mask on it.
        analysis: The recorded run and its channel groups.
        modules: Names of the convolution and linear modules.
        statistics: From :func:`sapwood.calibration.collect`, if any were collected.
        computed: Weights of such modules that are no parameters but made of some, as by a weight norm, by module.
        sums: What criteria added up of parameters, which other channel groups of the same model find again: by the
            criterion's identity, the parameter and the dimension; each with the criterion, which keeps that identity.
    """

    parameters: Mapping[str, Tensor]
    analysis: Analysis
    modules: frozenset[str] = frozenset()
    statistics: Statistics | None = None
    computed: Mapping[str, Tensor] = field(default_factory=dict)
    sums: Sums = field(default_factory=dict, compare=False)

    @staticmethod
    def of(
        model: nn.Module, analysis: Analysis, statistics: Statistics | None = None, sums: Sums | None = None
    ) -> ModelView:
        """The view of ``model``; its values are not copied."""
        values = {name: parameter.detach() for name, parameter in named_parameters(model)}
        for name, mask in used_parts(model).items():
            values[name] = values[name] * mask
        modules = consumers(model)
        weights = {name: module.weight for name, module in modules.items() if "weight" not in module._parameters}
        computed = {name: weight.detach() for name, weight in weights.items() if isinstance(weight, Tensor)}
        return ModelView(values, analysis, frozenset(modules), statistics, computed, {} if sums is None else sums)

    @cached_property
    def readers(self) -> Readers:
        """Where channels are summed over."""
        return find_readers(self.analysis, self.modules)

    @cached_property
    def summed_dims(self) -> Mapping[tuple[str, int], int]:
        """The dimensions of parameters that are summed over, with the conv groups along them."""
        return summed_dims(self.analysis)

    @cached_property
    def batch_norm_scales(self) -> frozenset[str]:
        """Names of the parameters that are scales of a BatchNorm."""
        graph = self.analysis.graph
        scales = [call.args[1] for call in graph.calls if "batch_norm" in call.name]
        return frozenset(
            graph.parameters[scale.id][0]
            for scale in scales
            if isinstance(scale, TensorRef) and scale.id in graph.parameters
        )

    def members(self, group: ChannelGroup, which: Members = "all") -> list[Member]:
        """The slices of parameters that go with a group.

        Raises:
            CriterionError: If there are none.
        """
        found = [
            member
            for member in group.members
            if member.tensor in self.parameters
            and (which == "all" or self._is_summed(member) == (which == "consumers"))
        ]
        if not found:
            raise CriterionError(f"{group.name}: no slice of a parameter is among its {which}")
        return found

    def _is_summed(self, member: Member) -> bool:
        groups = self.summed_dims.get((member.tensor, member.dim), 0)
        return groups == 1 or (groups > 1 and not whole_groups(member.column, groups).all())

    @cached_property
    def _first_names(self) -> Mapping[str, str]:
        return {name: first for first, names in self.analysis.aliases.items() for name in names}

    def first_name(self, name: str) -> str:
        """The name under which a parameter that has several is known here."""
        return self._first_names.get(name, name)

    def statistic(self, name: str) -> Mapping[str, Tensor]:
        """A statistic by parameter or module.

        Raises:
            ConfigError: If it was not collected.
        """
        if self.statistics is None:
            raise ConfigError(f"the criterion needs the statistic {name!r}, and none were collected")
        return self.statistics[name]

    def parameter(self, name: str) -> Tensor:
        """The values of a parameter.

        Raises:
            ConfigError: If the model has none of that name.
        """
        first = self.first_name(name)
        if first not in self.parameters:
            raise ConfigError(f"the model has no parameter {name!r}")
        return self.parameters[first]

    def weight(self, module: str) -> Tensor:
        """What a convolution or linear module multiplies with, its mask on it.

        Raises:
            CriterionError: If it has no such tensor.
        """
        plain = f"{module}.weight".lstrip(".")
        for name in (plain, f"{plain}_orig"):
            if self.first_name(name) in self.parameters:
                return self.parameter(name)
        if module not in self.computed:
            raise CriterionError(f"{plain}: no tensor of the model")
        return self.computed[module].detach()

    def parameter_statistic(self, statistic: str, name: str) -> Tensor:
        """A statistic of a parameter, of its shape.

        Raises:
            CriterionError: If the parameter has none.
            ShapeError: If it is of another shape.
        """
        held = self.statistic(statistic)
        name = self.first_name(name)
        if name not in held:
            raise CriterionError(f"the statistic {statistic!r} knows no parameter {name!r}")
        wanted = self.parameter(name).shape
        if held[name].shape != wanted:
            raise ShapeError(
                f"the statistic {statistic!r} of {name!r} is of shape {tuple(held[name].shape)}; "
                f"expected {tuple(wanted)}, as the parameter"
            )
        return held[name].to(self.parameter(name).device)

    def input_statistic(self, statistic: str, module: str) -> Tensor:  # shape: (I,)
        """A statistic of what a module reads, float64, on the CPU.

        Raises:
            CriterionError: If the module has none.
            ShapeError: If it is of another length than the module's input channels.
        """
        held = self.statistic(statistic)
        if module not in held:
            left_out = self.statistics.left_out.get(module) if self.statistics else None
            raise CriterionError(
                f"the statistic {statistic!r} knows no module {module!r}: {left_out or 'it did not run'}"
            )
        wanted = len(self.readers.modules[module].units)
        if held[module].shape != (wanted,):
            raise ShapeError(
                f"the statistic {statistic!r} of {module!r} is of shape {tuple(held[module].shape)}; "
                f"expected ({wanted},), one value an input channel"
            )
        return held[module].to("cpu", torch.float64)
