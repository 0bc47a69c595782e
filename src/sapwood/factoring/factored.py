"""A network that computes the same with some layers as two, ready for channels between the two to go."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.errors import CheckFailedError, ConfigError, SapwoodError, ShapeError
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
from sapwood.removal import PROOF_TOLERANCE, Verification, as_float64, lively_, relative_error, telling
from sapwood.types import ExampleInputs

PAYS = 0.9
"""A layer becomes two where these are expected to take at most this fraction of its multiply-accumulates."""

BETWEEN = 32
"""Multiply-accumulates that a value between two layers counts as: it is written and read."""

LEAST_SHARE = 0.5
"""The share of its variance that a layer keeps at least, when it is reckoned which of them pay."""

OTHERS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)
"""What has a weight that is looked up or multiplied element by element: no layer that could be two is missed there."""

NONE_ABLE, EXPECTED = (
    "low rank: no layer can be two",
    "expected a network with wide convolutions or linear layers",
)
"""What messages say where no layer can be two, and what they expect instead."""

STEPS = 30
"""Of bisection of the share of variance."""


_NAME = re.compile(r"\w+(?:\.\w+)+(?:\[\d+\])?")
"""What may be the name of a module, or of a dimension, in a text."""


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

    def is_of(self, model: nn.Module) -> bool:
        """Whether a model, with the values that it has, is the network before."""
        try:
            now, own = _made(model, self.bases).model.state_dict(), self.model.state_dict()
        except ShapeError:
            return False
        return now.keys() == own.keys() and all(_is_same(own[name], one) for name, one in now.items())

    def takes_no_less(self, model: nn.Module, *, by_params: bool = False) -> list[str]:
        """The layers that take about as much as two as they would as one, with the widths that a model has."""
        found = []
        for name in self.layers:
            first, second = (model.get_submodule(one).get_parameter("weight") for one in self.names[name])
            if _as_two(first, len(second), len(first), by_params=by_params) > PAYS * len(second) * first[0].numel():
                found.append(name)
        return found

    @cached_property
    def _owners(self) -> dict[str, tuple[str, int | None]]:
        """By what a module is called, what it was called before, and which of two it is."""
        return {
            one: (name, place if len(new) == 2 else None)
            for name, new in self.names.items()
            for place, one in enumerate(new)
        }

    def called_before(self, dimension: str) -> str:
        """What a dimension of a tensor, or a tensor, is called in the network before.

        Channels between two layers, which are not there, are called as those of a :class:`~sapwood.models.LowRank` in
        the place of the layer: ``"conv.0.weight[0]"``.
        """
        owner, _, leaf = dimension.rpartition(".")
        name, place = self._owners.get(owner, (owner, None))
        if place is not None and self.is_between(dimension):
            name = f"{name}.{place}"
        return f"{name}.{leaf}".lstrip(".")

    def is_between(self, dimension: str) -> bool:
        """Whether a dimension, or a tensor whose first one it is, has the channels between two layers."""
        owner, _, leaf = dimension.rpartition(".")
        _, place = self._owners.get(owner, (owner, None))
        return (place == 0 and leaf in {"weight", "weight[0]", "bias", "bias[0]"}) or (
            place == 1 and leaf == "weight[1]"
        )

    def told_before(self, text: str) -> str:
        """A sentence with the names that modules and dimensions have in the network before."""

        def before(word: re.Match[str]) -> str:
            name = word[0]
            if name in self._owners:
                return self._owners[name][0]
            return self.called_before(name) if name.rpartition(".")[0] in self._owners else name

        return _NAME.sub(before, text)

    def called_in(self, other: TwoLayers, dimension: str) -> str | None:
        """What a dimension or a tensor is called in a network of which fewer layers are two.

        None of channels between two layers that are one there.
        """
        if not self.is_between(dimension):
            return other.renamed(self.called_before(dimension))
        owner, _, leaf = dimension.rpartition(".")
        name, place = self._owners[owner]
        new = other.names.get(name, ())
        return f"{new[place or 0]}.{leaf}" if len(new) == 2 else None

    def giver_in(self, other: TwoLayers, module: str) -> str | None:
        """What the module is called that gives the same there: none does what the first of two gave that are one."""
        return self._module_in(other, module, gone=0)

    def reader_in(self, other: TwoLayers, module: str) -> str | None:
        """What the module is called that reads the same there: none does what the second of two read that are one."""
        return self._module_in(other, module, gone=1)

    def _module_in(self, other: TwoLayers, module: str, gone: int) -> str | None:
        """What a module is called where fewer layers are two; of two that are one, ``gone`` is nowhere."""
        name, place = self._owners.get(module, (module, None))
        new = other.names.get(name, (name,))
        if place is None or len(new) == 2:
            return new[place or 0]
        return None if place == gone else new[0]

    def renamed(self, dimension: str) -> str:
        """What a dimension, a parameter or a buffer is called; of a layer that is two the first has what it reads."""
        owner, _, leaf = dimension.rpartition(".")
        new = self.names.get(owner, (owner,))
        read = leaf.startswith("weight[") and leaf != "weight[0]"
        return f"{new[0 if read else -1]}.{leaf}".lstrip(".")

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


def _is_same(one: Any, other: Any) -> bool:
    """Whether two entries of a state are equal, NaNs too; what is no tensor is not looked at."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return True
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


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
    layers, refused = check_some_able(model, ignore)
    places = count_places(model, layers, partial(run_model, example_inputs=inputs))
    refused |= dict.fromkeys((name for name in layers if name not in places), "it is not called; other code reads it")
    layers = [name for name in layers if name in places]
    found = weight_directions(model, layers) if runs is None else find_directions(model, layers, runs)
    refused |= dict.fromkeys((name for name in layers if name not in found), "on the pictures it gives nothing finite")
    if not found:
        raise ConfigError(f"{NONE_ABLE}{_few(refused)}; {EXPECTED}")
    weights = {name: model.get_submodule(name).get_parameter("weight") for name in found}
    chosen = _paying(_Costs(found, weights, dict.fromkeys(found, 1) if by_params else places, by_params), fraction)
    if not chosen:
        raise ConfigError(
            f"low rank: no layer takes less as two at {fraction:g}{_few(refused)}; {EXPECTED}, or a smaller goal"
        )
    network = _proven(model, inputs, {name: found[name].basis for name in chosen}, refused)
    if not network.layers:
        raise ConfigError(f"{NONE_ABLE}{_few(refused)}; expected another network")
    return network


