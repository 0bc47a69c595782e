"""``onnxruntime-int8`` and ``openvino-int8``: the networks as :mod:`sapwood.export.int8` quantises them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sapwood.export import (
    Left,
    QuickOnnx,
    in_float32,
    left_out,
    mapped_tensors,
    quantised_onnx,
    quantised_openvino,
    quick_onnx,
    random_like,
    require,
    tensors_of,
)
from sapwood.runtime.base import RUNTIMES, Session
from sapwood.runtime.onnxruntime import OnnxRuntimeSession
from sapwood.runtime.openvino import OpenVinoSession
from sapwood.types import ExampleInputs

Int8Session = OnnxRuntimeSession | OpenVinoSession

PACKAGES = {"onnxruntime-int8": ("onnxruntime", "onnxruntime.quantization"), "openvino-int8": ("openvino", "nncf")}
"""What each needs, that whose version it has first."""


def int8_session(
    runtime: str,
    source: QuickOnnx,
    example_inputs: ExampleInputs,
    calibration: Sequence[ExampleInputs],
    *,
    left: Left | None = None,
    threads: int,
    corrected: bool = True,
) -> Int8Session:
    """Quantises a file and opens it.

    Args:
        runtime: ``"onnxruntime-int8"`` or ``"openvino-int8"``.
        source: The file in float32.
        example_inputs: What every run gets.
        calibration: Inputs that ranges are taken from, of the example's shapes.
        left: What stays in float32.
        threads: Threads a run may use.
        corrected: Whether biases make up for the mean error of layers, where the quantiser can do that.

    Raises:
        MissingDependencyError: If a package is missing.
        ExportError: If the file cannot be quantised.
        CheckFailedError: If what came out has a scale that is no number.
    """
    seen = [tensors_of(inputs) for inputs in calibration]
    tensors = tensors_of(example_inputs)
    if runtime == "openvino-int8":
        model = quantised_openvino(source, seen, left, corrected=corrected)
        return OpenVinoSession(source, tensors, threads, model)
    return OnnxRuntimeSession(replace(source, data=quantised_onnx(source, seen, left)), tensors, threads)


def opened_int8(path: Path, source: QuickOnnx, example_inputs: ExampleInputs, *, threads: int) -> Int8Session:
    """Opens a quantised file that was written.

    Args:
        path: An ``.onnx``, or an ``.xml`` beside its ``.bin``.
        source: What it was made of.
        example_inputs: What every run gets.
        threads: Threads a run may use.
    """
    tensors = tensors_of(example_inputs)
    if path.suffix == ".onnx":
        return OnnxRuntimeSession(replace(source, data=path.read_bytes()), tensors, threads)
    return OpenVinoSession(source, tensors, threads, require("openvino").Core().read_model(str(path)))


class Int8Runtime:
    """Static int8 in one of the two runtimes.

    Args:
        name: One of :data:`PACKAGES`.
    """

    tells_layers = True
    exact = False

    def __init__(self, name: str) -> None:
        self.name = name

    def version(self) -> str:
        """Returns the version of the runtime's package; the quantiser's is behind it where it has one of its own."""
        runtime, quantiser = (require(package) for package in PACKAGES[self.name])
        own = str(runtime.__version__).partition("-")[0]
        return f"{own}, NNCF {quantiser.__version__}" if self.name == "openvino-int8" else own

    def load(self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int) -> Session:
        """Calibrates on the example inputs and on random ones, which is enough for the time."""
        return self._load(model, example_inputs, timing_inputs(example_inputs), threads, corrected=False)

    def load_calibrated(
        self, model: nn.Module, example_inputs: ExampleInputs, calibration: Sequence[ExampleInputs], *, threads: int
    ) -> Session:
        """Calibrates on inputs of the network's own kind."""
        return self._load(model, example_inputs, calibration, threads, corrected=True)

    def _load(
        self,
        model: nn.Module,
        example_inputs: ExampleInputs,
        calibration: Sequence[ExampleInputs],
        threads: int,
        *,
        corrected: bool,
    ) -> Session:
        for package in PACKAGES[self.name]:
            require(package)
        model, example_inputs = in_float32(model, example_inputs)
        calibration = [mapped_tensors(inputs, _plain) for inputs in calibration]
        source = quick_onnx(model, example_inputs)
        left = left_out(source, self.name)
        return int8_session(
            self.name, source, example_inputs, calibration, left=left, threads=threads, corrected=corrected
        )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def timing_inputs(example_inputs: ExampleInputs) -> list[ExampleInputs]:
    """Inputs with which every value has a range: the example, and random numbers."""
    generator = torch.Generator().manual_seed(0)
    random = mapped_tensors(example_inputs, lambda tensor: random_like(tensor, generator))
    return [example_inputs, random]


for _name in PACKAGES:
    RUNTIMES.register(_name)(Int8Runtime(_name))
