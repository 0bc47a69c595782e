"""Takes an optimizer over from a dense model to the compact one, with its momentum."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sapwood.arguments import check_kind, check_model, described
from sapwood.errors import ConfigError, TrainingError
from sapwood.models import Compact, Plan, gain_factors, later_name

CARRIED = "SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adadelta, Adagrad, RMSprop, Rprop and ASGD"
"""PyTorch's optimizers whose state is one for each parameter."""

AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)

POWERS: Mapping[str, int] = {
    "momentum_buffer": -1,
    "exp_avg": -1,
    "exp_avg_sq": -2,
    "max_exp_avg_sq": -2,
    "exp_inf": -1,
    "sum": -2,
    "square_avg": -2,
    "grad_avg": -1,
    "acc_delta": 2,
    "prev": -1,
    "step_size": 1,
    "ax": 1,
}
"""How the states of PyTorch's optimizers follow when a parameter is multiplied by f: as f to this power. A gradient
is divided by f, so its average goes as 1/f and that of its square as 1/f^2; what has the parameter's unit goes as f."""


def carry_optimizer_(optimizer: AnyOptimizer, model_before: nn.Module, pruned: Compact) -> AnyOptimizer:
    r"""Makes ``optimizer`` go on with the compact model.

    State of the shape of a parameter is cut like it. Where the plan multiplied rows of a parameter by :math:`f`, as for
    attention's temperature or the gain of a weight norm, the gradient there is the old one over :math:`f`, and the
    moments follow:

    .. math:: m \leftarrow m / f, \qquad v \leftarrow v / f^2

    That is so of SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adadelta, Adagrad, RMSprop, Rprop and ASGD, and of others
    whose state is one tensor, or number, a parameter. Options, the order of the groups and learning rate schedulers
    stay as they are. Parameters of blocks and layers that went leave their groups. A bias that the plan made joins the
    group of its weight, without state; so do those of the two that a layer became by ``low_rank``, a bias that of its
    bias.

    Args:
        optimizer: Of ``model_before``. Changed in place; on an error it is as before.
        model_before: The model that was pruned.
        pruned: What :func:`sapwood.prune` or :func:`sapwood.compact` returned for it.

    Returns:
        ``optimizer``.

    Raises:
        TrainingError: If the optimizer holds parameters that are not of ``model_before``, ``pruned`` was made from
            another model, or a state is neither of the parameter's shape nor a single number (as Adafactor's and
            LBFGS's are not).

    Examples:
        >>> import sapwood
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> pruned = sapwood.prune(model, torch.randn(1, 4), target=sapwood.Target(sparsity=0.5))
        >>> [tuple(p.shape) for p in carry_optimizer_(optimizer, model, pruned).param_groups[0]["params"]]
        [(4, 4), (4,), (2, 4), (2,)]
    """
    check_kind("optimizer", optimizer, Optimizer, "that of model_before")
    check_model(model_before, "model_before")
    if not hasattr(pruned, "plan"):
        raise ConfigError(f"pruned is {described(pruned)}; expected what sapwood.prune returned for model_before")
    before = _names(model_before)
    later = _Later.of(pruned, before.values())
    plan = later.plan
    names = {
        parameter: [new_name for name in own if (new_name := later.name(name)) is not None]
        for parameter, own in before.items()
    }
    carried: dict[Tensor, tuple[str, nn.Parameter]] = {}
    states: dict[Tensor, dict[str, Any]] = {}
    factors = _factors({name: parameter for parameter, own in names.items() for name in own}, plan)
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            if parameter not in names:
                raise TrainingError(
                    f"group {number} of the optimizer holds a parameter of shape {tuple(parameter.shape)} that is not "
                    "model_before's; expected the optimizer of the model that was pruned"
                )
            if _is_gone(names[parameter], plan):
                continue
            name, new = _successor(names[parameter], pruned.model)
            carried[parameter] = (name, new)
            old = optimizer.state.get(parameter, {})
            state = _carried_state(names[parameter], parameter, old, plan, factors)
            _check_shape(name, _cut(names[parameter], parameter.detach(), plan), new)
            states[new] = state
    made = _made_parameters(names, pruned.model)
    for group in optimizer.param_groups:
        _replace_(group, carried, made, later.parts(before[one] for one in group["params"]))
    optimizer.state.clear()
    optimizer.state.update({parameter: state for parameter, state in states.items() if state})
    return optimizer


@dataclass(frozen=True)
class _Later:
    """What parameters of the dense model are called in the compact one.

    Attributes:
        plan: What was cut, by these names.
        renamed: What modules are called that have other names, a layer that is two by both.
        dense: The names of all parameters of the dense model.
    """

    plan: Plan
    renamed: Mapping[str, tuple[str, ...]]
    dense: frozenset[str]

    @staticmethod
    def of(pruned: Compact, before: Iterable[Iterable[str]]) -> _Later:
        """Of a result, of which layers may be two, and the names of each parameter before."""
        of_two = getattr(pruned, "of_two", None)
        plan, renamed = (pruned.plan, {}) if of_two is None else (of_two.plan, of_two.network.names)
        return _Later(plan, renamed, frozenset(chain.from_iterable(before)))

    def name(self, name: str) -> str | None:
        """The name of a parameter; None of one that went, or of a layer that is two."""
        owner, _, leaf = name.rpartition(".")
        new = self.renamed.get(owner, (owner,))
        return later_name(f"{new[0]}.{leaf}".lstrip("."), self.plan) if len(new) == 1 else None

    def parts(self, names: Iterable[Iterable[str]]) -> list[str]:
        """What parameters became that are of layers that are two, by their names; of a weight alone, biases, too."""
        found = []
        for name in chain.from_iterable(names):
            owner, _, leaf = name.rpartition(".")
            parts = self.renamed.get(owner, ())
            leaves = [leaf] if f"{owner}.bias" in self.dense else ["weight", "bias"]
            if len(parts) == 2:
                found += [f"{part}.{one}" for part in parts for one in leaves]
        return found