def check_some_able(model: nn.Module, ignore: Ignored = None) -> tuple[list[str], dict[str, str]]:
    """Looks, without running a model, which of its layers can be two.

    Args:
        model: The model.
        ignore: As for :func:`in_two_layers`.

    Returns:
        Their names, and why the others cannot.

    Raises:
        ConfigError: If none can; names the reasons.
    """
    refused: dict[str, str] = {}
    layers = _able(model, ignore, refused)
    if not layers:
        raise ConfigError(f"{NONE_ABLE}{_few(refused)}; {EXPECTED}")
    return layers, refused


def _few(refused: Mapping[str, str]) -> str:
    """The first few reasons, for a message, each with the first of the layers that it is of."""
    names: dict[str, list[str]] = {}
    for name, why in refused.items():
        names.setdefault(why, []).append(name)
    few = "; ".join(
        f"{own[0]}{f' and {len(own) - 1} more' if len(own) > 1 else ''}: {why}" for why, own in list(names.items())[:3]
    )
    return f" ({few})" if few else ""


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
    computed = set(live_masks(model))
    unsaid = framework_of(model).stays_one(model)
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, LAYERS) and not _has_matrices(module):
            continue
        tensors = (f"{name}.weight", f"{name}.bias")
        weight = module._parameters.get("weight")
        if module is model or type(module) not in LAYERS:
            is_in_none = "it stands in no other module, where two could take its place"
            refused[name or "the model"] = f"it is a {type(module).__name__}" if name else is_in_none
        elif getattr(module, "groups", 1) != 1:
            refused[name] = "it has groups"
        elif weight is None or f"{name}.weight" in computed:
            refused[name] = "its weight is computed from others"
        elif "bias" not in module._parameters or f"{name}.bias" in computed:
            refused[name] = "its bias is computed from others"
        elif shared[id(weight)] > 1 or shared[id(module.bias)] > 1:
            refused[name] = f"its {'weight' if shared[id(weight)] > 1 else 'bias'} is shared"
        elif _is_more(module):
            refused[name] = "it has hooks, or parts or a forward of its own"
        elif why := unsaid.get(name) or next((kept[one] for one in tensors if one in kept), None):
            refused[name] = why
        elif not weight.is_floating_point() or min(len(weight), weight[0].numel()) < 2:
            refused[name] = f"its weight is a {weight.dtype} of shape {tuple(weight.shape)}"
        elif not bool(weight.isfinite().all()):
            refused[name] = "its weight is NaN or infinite in some places"
        else:
            found.append(name)
    return found


