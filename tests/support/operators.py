"""A tiny model around each operator that has a rule: layers with channels before, one that reads them after.

A call is made from the operator's schema: what an argument gets is looked up by its name, in the case, in the table of
the operator, in that of its family (the function that is its rule), then in :data:`ANYWHERE`. A new operator of a
family whose arguments have names that are known needs no line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.ops import RULES
from sapwood.ops.facts import FACTS

assert torchvision.__version__, "registers its operators"

CHANNELS = 8
CONVS: Mapping[str, type[nn.Module]] = {"line": nn.Conv1d, "map": nn.Conv2d, "volume": nn.Conv3d}
SHAPES = {
    "line": (2, 3, 8), "map": (2, 3, 4, 4), "volume": (2, 3, 4, 4, 4),
    "heads": (2, 2, 6, 3), "rows": (2, 6, 3), "matrix": (6, 3), "vector": (3,),
}  # fmt: skip
"""The input by what the layers before make of it; channels come second where they are convolutions, last elsewhere."""

Arguments: TypeAlias = Mapping[str, Any]


class Scene(nn.Module):
    """An operator between four layers, of which it takes as many as it needs, and one that reads what it makes."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout
        self.before = nn.ModuleList(self._layer() for _ in range(4))
        self.own = nn.ParameterDict()
        self.call: Callable[[Scene], Any] = made
        self.read: Callable[[Scene, Any], Any] = read
        self.forget()

    def _layer(self) -> nn.Module:
        layer = CONVS[self.layout](3, CHANNELS, 1) if self.layout in CONVS else nn.Linear(3, CHANNELS)
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, 0.1, 1.0)
        return layer

    def forget(self) -> None:
        """Lets go of what a run left."""
        self.used, self.x, self.last = 0, torch.empty(0), torch.empty(0)

    def parameter(self, name: str, *shape: int) -> Tensor:
        """A parameter beside the operator, made when it is first asked for."""
        if name not in self.own:
            self.own[name] = nn.Parameter(torch.rand(shape, dtype=self.x.dtype) + 0.1)
        return self.own[name]

    def forward(self, x: Tensor) -> Any:
        self.used, self.x = 0, x
        outputs = self.read(self, self.call(self))
        self.forget()
        return outputs


def made(scene: Scene) -> Tensor:
    """What the next layer makes of the input: positive numbers around 1."""
    scene.used += 1
    scene.last = scene.before[scene.used - 1](scene.x)
    return scene.last


def read(scene: Scene, result: Any) -> Tensor:
    """What the layer after makes of the first tensor that an operator returned."""
    first = next((leaf for leaf in result if isinstance(leaf, Tensor)), None) if isinstance(result, (tuple, list)) else result
    if not isinstance(first, Tensor):
        return read(scene, made(scene) * (1.0 if first is None else float(first)))
    if not first.is_floating_point():
        first = first.to(scene.x.dtype)
    if first.dim() < 2 and scene.layout in CONVS:
        return read(scene, first.sum() * made(scene))
    if first.dim() < 3 or scene.layout not in CONVS:
        return F.linear(first, scene.parameter("after", 5, first.shape[-1])) if first.dim() else first
    return F.conv1d(first.flatten(2), scene.parameter("after", 5, first.shape[1], 1))


@dataclass(frozen=True)
class Family:
    """How the operators of one rule are called.

    Attributes:
        arguments: Argument name -> what it gets; a function gets the scene.
        cases: Arguments that differ, and whether the channels of the first layer can go then.
        layout: What the layers before make, a key of :data:`SHAPES`.
        own: Operator, with or without its overload -> arguments that differ.
        layouts: Operator -> another layout.
        reads: Operator, or "" for all -> what is done with the result.
        goes: Operator -> whether channels go, where it differs.
    """

    arguments: Arguments = field(default_factory=dict)
    cases: tuple[tuple[Arguments, bool], ...] = (({}, True),)
    layout: str = "map"
    own: Mapping[str, Arguments] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, Callable[[Scene, Any], Any]] = field(default_factory=dict)
    goes: Mapping[str, bool] = field(default_factory=dict)


def positive(scene: Scene) -> Tensor:
    return made(scene) > 1.5


def below_one(scene: Scene) -> Tensor:
    return made(scene).sigmoid()


def parameter(name: str, *shape: int) -> Callable[[Scene], Tensor]:
    return lambda scene: scene.parameter(name, *shape)


def numbers(*values: Any) -> Callable[[Scene], Tensor]:
    """An index, made on the fly."""
    return lambda scene: torch.tensor(values)


