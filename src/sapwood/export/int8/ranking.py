"""Which layers lose most by int8: each is quantised alone, and what leaves the network is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from sapwood.export.int8.checks import output_error
from sapwood.export.int8.layers import Contraction, Left, contractions
from sapwood.export.int8.onnx import quantised_onnx
from sapwood.export.onnx_quick import QuickOnnx
from sapwood.export.packages import require

NUM_INPUTS = 4
"""Inputs that each layer is looked at with."""


def ranked(
    source: QuickOnnx,
    calibration: Sequence[Sequence[Tensor]],
    left: Left,
    runtime: str,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Contraction, ...]:
    """The layers that could be int8, that of the largest error first.

    The error is the squared one of all outputs over their squares, in ONNX Runtime, with that layer alone in int8.

    Args:
        source: The file in float32.
        calibration: Inputs to run it on; the first few are enough.
        left: Layers that stay in float32 anyway, and are not among the result.
        runtime: What will run the network, which decides what a layer is.
        progress: Called with layers done and in all.
    """
    inputs = calibration[:NUM_INPUTS]
    wanted = _outputs(source.data, source, inputs)
    layers = [layer for layer in contractions(source, runtime) if layer.node not in left.nodes]
    errors = {}
    for done, layer in enumerate(layers, start=1):
        found = _outputs(quantised_onnx(source, inputs, only=[layer.node]), source, inputs)
        errors[layer] = output_error(found, wanted)
        if progress is not None:
            progress(done, len(layers))
    return tuple(sorted(layers, key=errors.__getitem__, reverse=True))


def _outputs(
    data: bytes, source: QuickOnnx, inputs: Sequence[Sequence[Tensor]]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    session = require("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])
    wanted = {given.name for given in session.get_inputs()}
    found = []
    for tensors in inputs:
        named = zip(source.input_names, tensors, strict=True)
        feed = {name: tensor.numpy() for name, tensor in named if name in wanted}
        found += [np.asarray(value, dtype=np.float64) for value in session.run(None, feed)]
    return found