def _has_matrices(module: nn.Module) -> bool:
    """Whether a module has weights of its own that may be of low rank, whatever it does with them."""
    return not isinstance(module, OTHERS) and any(
        "weight" in name and value is not None and value.dim() > 1 and min(len(value), value[0].numel()) > 1
        for name, value in module._parameters.items()
    )


def _is_more(layer: nn.Module) -> bool:
    """Whether a layer does or holds more than its class says, which two others would not."""
    hooks = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_pre_hooks, layer._backward_hooks)
    beside = {*layer._parameters, *layer._buffers, *layer._modules} - {"weight", "bias"}
    return any(hooks) or bool(beside) or "forward" in vars(layer)


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
    proof = _Equality.of(model, inputs)
    found = proof.tried(bases)
    if found.why:
        bad = {name: one for name, basis in bases.items() if (one := proof.tried({name: basis})).why}
        if len(bad) == len(bases) and found.fault is not None:
            told = f"{type(found.fault).__name__}: {found.fault}"
            raise ConfigError(f"low rank: the model's code does not run with layers that are two: {told}")
        refused |= {name: one.why for name, one in bad.items()}
        bases = {name: basis for name, basis in bases.items() if name not in bad}
        found = proof.tried(bases) if bad else found
    if found.why:
        raise CheckFailedError(
            f"low rank: {', '.join(bases)} as two layers each: {found.why}. The model given is unchanged."
        )
    made = _made(model, bases)
    names = {name: one for name, one in made.names.items() if one != (name,)}
    ranks = {name: basis.rank for name, basis in bases.items()}
    return TwoLayers(made.model, ranks, names, Verification(found.error, "float64", True), refused, bases)


@dataclass(frozen=True)
class _RunAsTwo:
    """What came of layers as two.

    Attributes:
        why: They cannot be; empty where all is well.
        error: How far outputs are from those before.
        fault: What the model's code raised.
    """

    why: str = ""
    error: float = math.inf
    fault: Exception | None = None


@dataclass(frozen=True)
class _Equality:
    """Whether a network computes the same with layers that are two, in float64."""

    dense: nn.Module
    inputs: ExampleInputs
    wanted: Sequence[Tensor]

    @staticmethod
    def of(model: nn.Module, inputs: ExampleInputs) -> _Equality:
        """Runs the model; with other weights, where its outputs tell nothing."""
        dense, wide = quieten_(wide_copy(model).eval()), as_float64(inputs)
        wanted = _run(dense, wide)
        if not telling(wanted):  # directions do not hang on weights: with any others there are outputs to compare
            lively_(dense)
            wanted = _run(dense, wide)
        return _Equality(dense, wide, wanted)

    def tried(self, bases: Mapping[str, Basis]) -> _RunAsTwo:
        """Runs it with these as two."""
        made = _made(self.dense, bases)
        parts = [made.model.get_submodule(part) for name in bases for part in made.names[name]]
        silent = set(parts)
        for part in parts:
            part.register_forward_hook(lambda part, *_: silent.discard(part))
        try:
            error = relative_error(_run(made.model, self.inputs), list(self.wanted))
        except SapwoodError:
            raise
        except Exception as fault:  # the model's own code may read anything of a layer
            return _RunAsTwo("the model's code does not run with two in its place", fault=fault)
        if not error <= PROOF_TOLERANCE:
            return _RunAsTwo(f"outputs would differ by {error:.1e} of the largest, more than {PROOF_TOLERANCE:.0e}")
        if silent:
            return _RunAsTwo("the model's code calls it from a place of its own, such as a list")
        return _RunAsTwo(error=error)


def _made(model: nn.Module, bases: Mapping[str, Basis]) -> InTwo:
    return framework_of(model).in_two_layers(copy_model(model), bases)


def _run(model: nn.Module, inputs: ExampleInputs) -> list[Tensor]:
    with torch.no_grad(), leaving_no_trace(model), plain_kernels(model):
        return output_tensors(run_model(model, inputs))