@dataclass(frozen=True)
class Number:
    """A number, or a tensor without dimensions that holds it, as the form of the operator wants."""

    value: float


def several(scene: Scene) -> list[Tensor]:
    return [made(scene), made(scene)]


def short(scene: Scene) -> Tensor:
    """A map of height 1."""
    return made(scene)[:, :, :1]


def shape(scene: Scene) -> list[int]:
    return list(made(scene).shape)


def half(scene: Scene) -> int:
    return scene.last.shape[1] // 2


def filled(scene: Scene, result: Any) -> Tensor:
    """Memory that is only taken holds anything."""
    return read(scene, result.fill_(0.5) * made(scene))


def met(scene: Scene, result: Any) -> Tensor:
    """A tensor of numbers meets what a layer makes."""
    return read(scene, result * made(scene))


def summed(scene: Scene, result: Any) -> Tensor:
    return read(scene, result.sum() * made(scene))


def halves(scene: Scene, result: Any) -> Tensor:
    return read(scene, result[0] * result[1])


ANYWHERE: Arguments = {
    "self": made, "input": made, "other": made, "tensor": made, "dim": 1, "keepdim": True, "eps": 1e-5, "momentum": 0.1,
    "training": False, "train": False, "p": 0.5, "half_to_float": False, "value": 0.5,
    "dtype": torch.float64, "device": torch.device("cpu"), "stable": True,
}  # fmt: skip
"""What an argument of this name gets where no table says otherwise."""

_BITS = {"self": positive, "other": positive}
_WIDE: Arguments = {"bias": parameter("bias", CHANNELS), "weight": parameter("weight", CHANNELS)}
_AT = (({"dim": 1}, False), ({"dim": 2}, True))
"""Along channels, and along a spatial dimension."""

