"""Which layers of a file can be int8, and which are asked to stay in float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from sapwood.errors import ConfigError, ExportError
from sapwood.export.onnx_quick import QuickOnnx

CONTRACTIONS = {
    "onnxruntime-int8": ("Conv", "Gemm", "MatMul"),
    "openvino-int8": ("Conv", "ConvTranspose", "Gemm", "MatMul"),
}
"""ONNX's operators that a runtime's quantiser knows, its kernels compute in int8, and where the time goes."""

KNOWN = frozenset().union(*CONTRACTIONS.values())
"""Operators that ONNX Runtime's tool can quantise, whether or not its runtime has a kernel of int8 for them."""

CARRIED = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Pad", "Relu",
    "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators between the layers that ONNX Runtime runs on int8, so that maps need not become float32 in between."""

JOINING = frozenset({"Add", "Concat"})
"""Those of them that read several maps."""

ASKED = "--int8-ignore"
HEAVY = frozenset({"ConvTranspose", "Einsum", "LSTM", "GRU", "RNN", "Attention"})
"""Operators that multiply and add, and that stay in float32 where they are no contractions of the runtime."""


@dataclass(frozen=True)
class Contraction:
    """A convolution or matrix product of a file.

    Attributes:
        name: The module's path in the model; the node's name where it belongs to none.
        node: The node's name.
    """

    name: str
    node: str


@dataclass(frozen=True)
class Left:
    """What stays in float32.

    Attributes:
        reasons: Contraction -> why, for the reader.
        nodes: The names of their nodes.
    """

    reasons: Mapping[str, str] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()

    def with_layers(self, layers: Sequence[Contraction], reason: str) -> Left:
        """These, and some more."""
        more = {layer.name: reason for layer in layers if layer.name not in self.reasons}
        return Left({**self.reasons, **more}, self.nodes | {layer.node for layer in layers})


def contractions(source: QuickOnnx, runtime: str) -> tuple[Contraction, ...]:
    """The layers that can be int8, in the order in which they run.

    Args:
        source: The file.
        runtime: One of :data:`CONTRACTIONS`.

    Raises:
        ExportError: If there is none; names the operators that there are.
    """
    able = CONTRACTIONS[runtime]
    nodes = [node for node in source.graph.node if node.op_type in able]
    if not nodes:
        kinds = Counter(node.op_type for node in source.graph.node)
        known = ", ".join(sorted(kinds)) or "nothing"
        raise ExportError(f"no layer can be int8: the file holds {known}; expected one of {', '.join(able)}")
    return tuple(Contraction(_name(source, node), node.name) for node in nodes)


def left_out(source: QuickOnnx, runtime: str, ignore: Sequence[str] = ()) -> Left:
    """What stays in float32 whatever the accuracy: what has no int8, and what fits a glob.

    Args:
        source: The file.
        runtime: One of :data:`CONTRACTIONS`.
        ignore: Globs of module paths, as ``layers.15*``. Activations and whatever else belongs to a module stay, too.

    Raises:
        ConfigError: If a glob fits no layer, or all of them are left.
    """
    layers = contractions(source, runtime)
    names = [layer.name for layer in layers]
    for glob in ignore:
        if not any(fnmatchcase(name, glob) for name in names):
            raise ConfigError(f"--int8-ignore {glob}: fits no layer; expected one of {', '.join(dict.fromkeys(names))}")
    lacking = HEAVY.difference(CONTRACTIONS[runtime])
    odd = {_name(source, node): f"{node.op_type} has no int8" for node in source.graph.node if node.op_type in lacking}
    asked = [node for node in source.graph.node if _fits(_name(source, node), ignore)]
    nodes = frozenset(node.name for node in asked)
    if nodes.issuperset(layer.node for layer in layers):
        raise ConfigError(f"--int8-ignore {' '.join(ignore)}: leaves no layer to be int8")
    return Left({**odd, **{name: ASKED for name in names if _fits(name, ignore)}}, nodes)


def beside(source: QuickOnnx, left: Left) -> frozenset[str]:
    """The operators that stay in float32 with layers that do: such as have no int8 layer before or behind them.

    Quantisers round the maps of an Add whether or not a layer beside it is int8: it costs accuracy and saves nothing.

    Args:
        source: The file.
        left: The layers that stay.

    Returns:
        Names of nodes; none where all layers are int8.
    """
    producers = {value: node for node in source.graph.node for value in node.output}
    readers: dict[str, list[Any]] = {}
    for node in source.graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node)

    def before(node: Any) -> list[Any]:
        return [producers[value] for value in node.input if value in producers]

    def behind(node: Any) -> list[Any]:
        return [reader for value in node.output for reader in readers.get(value, ())]

    found = set()
    for node in source.graph.node if left.nodes else ():
        if node.op_type in CARRIED:
            sides = (_layers_reached(node, step) for step in (before, behind))
            if any(names and names <= left.nodes for names in sides):
                found.add(str(node.name))
    return frozenset(found)


def _layers_reached(node: Any, step: Callable[[Any], list[Any]]) -> set[str]:
    """The nearest layers on one side, through operators of one map."""
    names, waiting = set(), step(node)
    while waiting:
        one = waiting.pop()
        if one.op_type in KNOWN:
            names.add(str(one.name))
        elif one.op_type in CARRIED and one.op_type not in JOINING:
            waiting += step(one)
    return names


def _fits(name: str, globs: Collection[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _name(source: QuickOnnx, node: Any) -> str:
    return source.modules.get(node.name) or str(node.name)
