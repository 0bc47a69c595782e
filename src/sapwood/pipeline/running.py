"""A network that a runtime runs, so that what is measured of it is that runtime's."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from sapwood.errors import ConfigError
from sapwood.goals import Deployment, pictures_without_labels
from sapwood.runtime import RUNTIMES, Calibrated, Runner, compile, running_on
from sapwood.types import ModelBundle

NUM_CALIBRATED = 128
"""Pictures that int8 takes its ranges from, at most."""


def on_runtime(
    bundle: ModelBundle,
    runtime: str,
    *,
    data: str | None = None,
    train_split: str = "train",
    threads: int | None = None,
    seed: int = 0,
) -> ModelBundle:
    """Returns the same network as a runtime runs it, picture by picture.

    Args:
        bundle: A network that takes one batch of pictures. Read only.
        runtime: A name in :data:`sapwood.runtime.RUNTIMES`.
        data: Where int8 takes its ranges from: a data set that fits the network's task, or a folder of pictures.
        train_split: The part of it; labels are not looked at.
        threads: Threads the runtime may use; all cores where None.
        seed: Chooses the pictures.

    Raises:
        ConfigError: If the runtime can only be timed, or needs pictures and there are none.
        MissingDependencyError: If a package is missing.
    """
    entry = RUNTIMES[runtime]
    if runtime == "sapwood":
        return replace(bundle, model=compile(bundle.model, bundle.example_inputs, threads=threads))
    inputs, number = bundle.example_inputs, Deployment(runtime, threads).num_threads
    if not isinstance(inputs, Tensor):
        raise ConfigError(f"{bundle.source.spec} takes {type(inputs).__name__}; expected one batch of pictures")
    if isinstance(entry, Calibrated):
        if data is None:
            raise ConfigError(f"{runtime} takes the range of every value from pictures; expected a data set")
        pictures = pictures_without_labels(bundle, data, split=train_split, num_pictures=NUM_CALIBRATED, seed=seed)
        read = [row for batch in pictures if isinstance(batch, Tensor) for row in batch]
        rows = [row[None].expand(len(inputs), *row.shape).contiguous() for row in read]
        session = entry.load_calibrated(bundle.model, inputs, rows, threads=number)
    else:
        session = entry.load(bundle.model, inputs, threads=number)
    if not isinstance(session, Runner):
        able = "onnxruntime, onnxruntime-int8, openvino, openvino-int8, sapwood, torch"
        raise ConfigError(f"{runtime} runs its example inputs only, so it can be timed; expected one of {able}")
    return replace(bundle, model=running_on(session, bundle.model, inputs))
