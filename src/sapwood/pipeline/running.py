"""A network that a runtime runs, so that what is measured of it is that runtime's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from sapwood.errors import ConfigError
from sapwood.export import in_float32 as model_in_float32
from sapwood.goals import Deployment
from sapwood.runtime import RUNTIMES, Calibrated, OpenSession, Session, compile, running_on
from sapwood.tasks import Inputs
from sapwood.types import ModelBundle

Pictures = Callable[[], Sequence[Inputs]]
"""Reads batches of pictures as the network takes them."""


def on_runtime(
    bundle: ModelBundle, runtime: str, *, pictures: Pictures | None = None, threads: int | None = None
) -> ModelBundle:
    """Returns the same network as a runtime runs it, picture by picture.

    Args:
        bundle: A network that takes one batch of pictures. Read only.
        runtime: A name in :data:`sapwood.runtime.RUNTIMES`.
        pictures: Reads those that int8 takes its ranges from; called where the runtime asks for them.
        threads: Threads the runtime may use; all cores where None.

    Raises:
        ConfigError: If the runtime can only be timed, or needs pictures and there are none.
        MissingDependencyError: If a package is missing.
    """
    if isinstance(RUNTIMES[runtime], Calibrated):
        bundle = in_float32(bundle)
    inputs, number = bundle.example_inputs, Deployment(runtime, threads).num_threads
    if runtime == "sapwood":
        return replace(bundle, model=compile(bundle.model, inputs, threads=threads))
    if not isinstance(inputs, Tensor):
        raise ConfigError(f"{bundle.source.spec} takes {type(inputs).__name__}; expected one batch of pictures")
    session = _session(bundle, runtime, inputs, pictures, number)
    if not isinstance(session, OpenSession):
        able = "onnxruntime, onnxruntime-int8, openvino, openvino-int8, sapwood, torch"
        raise ConfigError(f"{runtime} runs its example inputs only, so it can be timed; expected one of {able}")
    return replace(bundle, model=running_on(session, bundle.model, inputs))


def in_float32(bundle: ModelBundle) -> ModelBundle:
    """The network that int8 is made of: the same where its parameters are float32, else a copy that is."""
    model, inputs = model_in_float32(bundle.model, bundle.example_inputs)
    return bundle if model is bundle.model else replace(bundle, model=model, example_inputs=inputs)


def _session(bundle: ModelBundle, runtime: str, inputs: Tensor, pictures: Pictures | None, threads: int) -> Session:
    entry = RUNTIMES[runtime]
    if not isinstance(entry, Calibrated):
        return entry.load(bundle.model, inputs, threads=threads)
    entry.version()
    if pictures is None:
        raise ConfigError(f"{runtime} takes the range of every value from pictures; expected a data set")
    read = [row for batch in pictures() if isinstance(batch, Tensor) for row in batch]
    rows = [row.expand(len(inputs), *row.shape).contiguous() for row in read]
    return entry.load_calibrated(bundle.model, inputs, rows, threads=threads)
