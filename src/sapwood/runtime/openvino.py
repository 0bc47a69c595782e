"""``openvino``: OpenVINO's CPU plugin, tuned for the latency of one call, in float32."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.elapsed import Elapsed
from sapwood.errors import MeasureError
from sapwood.export import QuickOnnx, plain_tensors, quick_onnx, require, tensors_of
from sapwood.runtime.base import RUNTIMES, WARMUP, LayerTimes, Session
from sapwood.runtime.onnx_nodes import NodeHomes, Ran, summed
from sapwood.runtime.onnxruntime import fed
from sapwood.types import ExampleInputs

CONTRACTIONS = frozenset({"Convolution", "FullyConnected", "MatMul", "Deconvolution", "GroupConvolution"})
"""OpenVINO's types of executed nodes that convolve or multiply matrices."""


COMPILED = 3
"""Compiled models that layers are timed in; see :func:`each_alone`."""

CUT_OFF = 5e-4
"""What a node's run loses on average, in milliseconds: OpenVINO counts its whole microseconds only."""

INTEGERS = frozenset({"i8", "u8"})
"""What OpenVINO calls the precision of nodes that compute in int8."""


class OpenVinoSession:
    """A compiled model and one request; of the file, or of what ``model`` says was made of it."""

    def __init__(self, exported: QuickOnnx, tensors: tuple[Tensor, ...], threads: int, model: Any = None) -> None:
        self._exported = exported
        self._tensors = tensors
        self._threads = threads
        self._model = model
        self._compiled = self._compile()
        self._request = self._compiled.create_infer_request()
        self._feed = feed_of(self._compiled, exported.input_names, tensors)

    @property
    def content(self) -> Any:
        """The ``openvino.Model`` that it runs; the bytes of an ONNX file where none was given."""
        return self._exported.data if self._model is None else self._model

    def __call__(self) -> object:
        """Runs once."""
        return self._request.infer(self._feed)

    def again(self) -> OpenVinoSession:
        """Compiles the same file once more."""
        return OpenVinoSession(self._exported, self._tensors, self._threads, self._model)

    def outputs(self) -> list[Tensor]:
        """Returns the output tensors of one run."""
        return outputs_of(self._compiled, self._request.infer(self._feed))

    def run(self, example_inputs: ExampleInputs) -> list[Tensor]:
        """Returns the output tensors of a run on other inputs of the same shapes."""
        feed = feed_of(self._compiled, self._exported.input_names, tensors_of(example_inputs))
        return outputs_of(self._compiled, self._request.infer(feed))

    def float_nodes(self) -> tuple[str, ...]:
        """The file's convolutions and matrix products that compute in float32, whatever the file says."""
        origins = _origins(self._compiled)
        ran = [
            Ran(name, (*origins.get(name, ()), name), True)
            for name, kind, precision in _executed(self._compiled)
            if kind in CONTRACTIONS and precision not in INTEGERS
        ]
        return NodeHomes(self._exported).contractions(ran)

    def _compile(self, *, profile: bool = False) -> Any:
        if self._model is None:
            return compile_file(self._exported.data, self._threads, profile=profile)
        return compile_model(self._model, self._threads, profile=profile)

    def layer_times(self, rounds: int) -> LayerTimes:
        """Times every layer in other compiled models that count performance, some rounds in each."""
        runs: list[ProfiledRequest] = []
        for _ in range(COMPILED):
            compiled = self._compile(profile=True)
            request = compiled.create_infer_request()
            seen = [_timed_run(request, self._feed) for _ in range(WARMUP + -(-rounds // COMPILED))]
            runs += each_alone(seen)[WARMUP:]
        origins = _origins(compiled)
        ran = [
            Ran(name, (*origins.get(name, ()), name), kind in CONTRACTIONS)
            for run in runs
            for name, kind in run.kinds.items()
        ]
        homes = NodeHomes(self._exported).homes(ran)
        return LayerTimes.of([summed(run.nodes, homes, run.total) for run in runs])


@dataclass(frozen=True)
class ProfiledRequest:
    """One run, in milliseconds.

    Attributes:
        total: Of the whole run.
        nodes: By node that was executed.
        kinds: What each of them does.
    """

    total: float
    nodes: Mapping[str, float]
    kinds: Mapping[str, str]


def each_alone(runs: Sequence[ProfiledRequest]) -> list[ProfiledRequest]:
    """What each run took, of all the runs of one compiled model.

    OpenVINO tells the mean of all runs so far (2026.4.1), so that a first one that is slow, or one that other work
    interrupts, stays in all that follow. What it tells are whole microseconds: of the n-th run n of them are unsure,
    which is why few runs are made of one compiled model. A node that takes less than one is told as nothing at all,
    which it is not: each run gets back what it loses on average, :data:`CUT_OFF`.

    Examples:
        >>> means = [ProfiledRequest(9.0, {"a": mean, "b": 0.0}, {}) for mean in (9.0, 5.0, 4.0)]
        >>> [run.nodes["a"] for run in each_alone(means)]
        [9.0005, 1.0005, 2.0005]
        >>> [run.nodes["b"] for run in each_alone(means)]
        [0.0005, 0.0005, 0.0005]
    """
    before: dict[str, float] = {}
    found = []
    for number, run in enumerate(runs, start=1):
        sums = {name: number * mean for name, mean in run.nodes.items()}
        own = {name: CUT_OFF + max(0.0, so_far - before.get(name, 0.0)) for name, so_far in sums.items()}
        found.append(replace(run, nodes=own))
        before = sums
    return found


def _timed_run(request: Any, feed: Mapping[str, Any]) -> ProfiledRequest:
    """A run, with the mean times of nodes that OpenVINO tells."""
    elapsed = Elapsed()
    request.infer(feed)
    total = 1e3 * elapsed.seconds
    executed = [info for info in request.get_profiling_info() if info.status == info.EXECUTED]
    times = {info.node_name: 1e3 * info.real_time.total_seconds() for info in executed}
    return ProfiledRequest(total, times, {info.node_name: info.node_type for info in executed})


def _origins(compiled: Any) -> dict[str, tuple[str, ...]]:
    """The names of the file's nodes that OpenVINO says each executed node was made of."""
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        if "originalLayersNames" in info:
            listed = str(info["originalLayersNames"].astype(str))
            found[node.get_friendly_name()] = tuple(filter(None, listed.split(",")))
    return found


def _executed(compiled: Any) -> list[tuple[str, str, str]]:
    """Name, type and precision of each node that will be executed."""
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        if "layerType" in info and "runtimePrecision" in info:
            kind, precision = (str(info[key].astype(str)) for key in ("layerType", "runtimePrecision"))
            found.append((node.get_friendly_name(), kind, precision.lower()))
    return found


def compile_file(data: bytes, threads: int | None = None, *, profile: bool = False) -> Any:
    """Compiles the bytes of an ONNX file for the CPU.

    Raises:
        MeasureError: If OpenVINO refuses it.
    """
    openvino = require("openvino")
    try:
        return compile_model(openvino.Core().read_model(io.BytesIO(data)), threads, profile=profile)
    except RuntimeError as error:
        raise MeasureError(f"OpenVINO cannot load the model: {error}") from error


def compile_model(model: Any, threads: int | None = None, *, profile: bool = False) -> Any:
    """Compiles an OpenVINO model for the CPU: one stream, latency first, float32."""
    settings: dict[str, Any] = {
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "PERF_COUNT": profile,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return require("openvino").Core().compile_model(model, "CPU", settings)


def feed_of(compiled: Any, names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> dict[str, Any]:
    """What a compiled model is fed; an input that the exporter found to be of no use is not in the file."""
    kinds = {name: given.get_element_type().get_type_name() for given in compiled.inputs for name in given.get_names()}
    return {
        name: fed(tensor, in_float32=kinds[name] == "f32")
        for name, tensor in zip(names, tensors, strict=True)
        if name in kinds
    }


def outputs_of(compiled: Any, results: Any) -> list[Tensor]:
    """The results of a run in the order of the model's outputs."""
    return plain_tensors([torch.from_numpy(np.array(results[output])) for output in compiled.outputs])


class OpenVino:
    """OpenVINO."""

    name = "openvino"
    tells_layers = True

    def version(self) -> str:
        """Returns OpenVINO's version."""
        return str(require("openvino").__version__).partition("-")[0]

    def load(self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int) -> Session:
        """Converts the model in memory and compiles it."""
        require("openvino")
        return OpenVinoSession(quick_onnx(model, example_inputs), tensors_of(example_inputs), threads)


RUNTIMES.register("openvino")(OpenVino())
