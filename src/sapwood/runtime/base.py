"""The contract of a runtime: a model and its inputs in, something to call, to check and to time by layer out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from sapwood.layer_times import OVERHEAD, RUNTIME
from sapwood.registry import Registry
from sapwood.types import ExampleInputs

__all__ = [
    "OVERHEAD",
    "RUNTIME",
    "RUNTIMES",
    "WARMUP",
    "Calibrated",
    "LayerTimes",
    "OpenSession",
    "Reopens",
    "Runtime",
    "Session",
    "is_exact",
]


class LayerTimes(dict[str, float]):
    """Median milliseconds of each layer, and how far the runs were apart.

    Attributes:
        quartiles: The middle half of each layer's times.
        whole: Quartiles and median of the sums of all layers, run by run.

    Examples:
        >>> times = LayerTimes.of([{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, {"a": 5.0}])
        >>> times, times.quartiles["a"], times.whole
        ({'a': 2.0, 'b': 1.0}, (1.5, 3.5), (2.5, 3.0, 4.0))
    """

    def __init__(self, medians: Mapping[str, float] | Iterable[tuple[str, float]] = ()) -> None:
        super().__init__(medians)
        self.quartiles: dict[str, tuple[float, float]] = {}
        self.whole: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, runs: Sequence[Mapping[str, float]], names: Iterable[str] | None = None) -> LayerTimes:
        """Sums runs up; a layer that is not in one took no time there.

        Args:
            runs: Milliseconds of the layers in each.
            names: The layers in the order wanted; as they come, where None.
        """
        found = cls()
        for name in dict.fromkeys(name for one in runs for name in one) if names is None else names:
            low, found[name], high = _quarters([one.get(name, 0.0) for one in runs])
            found.quartiles[name] = (low, high)
        found.whole = _quarters([sum(one.values()) for one in runs])
        return found


def _quarters(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return low, middle, high


class Session(Protocol):
    """A model that is ready to run on its example inputs."""

    def __call__(self) -> object:
        """Runs once: what :func:`sapwood.measure.measure_latency` times."""

    def outputs(self) -> list[Tensor]:
        """Returns what one run gives: all tensors in a flat list, float32 on the CPU."""

    def layer_times(self, rounds: int) -> Mapping[str, float] | None:
        """Times every layer.

        Args:
            rounds: Runs to take the median of, after two that do not count.

        Returns:
            Milliseconds a run by the module's path in the model (``"layers.4.conv"``; ``""`` is the model itself), what
            its children take not included; :data:`RUNTIME` and :data:`OVERHEAD` for what is no module's. What a runtime
            fuses counts for the convolution or matrix product in it. None where the runtime cannot tell, which its
            ``tells_layers`` says before anything is loaded. :class:`LayerTimes` also say how far the runs were apart;
            from a plain mapping that is not known.
        """


@runtime_checkable
class OpenSession(Protocol):
    """A session that takes other inputs, too: one that accuracy can be measured on."""

    def run(self, example_inputs: ExampleInputs) -> list[Tensor]:
        """Returns what a run on these gives, as :meth:`Session.outputs`; shapes are those that it was loaded with."""


@runtime_checkable
class Reopens(Protocol):
    """A session that can be opened anew from the file that it was made of: quantising one takes seconds."""

    def again(self) -> Session:
        """Returns the same, with memory of its own."""


@runtime_checkable
class Calibrated(Protocol):
    """A runtime that has to see inputs before it can compute with them: int8.

    Its :meth:`Runtime.load` looks at the example inputs and at random ones, which is enough to time it: values do not
    change what a call takes.
    """

    def load_calibrated(
        self, model: nn.Module, example_inputs: ExampleInputs, calibration: Sequence[ExampleInputs], *, threads: int
    ) -> Session:
        """Makes a model ready to run with inputs such as ``calibration``, as :meth:`Runtime.load` does.

        Raises:
            ExportError: If no layer can be quantised.
        """


class Runtime(Protocol):
    """A way to run a model on the CPU."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def tells_layers(self) -> bool:
        """Whether its sessions tell what each layer takes (:meth:`Session.layer_times`)."""

    def version(self) -> str:
        """Returns the version of its package.

        Raises:
            MissingDependencyError: If that is not installed.
        """

    def load(self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int) -> Session:
        """Makes a model ready to run.

        Args:
            model: Any module; it is as before afterwards, and while sessions are not running.
            example_inputs: What every run gets.
            threads: Threads a run may use.

        Raises:
            MissingDependencyError: If a package or a compiler is missing.
            MeasureError: If the runtime cannot run the model.
        """


def is_exact(runtime: Runtime) -> bool:
    """Whether a runtime's sessions give what the model gives, but for rounding: no runtime of int8 does.

    A runtime says that it does not by ``exact = False``.
    """
    return bool(getattr(runtime, "exact", True))


RUNTIMES: Registry[Runtime] = Registry(
    "runtime",
    entry_points="sapwood.runtimes",
    others={
        "compile": "torch-compile", "eager": "torch", "engine": "sapwood", "inductor": "torch-compile",
        "onnx": "onnxruntime", "ort": "onnxruntime", "pytorch": "torch", "sapwoodengine": "sapwood",
        "sparseengine": "sapwood",
    },
)  # fmt: skip
"""The runtimes by name; a file of this folder registers each."""

WARMUP = 2
"""Runs before those that layers are timed in."""
