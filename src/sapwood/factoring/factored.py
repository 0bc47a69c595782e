"""A network that computes the same with some layers as two, ready for channels between the two to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from sapwood.errors import CheckFailedError, ConfigError, SapwoodError
from sapwood.factoring.directions import Directions, count_places, find_directions, weight_directions
from sapwood.graph import leaving_no_trace, output_tensors, plain_kernels, run_model
from sapwood.models import (
    LAYERS,
    Basis,
    Cut,
    Factored,
    Ignored,
    InTwo,
    Plan,
    copy_model,
    framework_of,
    live_masks,
    quieten_,
    whole_parts,
    whole_tensors,
    wide_copy,
)
from sapwood.removal import PROOF_TOLERANCE, Verification, as_float64, relative_error
from sapwood.types import ExampleInputs

PAYS = 0.9
"""A layer becomes two where these are expected to take at most this fraction of its multiply-accumulates."""

BETWEEN = 32
"""Multiply-accumulates that a value between two layers counts as: it is written and read."""

LEAST_SHARE = 0.5
"""The share of its variance that a layer keeps at least, when it is reckoned which of them pay."""

STEPS = 30
"""Of bisection of the share of variance."""


@dataclass(frozen=True)
class TwoLayers:
    """A network that computes the same as another, with some of its layers as two each.

    Attributes:
        model: It; all channels between two layers are there.
        layers: What became two -> how many channels are between the two.
        names: What modules are called, where that is another name than before.
        verification: How far its outputs are from those of the network before, in float64.
        refused: Layers that stay one, with the reason.
        bases: Of each layer that is two, the directions.
    """

    model: nn.Module
    layers: Mapping[str, int]
    names: Mapping[str, tuple[str, ...]]
    verification: Verification
    refused: Mapping[str, str]
    bases: Mapping[str, Basis]

    def takes_no_less(self, model: nn.Module, *, by_params: bool = False) -> list[str]:
        """The layers that take about as much as two as they would as one, with the widths that a model has."""
        found = []
        for name in self.layers:
            first, second = (model.get_submodule(one).get_parameter("weight") for one in self.names[name])
            if _as_two(first, len(second), len(first), by_params=by_params) > PAYS * len(second) * first[0].numel():
                found.append(name)
        return found

    def called_in(self, other: TwoLayers, tensor: str) -> str | None:
        """What a tensor or a dimension of one is called in a network of which fewer layers are two.

        None of one that is not there: of the first of two, where they are one again.
        """
        owner, _, leaf = tensor.rpartition(".")
        name, place = next(((name, new.index(owner)) for name, new in self.names.items() if owner in new), (owner, -1))
        new = other.names.get(name, (name,))
        if len(self.names.get(name, ())) == 2 and len(new) == 1 and place == 0:
            return None
        return f"{new[min(place, len(new) - 1)]}.{leaf}".lstrip(".")

    def renamed(self, tensor: str) -> str:
        """What a parameter, a buffer or a dimension of one is called; of a layer that is two, that of the second."""
        owner, _, leaf = tensor.rpartition(".")
        return f"{self.names.get(owner, (owner,))[-1]}.{leaf}".lstrip(".")

    def ignored(self, whole: Mapping[str, str]) -> dict[str, str]:
        """What stays whole, by the names that it has here."""
        return {self.renamed(name): why for name, why in whole.items()}

    def joined(self, plan: Plan) -> Plan:
        """What was cut afterwards, as a plan for the network before: channels between two layers are its ranks."""
        between = {name: self.names[name] for name in self.layers}
        first = {f"{one}.weight": name for name, (one, _) in between.items()}
        ranks = {first[cut.tensor]: len(cut.kept) for cut in plan.cuts if cut.tensor in first and cut.dim == 0}
        factored = tuple(Factored(name, ranks.get(name, rank)) for name, rank in self.layers.items())
        ends = {one for one, _ in between.values()}, {other for _, other in between.values()}
        return replace(
            plan,
            factored=factored,
            cuts=tuple(cut for cut in plan.cuts if not _is_between(cut, *ends)),
            attributes=tuple(
                edit
                for edit in plan.attributes
                if not (edit.module in ends[0] and edit.attribute in {"out_channels", "out_features"})
                and not (edit.module in ends[1] and edit.attribute in {"in_channels", "in_features"})
            ),
        )


def _is_between(cut: Cut, firsts: Collection[str], seconds: Collection[str]) -> bool:
    owner, _, _ = cut.tensor.rpartition(".")
    return (owner in firsts and cut.dim == 0) or (owner in seconds and cut.tensor.endswith(".weight") and cut.dim == 1)


def _as_two(weight: Tensor, width: int, rank: int, *, by_params: bool) -> int:
    """What two layers take at each place that read what ``weight`` does, and give ``width`` results."""
    return rank * (weight[0].numel() + width + (0 if by_params else BETWEEN))


def in_two_layers(
    model: nn.Module,
    inputs: ExampleInputs,
    fraction: float,
    runs: Callable[[nn.Module], None] | None = None,
    *,
    ignore: Ignored = None,
    by_params: bool = False,
) -> TwoLayers:
    """Makes two layers of those that few channels between the two are enough for; the network computes the same.

    Args:
        model: Read only.
        inputs: Its example inputs.
        fraction: Of its multiply-accumulates, what it is to keep when channels went: the less, the more layers pay.
        runs: Runs a model over pictures: results vary in the directions that those tell. Without, what weights tell
            alone.
        ignore: What must stay whole, as for :func:`sapwood.models.whole_tensors`: these layers stay one.
        by_params: Whether ``fraction`` is of the parameters.

    Raises:
        ConfigError: If no layer can be two, or none pays; names the reasons.
        CheckFailedError: If the network does not compute the same.
    """
    refused: dict[str, str] = {}
    layers = _able(model, ignore, refused)
    places = count_places(model, layers, partial(run_model, example_inputs=inputs))
    refused |= dict.fromkeys((name for name in layers if name not in places), "it is not called; other code reads it")
    layers = [name for name in layers if name in places]
    found = weight_directions(model, layers) if runs is None else find_directions(model, layers, runs)
    weights = {name: model.get_submodule(name).get_parameter("weight") for name in found}
    chosen = _paying(_Costs(found, weights, dict.fromkeys(found, 1) if by_params else places, by_params), fraction)
    if not chosen:
        few = "; ".join(f"{name}: {why}" for name, why in list(refused.items())[:3])
        raise ConfigError(
            f"low rank: no layer takes less as two at {fraction:g}{f' ({few})' if few else ''}; expected a network "
            "with wide convolutions or linear layers, or a smaller goal"
        )
    bases = {name: found[name].basis for name in chosen}
    return _proven(model, inputs, bases, refused)


def with_fewer(network: TwoLayers, model: nn.Module, inputs: ExampleInputs, names: Collection[str]) -> TwoLayers:
    """The network in which some layers are one again; proven as it was.

    Args:
        network: Of ``model``.
        model: The model before.
        inputs: Its example inputs.
        names: Of the layers; where they are all of them, the network is the model again.
    """
    bases = {name: basis for name, basis in network.bases.items() if name not in names}
    return _proven(model, inputs, bases, dict(network.refused))


def _able(model: nn.Module, ignore: Ignored, refused: dict[str, str]) -> list[str]:
    """The layers that can be two; why the others of their kind cannot."""
    whole = {**whole_parts(model), **whole_tensors(model, ignore)}
    kept = {name.partition("[")[0]: why for name, why in whole.items()}
    shared = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    masked = set(live_masks(model))
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, LAYERS):
            continue
        weight = module._parameters.get("weight")
        if type(module) not in LAYERS:
            refused[name] = f"it is a {type(module).__name__}"
        elif getattr(module, "groups", 1) != 1:
            refused[name] = "it has groups"
        elif f"{name}.weight" in masked or weight is None:
            refused[name] = "its weight is computed from others"
        elif shared[id(weight)] > 1:
            refused[name] = "its weight is shared"
        elif why := next((kept[one] for one in (f"{name}.weight", f"{name}.bias") if one in kept), None):
            refused[name] = why
        elif not weight.is_floating_point() or min(len(weight), weight[0].numel()) < 2:
            refused[name] = f"its weight is a {weight.dtype} of shape {tuple(weight.shape)}"
        else:
            found.append(name)
    return found


@dataclass(frozen=True)
class _Costs:
    """What layers take, as one and as two of the rank that a share of their variance has."""

    found: Mapping[str, Directions]
    weights: Mapping[str, Tensor]
    places: Mapping[str, int]
    by_params: bool

    def dense(self) -> dict[str, int]:
        return {name: weight.numel() * self.places[name] for name, weight in self.weights.items()}

    def as_two(self, share: float) -> dict[str, int]:
        return {
            name: self.places[name]
            * _as_two(weight, len(weight), self.found[name].rank(share), by_params=self.by_params)
            for name, weight in self.weights.items()
        }


def _paying(costs: _Costs, fraction: float) -> list[str]:
    """The layers that take clearly less as two where all keep the share of variance that a fraction leaves."""
    dense = costs.dense()
    low, high = LEAST_SHARE, 1.0
    for _ in range(STEPS):
        share = (low + high) / 2
        takes = costs.as_two(share)
        if sum(min(takes[name], dense[name]) for name in dense) > fraction * sum(dense.values()):
            high = share
        else:
            low = share
    takes = costs.as_two(low)
    return [name for name in dense if takes[name] <= PAYS * dense[name]]


def _proven(model: nn.Module, inputs: ExampleInputs, bases: Mapping[str, Basis], refused: dict[str, str]) -> TwoLayers:
    """The network with these layers as two; without those that its code does not take as two."""
    dense = quieten_(wide_copy(model).eval())
    wanted = _run(dense, as_float64(inputs))
    while True:
        try:
            error = _error(dense, as_float64(inputs), wanted, bases)
            break
        except SapwoodError:
            raise
        except Exception as fault:  # the model's own code may read anything of a layer
            bad = [name for name in bases if not _takes(dense, as_float64(inputs), wanted, {name: bases[name]})]
            if not bad or len(bad) == len(bases):
                raise ConfigError(
                    f"low rank: the model's code does not run with layers that are two: {type(fault).__name__}: {fault}"
                ) from fault
            refused |= dict.fromkeys(bad, "the model's code does not run with two in its place")
            bases = {name: basis for name, basis in bases.items() if name not in bad}
    done = Verification(error, "float64", error <= PROOF_TOLERANCE)
    if not done.passed:
        raise CheckFailedError(
            f"low rank: with {', '.join(bases)} as two layers each the outputs differ by {error:.1e} of the largest; "
            f"expected at most {PROOF_TOLERANCE:.0e}. The model given is unchanged."
        )
    made = _made(model, bases)
    names = {name: one for name, one in made.names.items() if one != (name,)}
    return TwoLayers(made.model, {name: basis.rank for name, basis in bases.items()}, names, done, refused, bases)


def _made(model: nn.Module, bases: Mapping[str, Basis]) -> InTwo:
    return framework_of(model).in_two_layers(copy_model(model), bases)


def _error(dense: nn.Module, inputs: ExampleInputs, wanted: Sequence[Tensor], bases: Mapping[str, Basis]) -> float:
    return relative_error(_run(_made(dense, bases).model, inputs), list(wanted))


def _takes(dense: nn.Module, inputs: ExampleInputs, wanted: Sequence[Tensor], bases: Mapping[str, Basis]) -> bool:
    try:
        return _error(dense, inputs, wanted, bases) <= PROOF_TOLERANCE
    except SapwoodError:
        raise
    except Exception:  # as above
        return False


def _run(model: nn.Module, inputs: ExampleInputs) -> list[Tensor]:
    with torch.no_grad(), leaving_no_trace(model), plain_kernels(model):
        return output_tensors(run_model(model, inputs))
