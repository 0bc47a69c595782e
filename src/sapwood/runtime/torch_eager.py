"""``torch``: the model as its user runs it, in evaluation and inference mode."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.export import plain_tensors
from sapwood.graph import output_tensors
from sapwood.runtime.allocator import kept_memory
from sapwood.runtime.base import RUNTIMES, WARMUP, LayerTimes, Session
from sapwood.runtime.calling import model_call, torch_threads
from sapwood.types import ExampleInputs


class EagerSession:
    """The model itself, live masks and all; each call sets and resets its training mode where that differs."""

    def __init__(self, model: nn.Module, example_inputs: ExampleInputs, threads: int) -> None:
        self._model = model
        self._call = model_call(model, example_inputs)
        self._threads = threads

    def __call__(self) -> object:
        """Runs once."""
        with torch_threads(self._threads):
            return self._call()

    def outputs(self) -> list[Tensor]:
        """Returns the output tensors of one run."""
        return plain_tensors(output_tensors(self()))

    def layer_times(self, rounds: int) -> LayerTimes:
        """Times every module that is called, by hooks on it; the hooks are gone afterwards."""
        clock = _ModuleClock(self._model)
        with clock.running(), kept_memory():
            for _ in range(WARMUP):
                self()
            clock.rounds.clear()
            for _ in range(rounds):
                clock.rounds.append(defaultdict(float))
                self()
        names = {name for one in clock.rounds for name in one}
        return LayerTimes.of(
            [{name: 1e3 * seconds for name, seconds in one.items()} for one in clock.rounds],
            [name for name, _ in self._model.named_modules() if name in names],
        )


class _ModuleClock:
    """Adds up the seconds of each module without those of the modules it calls."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.rounds: list[dict[str, float]] = []
        self._started: list[float] = []
        self._of_children: list[float] = [0.0]

    def _enter(self, *_: Any) -> None:
        self._of_children.append(0.0)
        self._started.append(time.perf_counter())

    def _leave(self, name: str) -> Any:
        def leave(*_: Any) -> None:
            took = time.perf_counter() - self._started.pop()
            own = took - self._of_children.pop()
            self._of_children[-1] += took
            if self.rounds:
                self.rounds[-1][name] += own

        return leave

    @contextmanager
    def running(self) -> Iterator[None]:
        """The hooks are there inside."""
        handles = []
        try:
            for name, module in self._model.named_modules():
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(self._leave(name), always_call=True))
            yield
        finally:
            for handle in handles:
                handle.remove()


class TorchRuntime:
    """PyTorch, eager."""

    name = "torch"
    tells_layers = True

    def version(self) -> str:
        """Returns PyTorch's version."""
        return str(torch.__version__)

    def load(self, model: nn.Module, example_inputs: ExampleInputs, *, threads: int) -> Session:
        """Makes a session of the model itself."""
        return EagerSession(model, example_inputs, threads)


RUNTIMES.register("torch")(TorchRuntime())