FAMILIES: Mapping[str, Family] = {
    "elementwise._elementwise": Family(
        {
            "min": 0.7, "max": 2.5, "exponent": made, "tensor1": made, "tensor2": made, "mask": positive, "end": made,
            "condition": positive, "src": made, "fill_value": 0.5, "threshold": 1.5, "weight": made, "decimals": 1,
            "rounding_mode": "floor",
        },
        own={
            **{f"{name}{end}": _BITS for end in ("", "_") for name in (
                "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "__and__", "__or__"
            )},
            **{f"{name}{end}": {"value": Number(0.5)} for end in ("", "_") for name in ("fill", "masked_fill")},
            **{f"addc{name}{end}": {"value": 0.5} for end in ("", "_") for name in ("mul", "div")},
            **{f"bernoulli{end}": {"self": below_one, "p": below_one} for end in ("", "_")},
            "_prelu_kernel": {"weight": lambda scene: scene.parameter("slope", CHANNELS).view(1, -1, 1, 1)},
            "prelu": {"weight": parameter("slope", CHANNELS)},
            "_weight_norm_interface": {
                "v": parameter("v", CHANNELS, 3, 1, 1), "g": parameter("g", CHANNELS, 1, 1, 1), "dim": 0,
            },
        },
        reads={
            "empty_like": filled,
            "_weight_norm_interface": lambda scene, result: read(scene, F.conv2d(scene.x, result[0])),
        },
    ),
    "elementwise._glu": Family(cases=(({"dim": 1}, True), ({"dim": 2}, True))),
    "elementwise._factory": Family(
        {
            "size": shape, "stride": lambda scene: list(scene.last.stride()), "end": 4, "start": 0, "step": 1, "n": 4,
            "m": 4, "steps": 4, "fill_value": 0.5, "s": 0.5, "row": 4, "col": 4,
        },
        own={"linspace": {"start": Number(1.0), "end": Number(2.0)}},
        reads={
            "": met, **dict.fromkeys(("empty", "empty_strided", "new_empty"), filled),
            **dict.fromkeys(("tril_indices", "triu_indices"), summed),
        },
    ),
    "elementwise._positional": Family(cases=(({}, False),)),
    "elementwise._read": Family(
        {"a": made, "assert_msg": "no"},
        own={
            "_local_scalar_dense": {"self": lambda scene: made(scene).sum()},
            "item": {"self": lambda scene: made(scene).sum()},
            "_assert_async": {"self": lambda scene: (made(scene) > 0).all()},
        },
    ),
    "contraction._product": Family(
        {"mat2": parameter("factor", CHANNELS, 5), "other": parameter("factor", CHANNELS, 5)},
        layout="matrix",
        own={
            "bmm": {"mat2": parameter("factor", 2, CHANNELS, 5)},
            "mv": {"self": parameter("factor", 5, CHANNELS), "vec": made},
            "dot": {"tensor": parameter("factor", CHANNELS)},
        },
        layouts={"bmm": "rows", "mv": "vector", "dot": "vector"},
        reads={"": lambda scene, result: result},
    ),
    "contraction._product_with_bias": Family(
        {"self": parameter("bias", 5), "mat1": made, "mat2": parameter("factor", CHANNELS, 5)},
        layout="matrix",
        own={
            "baddbmm": {
                "self": parameter("bias", 2, 6, 5), "batch1": made, "batch2": parameter("factor", 2, CHANNELS, 5)
            },
            "addmv": {"mat": parameter("factor", 5, CHANNELS), "vec": made},
        },
        layouts={"baddbmm": "rows", "addmv": "vector"},
        reads={"": lambda scene, result: result},
    ),
    "contraction._linear": Family(
        {"weight": parameter("weight", 5, CHANNELS), "bias": parameter("bias", 5)},
        layout="rows",
        reads={"": lambda scene, result: result},
    ),
    "contraction._attention": Family(
        {"query": made, "key": made, "value": made, "attn_bias": None, "compute_log_sumexp": False}, layout="heads"
    ),
    "convolution._convolution": Family(
        {
            "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "output_padding": [0, 0], "benchmark": False,
            "deterministic": False, "cudnn_enabled": False, "allow_tf32": False,
        },
        cases=tuple(
            ({"weight": parameter("w", *size), "bias": parameter("b", width), "groups": groups, "transposed": back}, True)
            for size, width, groups, back in (
                ((5, CHANNELS, 3, 3), 5, 1, False),
                ((6, CHANNELS // 2, 1, 1), 6, 2, False),
                ((CHANNELS, 1, 3, 3), CHANNELS, CHANNELS, False),
                ((CHANNELS, 5, 2, 2), 5, 1, True),
                ((CHANNELS, 3, 2, 2), 6, 2, True),
            )
        ),
    ),
    "indexing._embedding": Family({"weight": parameter("table", 11, CHANNELS), "indices": numbers([1, 2, 2], [4, 0, 10])}, layout="rows"),
    "indexing._select": Family({"index": 1}, _AT),
    "indexing._slice": Family(
        {"start": Number(1), "end": 3, "step": 1, "length": 2}, (*((case, True) for case, _ in _AT), ({"dim": 1, "step": 2, "end": 7}, False))
    ),
    "indexing._split": Family(
        {
            "self": lambda scene: torch.cat(several(scene), 1), "split_size": lambda scene: scene.last.shape[1],
            "split_sizes": lambda scene: [scene.last.shape[1]] * 2, "chunks": 2, "sections": 2, "dim": 1,
            "indices": lambda scene: [scene.last.shape[1]],
            "tensor_indices_or_sections": Number(2),
        },
        reads={"": halves},
    ),
    "indexing._unbind": Family(cases=_AT, reads={"": halves}),
    "indexing._cat": Family({"tensors": several}, (({"dim": 0}, True), ({"dim": 1}, True), ({"dim": -1}, True))),
    "indexing._stack": Family(
        {"tensors": several}, (({"dim": 0}, True), ({"dim": -1}, True)),
        reads={"": lambda scene, result: read(scene, result.sum(0) if result.shape[0] == 2 and result.shape[-1] != 2 else result.sum(-1))},
    ),
    "indexing._index": Family(
        cases=(
            ({"indices": lambda scene: [None, torch.tensor([3, 1, 2])]}, False),
            ({"indices": lambda scene: [None, None, torch.tensor([3, 1, 2])]}, True),
            ({"indices": lambda scene: [None, None, torch.tensor([3, 1]), torch.tensor([0, 0])]}, True),
            ({"indices": lambda scene: [torch.tensor([1, 0]), None, torch.tensor([0, 0])]}, True),
        )
    ),
    "indexing._index_put": Family(
        {"values": lambda scene: made(scene)[:1], "indices": lambda scene: [torch.tensor([1])]},
    ),
    "indexing._index_select": Family({"index": numbers(3, 1, 2)}, _AT),
    "indexing._roll": Family({"shifts": [1]}, (({"dims": [1]}, False), ({"dims": [2]}, True))),
    "indexing._pad": Family(cases=(({"pad": [1, 1, 1, 0]}, True), ({"pad": [0, 0, 0, 0, 2, 2]}, True))),
    "normalization._batch_norm": Family(
        {
            **_WIDE, "running_mean": parameter("mean", CHANNELS), "running_var": parameter("variance", CHANNELS),
            "cudnn_enabled": False, "exponential_average_factor": 0.1, "epsilon": 1e-5,
        },
        cases=(({}, True), ({"training": True}, True)),
        own={"_native_batch_norm_legit.no_stats": {"training": True}},
    ),
    "normalization._layer_norm": Family(
        {**_WIDE, "normalized_shape": lambda scene: [scene.last.shape[-1]]}, layout="rows"
    ),
    "normalization._group_norm": Family(
        {
            **_WIDE, "N": 2, "C": lambda scene: scene.last.shape[1], "HxW": 16, "group": 2, "num_groups": 2,
            "cudnn_enabled": False,
        }
    ),
    "normalization._softmax": Family(cases=(({"dim": 1}, True), ({"dim": -1}, True))),
    "normalization._cumulative": Family(cases=_AT),
    "normalization._ordered": Family(
        {"k": 3, "mask": positive}, _AT,
        own={"bincount": {"self": lambda scene: made(scene).long().flatten(), "minlength": 10}},
        goes=dict.fromkeys(("_unique2", "unique_dim", "nonzero", "masked_select", "bincount"), False),
        reads={
            "_unique2": lambda scene, result: summed(scene, result[0]),
            **dict.fromkeys(("nonzero", "masked_select", "bincount"), summed),
        },
    ),
    "pooling._pool": Family(
        {
            "align_corners": False, "grid": lambda scene: scene.parameter("grid", 2, 3, 3, 2).tanh(),
            "interpolation_mode": 0, "padding_mode": 0, "scale_factors": None,
        },
        own={f"{how}_pad{n}d": {"padding": [1] * 2 * n} for how in ("reflection", "replication") for n in (1, 2, 3)},
    ),
    "pooling._roi_align": Family(
        {
            "rois": lambda scene: torch.tensor([[0, 0, 0, 3, 3], [1, 1, 0, 3, 2]], dtype=scene.x.dtype),
            "spatial_scale": 1.0, "pooled_height": 2, "pooled_width": 2, "sampling_ratio": 2, "aligned": False,
        },
        goes={"torchvision.ps_roi_align": False},
    ),
    "pooling._pixel_shuffle": Family({"upscale_factor": 2, "downscale_factor": 2}),
    "reduction._reduce": Family(
        {"dims": lambda scene: [1]},
        (({"dim": 1}, True), ({"dim": 2, "keepdim": False}, True), ({"dim": -1}, True)),
        goes={"argmax": False, "argmin": False, "median": False},
    ),
    "reshaping._view": Family(
        {"stride": lambda scene: [scene.last[0].numel(), 1], "dtype": torch.int64},
        (({"size": lambda scene: [2, -1]}, True), ({"size": lambda scene: [2, half(scene), -1, 4, 4]}, True)),
        own={
            "_reshape_alias.default": {"size": lambda scene: [2, scene.last[0].numel()]},
            "unflatten": {"dim": 1, "sizes": lambda scene: [2, half(scene)]},
            "reshape": {"shape": [2, -1]},
        },
    ),
    "reshaping._permute": Family(
        {"dim0": 2, "dim1": 3, "dims": [0, 1, 3, 2], "source": 2, "destination": 3, "axis0": 2, "axis1": 3},
        layouts=dict.fromkeys(("t", "t_", "numpy_T"), "matrix"),
        reads=dict.fromkeys(("t", "t_", "numpy_T"), lambda scene, result: read(scene, made(scene) @ result)),
    ),
    "reshaping._unsqueeze": Family(cases=(({"dim": 2}, True), ({"dim": -1}, True))),
    "reshaping._squeeze": Family({"self": short}, (({"dim": 2}, True), ({"dim": [2]}, True))),
    "reshaping._expand": Family({"self": lambda scene: made(scene)[:1], "size": [2, -1, -1, -1]}),
    "reshaping._repeat": Family(cases=(({"repeats": [1, 1, 2, 1]}, True), ({"repeats": [1, 2, 1, 1]}, True))),
    "reshaping._as_strided": Family(
        {"size": lambda scene: list(scene.last.shape), "stride": lambda scene: list(scene.last.stride())}, (({}, False),)
    ),
}  # fmt: skip
"""By the file and the name of the function that is the rule."""


def family_of(name: str) -> str:
    """The family of an operator, as :data:`FAMILIES` names it."""
    found = RULES[name]
    return f"{found.__module__.rpartition('.')[2]}.{found.__qualname__.partition('.')[0]}"


def _pooling(rank: int) -> Arguments:
    return {"kernel_size": [2] * rank, "output_size": [2] * rank}


KEYS = ("CPU", "CompositeImplicitAutograd", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")


def overloads(name: str) -> list[torch._ops.OpOverload]:
    """The forms of an operator that can be called here on tensors: none where PyTorch has them for other devices."""
    library, _, plain = name.partition(".")
    packet = getattr(getattr(torch.ops, library), plain, None)
    forms = [] if packet is None else [getattr(packet, form) for form in packet.overloads()]
    return [form for form in forms if _callable(form)]


def _callable(form: torch._ops.OpOverload) -> bool:
    full, types = form.name(), [str(argument.type) for argument in form._schema.arguments]
    tensors = any("Tensor" in kind for kind in [*types, *(str(result.type) for result in form._schema.returns)])
    named = any("Dimname" in kind or kind == "Generator" for kind in types) or "generator" in form._overloadname
    outs = any(argument.is_out for argument in form._schema.arguments)
    if not tensors or named or outs or "hacked_twin" in full or not torch._C._dispatch_has_kernel(full):
        return False
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(full, key) for key in KEYS)


class NoWayToCallError(Exception):
    """Says what is missing to call an operator."""


@dataclass(frozen=True)
class Example:
    """One way to call an operator inside a model."""

    name: str
    form: torch._ops.OpOverload
    arguments: Arguments
    goes: bool
    family: Family

    def scene(self) -> tuple[Scene, Tensor]:
        """The model, in float64, and its input."""
        plain = self.name.removeprefix("aten.")
        ranks = {1: "line", 2: "map", 3: "volume"}
        layout = self.family.layouts.get(plain, ranks.get(FACTS[self.name].windows, self.family.layout))
        scene, x = Scene(layout).double().eval(), torch.rand(SHAPES[layout], dtype=torch.float64) + 0.1
        scene.call = self.call
        scene.read = self.family.reads.get(plain, self.family.reads.get("", read))
        with torch.no_grad():
            scene(x)  # makes the parameters
        return scene, x

    def call(self, scene: Scene) -> Any:
        """Calls the operator on what the scene holds."""
        schema = self.form._schema.arguments
        given = {argument.name: self._given(scene, argument) for argument in schema if self._needed(argument)}
        last = max((k for k, argument in enumerate(schema) if argument.name in given and not argument.kwarg_only), default=-1)
        positional = [given.pop(argument.name, argument.default_value) for argument in schema[: last + 1]]
        return self.form(*positional, **given)

    def _needed(self, argument: Any) -> bool:
        return argument.name in self.arguments or not argument.has_default_value()

    def _given(self, scene: Scene, argument: Any) -> Any:
        if argument.name not in self.arguments and argument.name not in ANYWHERE:
            raise NoWayToCallError(
                f"nothing is known to give {self.form} for its argument {argument.name!r} ({argument.type}): add it to "
                f"the family {family_of(self.name)!r} of tests/support/operators.py, or to ANYWHERE"
            )
        value, kind = self.arguments.get(argument.name, ANYWHERE.get(argument.name)), str(argument.type)
        if "Tensor" in kind:
            return _tensor(scene, value)
        if value in (made, below_one, positive):
            return value is positive or 0.5
        value = value.value if isinstance(value, Number) else value(scene) if callable(value) else value
        if "List[int]" in kind and isinstance(value, int):
            return [value]
        return value[0] if kind == "int" and isinstance(value, list) else value


def _tensor(scene: Scene, value: Any) -> Any:
    if isinstance(value, Number):
        return torch.tensor(value.value)
    if value is None:
        return None
    return value(scene) if callable(value) else made(scene)


def examples(name: str) -> list[Example]:
    """Every way in which an operator is called; composite forms only where there are no others.

    Raises:
        NoWayToCallError: If its rule is of no family that is known.
    """
    family = FAMILIES.get(family_of(name))
    if family is None:
        raise NoWayToCallError(
            f"{name} has the rule {family_of(name)!r}, and nobody knows how to call its operators: add a family of that "
            "name to FAMILIES in tests/support/operators.py"
        )
    forms = overloads(name)
    plain = [form for form in forms if not form._can_decompose()] or forms
    shared = {**_pooling(FACTS[name].windows), **family.arguments, **family.own.get(name.removeprefix("aten."), {})}
    found = []
    for form in plain:
        seen = []
        of_form = family.own.get(f"{name.removeprefix('aten.')}.{form._overloadname}", {})
        for arguments, goes in family.cases:
            mine = {argument.name for argument in form._schema.arguments} & set(arguments)
            if mine in seen and not mine:
                continue  # a form without the arguments in which cases differ is called once
            seen.append(mine)
            goes_here = family.goes.get(name.removeprefix("aten."), goes or not mine)
            found.append(Example(name, form, {**shared, **{k: arguments[k] for k in mine}, **of_form}, goes_here, family))
    return found
