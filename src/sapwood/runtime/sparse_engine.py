"""``sapwood``: the sparse CPU engine, on which zeros of weights cost nothing, wherever they are."""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor, nn

import sapwood
from sapwood.errors import EngineError, EngineMissingError, MeasureError, MissingDependencyError
from sapwood.export import tensors_of
from sapwood.graph import output_tensors
from sapwood.runtime.base import RUNTIME, RUNTIMES, WARMUP, LayerTimes, Session
from sapwood.runtime.engine import compile as compile_model
from sapwood.types import ExampleInputs


class EngineSession:
    """A compiled model."""

    def __init__(self, model: nn.Module, example_inputs: ExampleInputs, threads: int) -> None:
        self._inputs = tensors_of(example_inputs)
        self._compiled = compile_model(model, example_inputs, threads=threads)

    def __call__(self) -> object:
        """Runs once."""
        return self._compiled(*self._inputs)

    def outputs(self) -> list[Tensor]:
        """Returns the output tensors of one run."""
        return output_tensors(self())

    def layer_times(self, rounds: int) -> LayerTimes:
        """Times every operation; changes of layout are the runtime's."""
        return LayerTimes.of([self._run_times() for _ in range(WARMUP + rounds)][WARMUP:])

    def _run_times(self) -> dict[str, float]:
        times: dict[str, float] = defaultdict(float)
        for step, milliseconds in self._compiled.timed(*self._inputs):
            times[RUNTIME if step.own else step.label] += milliseconds * len(self._inputs[0])
        return times


class SparseEngine:
    """Sapwood's own engine."""

    name = "sapwood"
    tells_layers = True

    def version(self) -> str:
        """Returns Sapwood's version."""
        return sapwood.__version__

    def load(self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int) -> Session:
        """Compiles a copy of the model."""
        try:
            return EngineSession(model, example_inputs, threads)
        except EngineMissingError as error:
            raise MissingDependencyError(str(error)) from error
        except EngineError as error:
            raise MeasureError(str(error)) from error


RUNTIMES.register("sapwood")(SparseEngine())
