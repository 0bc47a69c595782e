"""An OpenVINO network with int8, by NNCF's post-training quantisation."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sapwood.errors import ExportError
from sapwood.export.base import innermost
from sapwood.export.int8.checks import check_scales, check_weights, output_error
from sapwood.export.int8.layers import Left, beside, contractions
from sapwood.export.int8.onnx import own_weights, quiet
from sapwood.export.int8.processor import openvino_saturates
from sapwood.export.metadata import metadata_in, set_rt_info
from sapwood.export.onnx_quick import QuickOnnx
from sapwood.export.packages import require

CONTRACTIONS = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)
NUM_COMPARED = 16
"""Inputs that quantised networks are compared on, at most."""

SILENT = "NNCF_CI"
"""The environment variable that keeps NNCF from reporting its use to its makers."""


def quantised_openvino(
    source: QuickOnnx, calibration: Sequence[Sequence[Tensor]], left: Left | None = None, *, corrected: bool = True
) -> Any:
    """Quantises a network: weights by channel and symmetric, activations symmetric where they may be.

    Args:
        source: The file in float32.
        calibration: Inputs to run it on, each a tensor an input of the file.
        left: What stays in float32.
        corrected: Whether biases make up for the mean error of each layer where that brings the outputs nearer, which
            takes time. It does not where a layer runs more than once, and may not in small networks (NNCF 3.4.0).

    Returns:
        An ``openvino.Model``.

    Raises:
        MissingDependencyError: If :mod:`nncf` or :mod:`openvino` is not installed.
        ExportError: If OpenVINO cannot read the network, or NNCF not quantise it.
        CheckFailedError: If a scale of the result is not finite, or a zero among the weights is lost.
    """
    nncf_package()
    contractions(source, "openvino-int8")
    model = folded(_read(source.data))
    set_rt_info(model, metadata_in(source.data))
    floats = dict(_weights(model))
    names = [given.get_any_name() for given in model.inputs]
    feeds = [_feed(source, tensors, names) for tensors in calibration]
    kept = frozenset() if left is None else left.nodes | beside(source, left)
    found = _quantised(model, feeds, kept, corrected=corrected)
    if corrected and len(feeds) > 1:
        whole = _quantised(model, feeds, kept, corrected=True, whole_ranges=True)
        better = nearest(model, [found, whole], feeds)
        plain = _quantised(model, feeds, kept, corrected=False, whole_ranges=better is whole)
        found = nearest(model, [better, plain], feeds)
    check_openvino(found, floats)
    return found


def _read(data: bytes) -> Any:
    """The network of a file, in which layers that read weights in different ways have their own.

    Raises:
        ExportError: If OpenVINO does not know an operator of it.
    """
    own = own_weights(require("onnx").load_from_string(data)).SerializeToString()
    try:
        return require("openvino").Core().read_model(io.BytesIO(own))
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot load the model: {error}") from error


def folded(model: Any) -> Any:
    """Works out what follows from stored values alone, and returns the model, which is changed.

    OpenVINO's reader of ONNX writes the weights of a grouped convolution as a constant that is reshaped. Its int8 wants
    the quantised weights behind a constant alone; else the layer computes in float32 without a word (2026.4.1).
    """
    passes = require("openvino.passes")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
    return model


def _quantised(
    model: Any,
    feeds: Sequence[dict[str, Any]],
    kept: frozenset[str],
    *,
    corrected: bool,
    whole_ranges: bool = False,
) -> Any:
    """The network as NNCF quantises it.

    Args:
        model: The network in float32.
        feeds: What ranges are taken from.
        kept: The file's nodes that stay in float32.
        corrected: Whether biases make up for the mean error.
        whole_ranges: Whether the range of a value is that of all inputs together. NNCF takes the mean of the ends that
            the inputs have, so that of two kinds of pictures the brighter one is cut off (3.4.0).
    """
    nncf = nncf_package()
    overflow = nncf.OverflowFix.ENABLE if openvino_saturates() else nncf.OverflowFix.DISABLE
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=overflow, disable_bias_correction=not corrected)
    if whole_ranges:
        estimators = require("nncf.quantization.range_estimator").RangeEstimatorParametersSet
        advanced.activations_range_estimator_params = estimators.MINMAX
    try:
        with quiet(), _silent():
            return nncf.quantize(
                model,
                nncf.Dataset(feeds),
                subset_size=len(feeds),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                ignored_scope=nncf.IgnoredScope(names=_names(model, kept)),
                advanced_parameters=advanced,
            )
    except Exception as error:  # whatever is in its way
        raise ExportError(f"NNCF cannot quantise the network: {innermost(error)}") from error


def nearest(model: Any, candidates: Sequence[Any], feeds: Sequence[dict[str, Any]]) -> Any:
    """That of several quantised networks whose outputs are nearest to those of float32; of equals the first.

    Args:
        model: The network in float32.
        candidates: As they were quantised.
        feeds: Inputs; some of them, from one end to the other, are looked at.
    """
    some = feeds[:: -(-len(feeds) // NUM_COMPARED)]
    wanted = _outputs(model, some)
    return min(candidates, key=lambda one: output_error(_outputs(one, some), wanted))


def _outputs(model: Any, feeds: Sequence[dict[str, Any]]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    compiled = require("openvino").Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.asarray(value, dtype=np.float64) for feed in feeds for value in compiled(feed).to_tuple()]


def nncf_package() -> Any:
    """NNCF, which tells nobody that it is used.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    os.environ.setdefault(SILENT, "1")
    with quiet(), _silent():
        nncf = require("nncf")
        nncf.set_log_level(logging.ERROR)
    return nncf


