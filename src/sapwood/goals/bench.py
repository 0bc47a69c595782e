"""Where a model will run: loaded there, timed layer by layer, and the files that remember what was measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sapwood.caches import cache_folder
from sapwood.fingerprints import key_of
from sapwood.goals.targets import Deployment
from sapwood.graph import Analysis
from sapwood.measure import machine
from sapwood.models import map_tensors
from sapwood.runtime import RUNTIMES, LayerTimes, Reopens, Session
from sapwood.types import ExampleInputs

ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables that keep a runtime from instructions that the machine has: with them it is another machine."""

ROUNDS = 12
"""Runs of each network; the median of each layer counts."""


@dataclass(frozen=True)
class Bench:
    """A model on the runtime it will run on.

    Attributes:
        inputs: Example inputs with the batch it runs with.
        deployment: Runtime and threads.
    """

    inputs: ExampleInputs
    deployment: Deployment

    @staticmethod
    def of(inputs: ExampleInputs, deployment: Deployment) -> Bench:
        """Example inputs, with the batch that the deployment says."""
        return Bench(with_batch(inputs, deployment.batch), deployment)

    def load(self, model: nn.Module) -> Session:
        """The model, ready to be called."""
        return RUNTIMES[self.deployment.runtime].load(model, self.inputs, threads=self.deployment.num_threads)

    def again(self, model: nn.Module, session: Session | None) -> Session:
        """The model once more, from the session's own file where it has one; loaded where there is no session."""
        return session.again() if isinstance(session, Reopens) else self.load(model)

    def layer_times(self, model: nn.Module, rounds: int = ROUNDS) -> LayerTimes | None:
        """Milliseconds of each layer; None where the runtime cannot tell."""
        return session_times(self.load(model), rounds)


def session_times(session: Session, rounds: int) -> LayerTimes | None:
    """Milliseconds of each layer of a model that is loaded; None where the runtime cannot tell."""
    times = session.layer_times(rounds)
    return times if times is None or isinstance(times, LayerTimes) else LayerTimes(times)


def with_batch(inputs: ExampleInputs, batch: int | None) -> ExampleInputs:
    """Example inputs with another batch size: the first example of every tensor, repeated."""
    if batch is None:
        return inputs

    def repeated(leaf: Tensor) -> Tensor:
        return leaf if not leaf.dim() else leaf[:1].expand(batch, *leaf.shape[1:]).contiguous()

    return map_tensors(repeated, inputs)  # type: ignore[no-any-return]


def cache_path(folder: str, shapes: Sequence[Any], bench: Bench, *, samples: Sequence[Any], version: int) -> Path:
    """The file that remembers what was measured of a model on this machine; weights do not matter.

    Args:
        folder: In the cache folder (``$SAPWOOD_CACHE``, else ``~/.cache/sapwood``).
        shapes: Of the model: what was measured hangs on them; see :func:`call_shapes`.
        bench: Where it was measured: the runtime with its version, threads and batch.
        samples: What networks were made, and how often each ran.
        version: Of the file's format; files of another one are not found.
    """
    key = key_of(
        {
            "format": version,
            "machine": {name: value for name, value in machine().items() if name != "threads"},
            "runtime": [bench.deployment.runtime, RUNTIMES[bench.deployment.runtime].version()],
            "threads": bench.deployment.num_threads,
            "batch": bench.deployment.batch,
            "samples": list(samples),
            "model": list(shapes),
            **{name: os.environ[name] for name in ISA_LIMITS if name in os.environ},
        }
    )
    return cache_folder() / folder / f"{key}.json"


def call_shapes(analysis: Analysis) -> list[Any]:
    """What a model calls, where, and on tensors of which shapes."""
    return [(call.name, call.module, [ref.shape for ref in call.tensor_inputs()]) for call in analysis.graph.evaluated]
