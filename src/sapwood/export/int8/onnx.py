"""An ONNX file with static int8 (pairs of QuantizeLinear and DequantizeLinear), by :mod:`onnxruntime.quantization`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sapwood.errors import ExportError
from sapwood.export.base import innermost
from sapwood.export.int8.checks import check_scales, check_weights
from sapwood.export.int8.layers import CARRIED, CONTRACTIONS, KNOWN, Left, beside
from sapwood.export.int8.processor import Int8Kind, chosen_kind
from sapwood.export.onnx_quick import QuickOnnx
from sapwood.export.packages import require

REQUANTISED = {"Conv", "ConvTranspose", "Gemm"}
STRETCHED = {"DequantizeLinear", "QuantizeLinear"}


def quantised_onnx(
    source: QuickOnnx,
    calibration: Sequence[Sequence[Tensor]],
    left: Left | None = None,
    *,
    only: Sequence[str] | None = None,
    kind: Int8Kind | None = None,
) -> bytes:
    """Quantises a file: weights by channel and symmetric, activations by the range that they had.

    Args:
        source: The file in float32.
        calibration: Inputs to run it on, each a tensor an input of the file.
        left: What stays in float32.
        only: Names of the nodes that are quantised, alone; all that can be where None.
        kind: Which integers; what is right and fast on this processor where None.

    Raises:
        MissingDependencyError: If :mod:`onnxruntime` is not installed.
        ExportError: If ONNX Runtime cannot quantise the file.
        CheckFailedError: If a scale of the result is not finite, or a zero among the weights is lost.
    """
    kind = chosen_kind() if kind is None else kind
    quantization, model = _quantization(), own_weights(own_biases(require("onnx").load_from_string(source.data)))
    types = quantization.QuantType
    excluded = set() if left is None else set(left.nodes | beside(source, left))
    if only is None:  # else it is asked what a layer's integers change, whoever computes them
        able = CONTRACTIONS["onnxruntime-int8"]
        excluded |= {node.name for node in model.graph.node if node.op_type in KNOWN and node.op_type not in able}
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        try:
            quantization.quantize_static(
                model,
                path,
                _reader(source, calibration),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=[*KNOWN, *CARRIED],
                per_channel=True,
                reduce_range=kind.reduced,
                activation_type=types.QInt8 if kind.signed else types.QUInt8,
                weight_type=types.QInt8,
                nodes_to_quantize=None if only is None else list(only),
                nodes_to_exclude=sorted(excluded),
                extra_options={"WeightSymmetric": True},
            )
        except Exception as error:  # whatever is in its way
            raise ExportError(f"ONNX Runtime cannot quantise the file: {innermost(error)}") from error
        data: bytes = shielded(require("onnx").load(path)).SerializeToString()
    check_onnx(data, source)
    return data


def shielded(model: Any) -> Any:
    """Keeps ONNX Runtime from quantising layers that stay in float32, and returns the model, which is changed.

    As it loads a file it quantises the weights of such a layer if both its maps are int8, for the tensor as a whole,
    which is worse than by channel (1.32.0; its optimizer WeightBiasQuantization). Where a maximum of one value stands
    in front of the layer, it does not see that.
    """
    onnx, graph = require("onnx"), model.graph
    stored = {one.name for one in graph.initializer}
    opened = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    nodes = list(graph.node)
    for place in reversed(range(len(nodes))):
        node = nodes[place]
        if node.op_type in REQUANTISED and node.input[0] in opened and node.input[1] in stored:
            name = f"{node.name}_float32"
            graph.node.insert(place, onnx.helper.make_node("Max", [node.input[0]], [name], name=name))
            node.input[0] = name
    return model


def own_biases(model: Any) -> Any:
    """Gives every layer a bias of its own, and returns the model, which is changed.

    PyTorch's older exporter stores equal values once and hands them on by Identity. The tool does not look behind that,
    so that such a layer would stay in float32 without a word; nor has a bias one scale where layers share it.
    """
    stored = {one.name: one for one in model.graph.initializer}
    origin = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Identity" and node.input[0] in stored
    }
    taken = set()
    for node in model.graph.node:
        if node.op_type not in REQUANTISED or len(node.input) < 3:
            continue
        name = origin.get(node.input[2], node.input[2])
        if name in stored and (name in taken or name != node.input[2]):
            copy = model.graph.initializer.add()
            copy.CopyFrom(stored[name])
            copy.name = node.input[2] = f"{node.name}_bias"
        taken.add(name)
    return model


def own_weights(model: Any) -> Any:
    """Gives layers that read the same weights in different ways copies of their own, and returns the model, changed.

    Tied layers, of which one reads the transpose: a scale a channel is along another dimension, for which the tool has
    no place.
    """
    stored = {one.name: one for one in model.graph.initializer}
    ways: dict[str, tuple[Any, ...]] = {}
    for node in model.graph.node:
        if node.op_type not in KNOWN or len(node.input) < 2 or node.input[1] not in stored:
            continue
        name = node.input[1]
        way = (node.op_type, *(one.i for one in node.attribute if one.name == "transB"))
        if ways.setdefault(name, way) != way:
            copy = model.graph.initializer.add()
            copy.CopyFrom(stored[name])
            copy.name = node.input[1] = f"{node.name}_weight"
    return model


def check_onnx(data: bytes, source: QuickOnnx) -> int:
    """Checks scales and weights of a quantised file; returns how many zeros there are.

    Raises:
        CheckFailedError: If one of them is wrong.
    """
    onnx = require("onnx")
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load_from_string(data).graph.initializer}
    nodes = onnx.load_from_string(data).graph.node
    stretched = [node for node in nodes if node.op_type in STRETCHED and node.input[1] in stored]
    check_scales((node.input[1], stored[node.input[1]]) for node in stretched)
    float_graph = own_weights(onnx.load_from_string(source.data)).graph
    floats = {one.name: onnx.numpy_helper.to_array(one) for one in float_graph.initializer}
    return check_weights(
        (name, floats[name], _weights(node, stored))
        for node in stretched
        if (name := node.input[0].removesuffix("_quantized")) in floats and stored[node.input[0]].dtype == np.int8
    )


def _weights(node: Any, stored: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """What stored integers stand for; symmetric weights have no point for zero, or 0."""
    values = stored[node.input[0]].astype(np.float32)
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)

    def along(given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        shape = [1] * values.ndim
        if given.ndim:
            shape[axis] = -1
        return given.astype(np.float32).reshape(shape)

    point = stored[node.input[2]] if len(node.input) > 2 else np.zeros(())
    weights: np.ndarray[Any, Any] = (values - along(point)) * along(stored[node.input[1]])
    return weights


def _quantization() -> Any:
    """ONNX Runtime's tool, which stands beside its runtime."""
    require("onnxruntime")
    require("onnx")
    return require("onnxruntime.quantization")


def _reader(source: QuickOnnx, calibration: Sequence[Sequence[Tensor]]) -> Any:
    """What the tool reads inputs from."""
    wanted = {given.name for given in source.graph.input}
    feeds = iter(
        [
            {
                name: tensor.detach().contiguous().numpy()
                for name, tensor in zip(source.input_names, tensors, strict=True)
                if name in wanted
            }
            for tensors in calibration
        ]
    )

    class CalibrationReader(_quantization().CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(feeds, None)

    return CalibrationReader()


@contextmanager
def quiet() -> Iterator[None]:
    """No advice of quantisers inside: they print to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