def _names(model: nn.Module) -> dict[Tensor, list[str]]:
    """All names of each parameter; for one under a live mask, also the name it has when the mask is permanent."""
    names: dict[Tensor, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    for own in names.values():
        own += [name.removesuffix("_orig") for name in own if name.endswith("_orig")]
    return names


def _successor(names: list[str], model: nn.Module) -> tuple[str, nn.Parameter]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name in names:
        if name in parameters:
            return name, parameters[name]
    raise TrainingError(f"the compact model has no {names[0]}; expected what pruning model_before gave")


def _is_gone(names: list[str], plan: Plan) -> bool:
    """Whether a parameter went with a layer or with a residual block, by all of its names."""
    return all(any(name.startswith(f"{one.module}.".lstrip(".")) for one in plan.removed) for name in names)


def _factors(parameters: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """What the plan multiplies parameters by, by name, in a shape that broadcasts to the parameter's."""
    found: dict[str, Tensor] = {}
    for rescale in plan.rescales:
        if rescale.tensor in parameters:
            parameter = parameters[rescale.tensor]
            factors = found.setdefault(
                rescale.tensor, torch.ones(len(parameter), *(1,) * (parameter.dim() - 1)).double()
            )
            factors[list(rescale.rows)] *= rescale.factor
    for gain in plan.gains:
        if gain.of in parameters:
            cuts = [cut for cut in plan.cuts if cut.tensor == gain.of]
            found[gain.tensor] = gain_factors(parameters[gain.of].detach().cpu(), gain.dim, cuts)
    return found


def _carried_state(
    names: list[str], parameter: Tensor, state: Mapping[str, Any], plan: Plan, factors: Mapping[str, Tensor]
) -> dict[str, Any]:
    carried = {}
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            carried[key] = _cut(names, _rescaled(names, value, key, factors), plan)
        elif isinstance(value, (list, dict)) or (isinstance(value, Tensor) and value.numel() != 1):
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise TrainingError(
                f"the optimizer's {key} of {names[0]} is of {found}; expected the parameter's shape "
                f"{tuple(parameter.shape)} or a single number, as {CARRIED} have; another one has to begin anew on the "
                "compact model"
            )
        else:
            carried[key] = value
    return carried


def _rescaled(names: list[str], value: Tensor, key: str, factors: Mapping[str, Tensor]) -> Tensor:
    """A state tensor after the parameter was multiplied; 0 where that was by 0, for no gradient comes there."""
    for factor in [factors[name] for name in names if name in factors][:1]:  # names of one tensor
        if key not in POWERS:
            raise TrainingError(
                f"the plan multiplies {names[0]}, and how the optimizer's {key!r} follows is not known; "
                f"expected one of: {', '.join(POWERS)}"
            )
        powers = torch.where(factor > 0, factor ** POWERS[key], 0.0)
        value = value * powers.to(value)
    return value


def _cut(names: list[str], value: Tensor, plan: Plan) -> Tensor:
    """What stays of a tensor of the parameter's shape."""
    for cut in plan.cuts:
        if cut.tensor in names:
            if cut.dim >= value.dim() or value.shape[cut.dim] != cut.width:
                raise TrainingError(
                    f"{names[0]} has shape {tuple(value.shape)}; the plan expects {cut.width} in dimension {cut.dim}"
                )
            value = value.index_select(cut.dim, torch.tensor(cut.kept, device=value.device))
    return value


def _check_shape(name: str, wanted: Tensor, new: nn.Parameter) -> None:
    if wanted.shape != new.shape:
        raise TrainingError(
            f"{name} of the compact model has shape {tuple(new.shape)}; expected {tuple(wanted.shape)}, by the plan"
        )


def _made_parameters(names: Mapping[Tensor, list[str]], model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the compact model has and the dense one had not."""
    known = {name for own in names.values() for name in own}
    return {name: parameter for name, parameter in model.named_parameters() if name not in known}


def _replace_(
    group: dict[str, Any],
    carried: Mapping[Tensor, tuple[str, nn.Parameter]],
    made: Mapping[str, nn.Parameter],
    parts: Collection[str],
) -> None:
    """Puts the compact model's parameters into a group, then the biases made beside them, and ``parts`` of two."""
    own = [carried[parameter] for parameter in group["params"] if parameter in carried]
    modules = {name.rpartition(".")[0] for name, _ in own if name.endswith("weight")}
    new = {name: one for name, one in made.items() if name in parts or name.rpartition(".")[0] in modules}
    group["params"][:] = [*(parameter for _, parameter in own), *new.values()]
    if "param_names" in group:
        group["param_names"] = [*group["param_names"], *new]