def check_openvino(model: Any, floats: dict[str, np.ndarray[Any, Any]]) -> int:
    """Checks scales and weights of a quantised network; returns how many zeros there are.

    Raises:
        CheckFailedError: If one of them is wrong.
    """
    check_scales(_ranges(model))
    return check_weights((name, floats[name], after) for name, after in _weights(model) if name in floats)


def _ranges(model: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """How far each range of a quantised value reaches."""
    for node in model.get_ops():
        if node.get_type_name() == "FakeQuantize":
            low, high = (_value(node.input_value(index)) for index in (1, 2))
            if low is not None and high is not None:
                yield node.get_friendly_name(), np.asarray(high - low)


def _weights(model: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The weights of every layer that has them, as they are multiplied."""
    for node in model.get_ops():
        if node.get_type_name() in CONTRACTIONS:
            value = _value(node.input_value(1))
            if value is not None:
                yield node.get_friendly_name(), value


def _value(output: Any) -> np.ndarray[Any, Any] | None:
    """What an output gives that follows from stored values alone; None if it depends on an input."""
    openvino = require("openvino")
    wanted, seen = [output.get_node()], set()
    while wanted:
        node = wanted.pop()
        if node.get_type_name() == "Parameter":
            return None
        if node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            wanted += [value.get_node() for value in node.input_values()]
    if output.get_node().get_type_name() == "Constant":
        return np.asarray(output.get_node().data)
    part = openvino.Core().compile_model(openvino.Model([output], []), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(part([])[0])


def _names(model: Any, nodes: frozenset[str]) -> list[str]:
    """The operations that OpenVINO made of nodes; it puts what they are behind their names."""
    names = [node.get_friendly_name() for node in model.get_ops() if node.get_type_name() != "Constant"]
    return [name for name in names if name in nodes or name.rpartition("/")[0] in nodes]


def _feed(source: QuickOnnx, tensors: Sequence[Tensor], wanted: Sequence[str]) -> dict[str, Any]:
    named = zip(source.input_names, tensors, strict=True)
    return {name: tensor.detach().contiguous().numpy() for name, tensor in named if name in wanted}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """No progress bars inside: they would stand among what a command prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
