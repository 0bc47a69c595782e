"""``onnxruntime``: ONNX Runtime's CPU provider."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapwood.elapsed import Elapsed
from sapwood.errors import MeasureError
from sapwood.export import QuickOnnx, plain_tensors, quick_onnx, require, tensors_of
from sapwood.runtime.base import RUNTIMES, WARMUP, LayerTimes, Session
from sapwood.runtime.onnx_nodes import NodeHomes, Ran, summed
from sapwood.types import ExampleInputs

CONTRACTIONS = ("Conv", "Gemm", "MatMul")
"""Parts of the names of operators, ONNX Runtime's own fused ones included, that convolve or multiply matrices."""

FLOAT = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
"""Those of them that compute in float32."""

ERRORS_ONLY = 3
"""ONNX Runtime's log level."""


class OnnxRuntimeSession:
    """A session of ONNX Runtime with its own defaults, but that its threads sleep between calls.

    By default they spin for some 45 ms, and whatever is timed next has to share its cores with them: two sessions
    called in turn then take twice their time. Alone, a session takes as long either way, but for networks of a few
    milliseconds, where waking threads costs up to a fifth.
    """

    def __init__(self, exported: QuickOnnx, tensors: tuple[Tensor, ...], threads: int) -> None:
        self._exported = exported
        self._tensors = tensors
        self._threads = threads
        self._session = make_session(exported.data, threads)
        self._feed = feed_of(self._session, exported.input_names, tensors)

    @property
    def content(self) -> Any:
        """The bytes of the file that it runs."""
        return self._exported.data

    def __call__(self) -> object:
        """Runs once."""
        return self._session.run(None, self._feed)

    def again(self) -> OnnxRuntimeSession:
        """Opens the same file once more."""
        return OnnxRuntimeSession(self._exported, self._tensors, self._threads)

    def outputs(self) -> list[Tensor]:
        """Returns the output tensors of one run."""
        return self._outputs(self._feed)

    def run(self, example_inputs: ExampleInputs) -> list[Tensor]:
        """Returns the output tensors of a run on other inputs of the same shapes."""
        return self._outputs(feed_of(self._session, self._exported.input_names, tensors_of(example_inputs)))

    def _outputs(self, feed: Mapping[str, Any]) -> list[Tensor]:
        return plain_tensors([torch.from_numpy(np.array(value)) for value in self._session.run(None, feed)])

    def layer_times(self, rounds: int) -> LayerTimes:
        """Times every layer in a second session that writes ONNX Runtime's profile."""
        runs = self._runs(WARMUP + rounds)[WARMUP:]
        ran = [
            Ran(name, (name,), any(part in operator for part in CONTRACTIONS))
            for run in runs
            for name, operator in run.operators.items()
        ]
        homes = NodeHomes(self._exported).homes(ran)
        by_run = [summed(run.nodes, homes, run.total) for run in runs]
        return LayerTimes.of([{name: 1e-3 * time for name, time in one.items()} for one in by_run])

    def float_nodes(self) -> tuple[str, ...]:
        """The file's convolutions and matrix products that compute in float32, whatever the file says."""
        ran = [Ran(name, (name,), True) for name, kind in self._runs(1)[-1].operators.items() if kind in FLOAT]
        return NodeHomes(self._exported).contractions(ran)

    def _runs(self, rounds: int) -> list[ProfiledRun]:
        took = []
        with tempfile.TemporaryDirectory() as folder:
            session = make_session(self._exported.data, self._threads, profile=f"{folder}/profile")
            for _ in range(rounds):
                elapsed = Elapsed()
                session.run(None, self._feed)
                took.append(1e6 * elapsed.seconds)
            runs = runs_of(json.loads(Path(session.end_profiling()).read_text()))
        for run, microseconds in zip(runs, took, strict=True):
            run.total = min(run.total, microseconds)
        return runs


class ProfiledRun:
    """One run in a profile, in microseconds.

    Attributes:
        total: Of the whole run.
        nodes: By node.
        operators: What each node does.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.nodes: dict[str, float] = {}
        self.operators: dict[str, str] = {}


def runs_of(events: list[dict[str, Any]]) -> list[ProfiledRun]:
    """Splits the events of a profile into runs: the nodes of one come before its ``model_run``."""
    runs, current = [], ProfiledRun()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            current.nodes[name] = current.nodes.get(name, 0.0) + event["dur"]
            current.operators[name] = event["args"]["op_name"]
        elif event["name"] == "model_run":
            current.total = event["dur"]
            runs.append(current)
            current = ProfiledRun()
    return runs


def make_session(data: bytes | str, threads: int | None = None, profile: str | None = None) -> Any:
    """Opens a file's bytes, or a path, on the CPU.

    Raises:
        MeasureError: If ONNX Runtime refuses it.
    """
    onnxruntime = require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes have no public base
        raise MeasureError(f"ONNX Runtime cannot load the model: {error}") from error


def feed_of(session: Any, names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """What a session is fed; an input that the exporter found to be of no use is not in the file."""
    kinds = {given.name: given.type for given in session.get_inputs()}
    return {
        name: fed(tensor, in_float32=kinds[name] == "tensor(float)")
        for name, tensor in zip(names, tensors, strict=True)
        if name in kinds
    }


def fed(tensor: Tensor, *, in_float32: bool) -> np.ndarray[Any, Any]:
    """A tensor's values; a file of a network in another type may be of its float32 copy, as those of int8 are."""
    plain = tensor.float() if in_float32 and tensor.is_floating_point() else tensor
    return plain.detach().cpu().contiguous().numpy()


class OnnxRuntime:
    """ONNX Runtime."""

    name = "onnxruntime"
    tells_layers = True

    def version(self) -> str:
        """Returns ONNX Runtime's version."""
        return str(require("onnxruntime").__version__)

    def load(self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int) -> Session:
        """Converts the model in memory and opens it."""
        require("onnxruntime")
        return OnnxRuntimeSession(quick_onnx(model, example_inputs), tensors_of(example_inputs), threads)


RUNTIMES.register("onnxruntime")(OnnxRuntime())
