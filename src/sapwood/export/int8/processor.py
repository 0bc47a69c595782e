"""Which integers this processor multiplies rightly and fast, found by running the kernels of each runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import numpy as np

from sapwood.elapsed import Elapsed
from sapwood.export.packages import require

LARGEST = (255, 127)
"""Of an unsigned activation and a signed weight: two such products are more than 16 bits hold."""

UNCUT = 200
"""What the sums of :data:`LARGEST` are scaled to where nothing is lost; 101 where pairs are cut to 16 bits."""

CLEARLY = 0.9
"""Signed activations are taken where they need less than this share of the time of unsigned ones."""

CHANNELS, SIDE, LAYERS, ROUNDS = 64, 28, 4, 15


@dataclass(frozen=True)
class Int8Kind:
    """Integers that a file computes with.

    Attributes:
        signed: Whether activations are; weights always are.
        reduced: Whether weights have 7 bits, so that sums of two products fit into 16.
    """

    signed: bool = False
    reduced: bool = False

    @property
    def title(self) -> str:
        """For the reader.

        Examples:
            >>> Int8Kind().title, Int8Kind(signed=True).title, Int8Kind(reduced=True).title
            ('u8s8', 's8s8', 'u8s8 with weights of 7 bits')
        """
        return ("s8s8" if self.signed else "u8s8") + (" with weights of 7 bits" if self.reduced else "")


@cache
def chosen_kind() -> Int8Kind:
    """What is right and fast here; measured once a process."""
    return choose(saturates(), kernel_times())


def choose(saturated: bool, seconds: Mapping[bool, float]) -> Int8Kind:
    """Chooses from what was measured.

    Args:
        saturated: Whether unsigned activations lose sums (:func:`saturates`).
        seconds: What the same convolutions take with activations that are signed (``True``) and that are not.

    Examples:
        >>> choose(False, {False: 1.0, True: 1.2}).title
        'u8s8'
        >>> choose(True, {False: 1.0, True: 0.95}).title
        'u8s8 with weights of 7 bits'
        >>> choose(True, {False: 1.0, True: 0.5}).title
        's8s8'
    """
    signed = seconds[True] < CLEARLY * seconds[False]
    return Int8Kind(signed, reduced=saturated and not signed)


@cache
def saturates() -> bool:
    """Whether in ONNX Runtime sums of two products of 8 bits lose what is beyond 16, as they do on x86 without VNNI."""
    activation, weight = LARGEST
    helper, kinds = require("onnx").helper, require("onnx").TensorProto
    # of whole numbers, ConvInteger would give the sums themselves: releases before 1.24 have none of these two types
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "wz", "t", "z"], ["y"])
    given = [helper.make_tensor_value_info("x", kinds.UINT8, [1, CHANNELS, 8, 8])]
    result = [helper.make_tensor_value_info("y", kinds.UINT8, [1, CHANNELS, 8, 8])]
    stored = [
        _stored("w", np.full((CHANNELS, CHANNELS, 1, 1), weight, dtype=np.int8)),
        _stored("s", np.array(1, dtype=np.float32)),
        _stored("t", np.array(CHANNELS * activation * weight / UNCUT, dtype=np.float32)),
        _stored("z", np.array(0, dtype=np.uint8)),
        _stored("wz", np.array(0, dtype=np.int8)),
    ]
    run = _runner(helper.make_graph([node], "sums", given, result, stored), 10)
    (found,) = run(np.full((1, CHANNELS, 8, 8), activation, dtype=np.uint8))
    return bool((found != UNCUT).any())


@cache
def openvino_saturates() -> bool:
    """Whether sums of products lose what is beyond 16 bits in OpenVINO.

    It picks its kernels by itself, and may be told not to use what the processor has (``ONEDNN_MAX_CPU_ISA``), of which
    ONNX Runtime knows nothing.
    """
    openvino = require("openvino")
    ops, (activation, weight) = openvino.opset13, LARGEST

    def number(value: float) -> Any:
        return ops.constant(np.array(value, dtype=np.float32))

    def integers(values: Any, low: float, high: float) -> Any:
        return ops.fake_quantize(
            values, number(low), number(high), number(low), number(high), levels=round(high - low) + 1
        )

    x = ops.parameter([1, CHANNELS, 8, 8], np.float32)
    stored = ops.constant(np.full((CHANNELS, CHANNELS, 1, 1), weight, dtype=np.float32))
    sums = ops.convolution(
        integers(x, 0, activation), integers(stored, -weight, weight), [1, 1], [0, 0], [0, 0], [1, 1]
    )
    compiled = openvino.Core().compile_model(
        openvino.Model([sums], [x]), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    (found,) = compiled(np.full((1, CHANNELS, 8, 8), activation, dtype=np.float32)).to_tuple()
    return bool((found != CHANNELS * activation * weight).any())


def kernel_times() -> dict[bool, float]:
    """Median seconds of some convolutions, with activations that are signed and that are not, in interleaved rounds."""
    calls = {signed: _convolutions(signed) for signed in (False, True)}
    inputs = {
        signed: np.zeros((1, CHANNELS, SIDE, SIDE), dtype=np.int8 if signed else np.uint8) for signed in (False, True)
    }
    took: dict[bool, list[float]] = {signed: [] for signed in calls}
    for _ in range(ROUNDS):
        for signed, call in calls.items():
            elapsed = Elapsed()  # a call that waits for its core says nothing of its integers
            call(inputs[signed])
            took[signed].append(elapsed.seconds)
    return {signed: median(seconds) for signed, seconds in took.items()}


def _convolutions(signed: bool) -> Callable[[Any], Any]:
    """Some quantised convolutions, one behind the other."""
    helper, kinds = require("onnx").helper, require("onnx").TensorProto
    kind = kinds.INT8 if signed else kinds.UINT8
    shape = [1, CHANNELS, SIDE, SIDE]
    weights = np.random.default_rng(0).integers(-127, 128, (CHANNELS, CHANNELS, 3, 3), dtype=np.int8)
    stored = [
        _stored("w", weights),
        _stored("s", np.array(0.01, dtype=np.float32)),
        _stored("z", np.array(0, dtype=np.int8 if signed else np.uint8)),
        _stored("wz", np.array(0, dtype=np.int8)),
    ]
    nodes = [
        helper.make_node("QLinearConv", [f"v{i}", "s", "z", "w", "s", "wz", "s", "z"], [f"v{i + 1}"], pads=[1] * 4)
        for i in range(LAYERS)
    ]
    given = [helper.make_tensor_value_info("v0", kind, shape)]
    result = [helper.make_tensor_value_info(f"v{LAYERS}", kind, shape)]
    return _runner(helper.make_graph(nodes, "convolutions", given, result, stored), 13)


def _stored(name: str, values: np.ndarray[Any, Any]) -> Any:
    return require("onnx").numpy_helper.from_array(values, name)


def _runner(graph: Any, opset: int) -> Callable[[Any], Any]:
    onnx, onnxruntime = require("onnx"), require("onnxruntime")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda values: session.run(None, {name: values})
