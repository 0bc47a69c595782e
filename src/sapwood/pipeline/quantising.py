"""A network as an int8 file: quantised, measured on the runtime that will run it, and only then in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sapwood.errors import CheckFailedError, ConfigError, NoDataSetError
from sapwood.export import (
    FLOAT32_TOLERANCE,
    CheckedSource,
    Exported,
    Left,
    check_equal,
    checked_path,
    checked_source,
    chosen_kind,
    contractions,
    left_out,
    ranked,
    save_int8,
    tensors_of,
)
from sapwood.files import check_pair, new_files
from sapwood.goals import Deployment, pictures_without_labels
from sapwood.pipeline.agreeing import agreement
from sapwood.pipeline.running import in_float32
from sapwood.runtime import Int8Session, int8_session, opened_int8, running_on
from sapwood.tasks import evaluate, open_data, open_pictures
from sapwood.types import Dataset, ExampleInputs, ModelBundle

Stage = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Opens a progress bar for a stage of the work."""

RUNTIME_OF = {"onnx": "onnxruntime-int8", "openvino": "openvino-int8"}
"""Formats that have int8, and where it is measured."""

MOST_MEASURED = 500
"""Pictures that agreement and accuracy are measured on, at most."""

HARMFUL = "--int8-max-drop"


@dataclass(frozen=True)
class Int8Options:
    """How a network is quantised.

    Attributes:
        data: A data set that fits the network's task, or any folder of pictures.
        train_split: The part of it that ranges are taken from; its labels are not looked at.
        split: The part that is measured on.
        num_pictures: Pictures that ranges are taken from, at most.
        ignore: Globs of layers that stay in float32.
        max_drop: How much accuracy may be lost, as mAP@0.5 or top-1 in [0, 1]; of pictures without labels, how much of
            what float32 finds. None: any.
        threads: Threads the runtime may use; all cores where None.
        seed: Chooses the pictures.
    """

    data: str
    train_split: str = "train"
    split: str = "val"
    num_pictures: int = 128
    ignore: tuple[str, ...] = ()
    max_drop: float | None = None
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0.0 <= self.max_drop < 1.0:
            raise ConfigError(f"--int8-max-drop {self.max_drop:g}; expected a number in [0, 1)")


@dataclass(frozen=True)
class Judged:
    """How good an int8 network is.

    Attributes:
        agreement: See :func:`sapwood.pipeline.agreeing.agreement`.
        metric: What accuracy is; None without labels.
        before: The accuracy in float32, in PyTorch.
        after: That of int8, on its runtime.
    """

    agreement: float
    metric: str | None = None
    before: float | None = None
    after: float | None = None

    @property
    def drop(self) -> float:
        """What was lost: of the accuracy, or without labels of the agreement."""
        return 1.0 - self.agreement if self.before is None or self.after is None else self.before - self.after


@dataclass(frozen=True)
class Int8File:
    """What was written.

    Attributes:
        exported: The files; the error is that of the float32 network that was quantised.
        runtime: What it was measured on.
        kind: The integers, for the reader.
        num_layers: Convolutions and matrix products of the network.
        num_int8: How many of them compute in int8.
        left: Layers that stayed in float32, and why.
        num_calibrated: Pictures that ranges were taken from.
        num_measured: Pictures that it was measured on.
        judged: How good it is.
    """

    exported: Exported
    runtime: str
    kind: str
    num_layers: int
    num_int8: int
    left: Mapping[str, str]
    num_calibrated: int
    num_measured: int
    judged: Judged


def export_int8(
    bundle: ModelBundle,
    file_format: str,
    path: Path,
    options: Int8Options,
    *,
    example_inputs: ExampleInputs | None = None,
    dynamic_batch: bool = False,
    stage: Stage,
) -> Int8File:
    """Quantises a network and writes it.

    Args:
        bundle: A detector or classifier that takes one batch of pictures. Read only.
        file_format: ``"onnx"`` or ``"openvino"``.
        path: Of the file.
        options: Pictures and limits.
        example_inputs: With the batch that the file runs with; the bundle's where None.
        dynamic_batch: The file runs with any batch size.
        stage: Opens a progress bar.

    Raises:
        ConfigError: If the format has no int8, or an option does not fit the network.
        DataError: If there are no pictures.
        MissingDependencyError: If a package is missing.
        ExportError: If the network cannot be converted or quantised.
        CheckFailedError: If a scale is not finite, or the file is worse than ``max_drop`` says; nothing is written.
    """
    if file_format not in RUNTIME_OF:
        raise ConfigError(f"{file_format} files hold no int8; expected --format {' or '.join(sorted(RUNTIME_OF))}")
    checked_path(path, ".onnx" if file_format == "onnx" else ".xml")
    inputs = bundle.example_inputs if example_inputs is None else example_inputs
    if not isinstance(inputs, Tensor):
        raise ConfigError(f"{bundle.source.spec} takes {type(inputs).__name__}; expected one batch of pictures")
    measured, labelled = _measured_on(bundle, options)
    batches = pictures_without_labels(
        bundle, options.data, split=options.train_split, num_pictures=options.num_pictures, seed=options.seed
    )
    pictures = [batch for batch in batches if isinstance(batch, Tensor)]
    source = checked_source(bundle.model, inputs, str(path), dynamic_batch=dynamic_batch, task=bundle.task)
    work = _Quantising(
        in_float32(bundle), source, RUNTIME_OF[file_format], pictures, measured, labelled, options, stage
    )
    session, left, judged = work.found(str(path))
    files = _written(session, file_format, path, source, work.threads)
    names = source.onnx.input_names
    exported = Exported(file_format, files, source.max_relative_error, FLOAT32_TOLERANCE, names, source.outputs)
    layers = contractions(source.onnx, work.runtime)
    slow = frozenset(session.float_nodes())
    why = f"{work.runtime} computes it in float32"
    reasons = {layer.name: why for layer in layers if layer.node in slow} | dict(left.reasons)
    return Int8File(
        exported=exported,
        runtime=work.runtime,
        kind=chosen_kind().title,
        num_layers=len(layers),
        num_int8=sum(layer.node not in left.nodes | slow for layer in layers),
        left=reasons,
        num_calibrated=sum(map(len, pictures)),
        num_measured=len(measured.samples),
        judged=judged,
    )


@dataclass
class _Quantising:
    """One network that is quantised, more than once where accuracy asks for it."""

    bundle: ModelBundle
    source: CheckedSource
    runtime: str
    pictures: Sequence[Tensor]
    measured: Dataset
    labelled: bool
    options: Int8Options
    stage: Stage
    _before: tuple[str, float] | None = field(default=None, init=False)

    @property
    def threads(self) -> int:
        """Threads of the runtime."""
        return Deployment("torch", self.options.threads).num_threads

    @property
    def batches(self) -> list[Tensor]:
        """The pictures in batches of the file's size; the last one begins anew where they run out."""
        size = len(tensors_of(self.source.example_inputs)[0])
        return batches_of(self.pictures, size)

    def found(self, what: str) -> tuple[Int8Session, Left, Judged]:
        """The network with the fewest layers in float32 that loses no more than it may.

        Raises:
            CheckFailedError: If none does.
        """
        left = left_out(self.source.onnx, self.runtime, self.options.ignore)
        session, judged = self._tried(left)
        most = self.options.max_drop
        if most is None or judged.drop <= most:
            return session, left, judged
        with self.stage("layers") as progress:
            inputs = [(batch,) for batch in self.batches]
            order = ranked(self.source.onnx, inputs, left, self.runtime, progress)
        first, best = judged, None
        fails, holds = 0, len(order)  # so many layers in float32 are too few; all of them are no int8 any more
        while holds - fails > 1:
            middle = (fails + holds) // 2
            more = left.with_layers(order[:middle], HARMFUL)
            session, judged = self._tried(more)
            if judged.drop <= most:
                holds, best = middle, (session, more, judged)
            else:
                fails = middle
        if best is None:
            raise CheckFailedError(_too_bad(what, first, most, len(order)))
        return best

    def _tried(self, left: Left) -> tuple[Int8Session, Judged]:
        """Quantises all but what is left, and measures it."""
        inputs = tensors_of(self.source.example_inputs)[0]
        session = int8_session(self.runtime, self.source.onnx, inputs, self.batches, left=left, threads=self.threads)
        twin = running_on(session, self.bundle.model, inputs)
        return session, self._judged(replace(self.bundle, model=twin))

    def _judged(self, quantised: ModelBundle) -> Judged:
        same = agreement(self.bundle, quantised, self.measured)
        if not self.labelled:
            return Judged(same)
        if self._before is None:
            with self.stage("float32") as progress:
                dense = evaluate(self.bundle, self.measured, progress=progress)
            self._before = dense.primary, dense.metrics[dense.primary]
        with self.stage("int8") as progress:
            found = evaluate(quantised, self.measured, progress=progress)
        return Judged(same, self._before[0], self._before[1], found.metrics[found.primary])


def batches_of(pictures: Sequence[Tensor], size: int) -> list[Tensor]:
    """Batches of one size; what is lacking to the last one is taken from the first pictures.

    Examples:
        >>> [batch.tolist() for batch in batches_of([torch.tensor([1, 2]), torch.tensor([3])], 2)]
        [[1, 2], [3, 1]]
    """
    rows = [row for batch in pictures for row in batch]
    rows += [rows[index % len(rows)] for index in range(-len(rows) % size)]
    return [torch.stack(rows[at : at + size]) for at in range(0, len(rows), size)]


def _measured_on(bundle: ModelBundle, options: Int8Options) -> tuple[Dataset, bool]:
    """The pictures that it is measured on, and whether they have labels."""
    try:
        dataset, labelled = open_data(bundle, options.data, split=options.split), True
    except NoDataSetError:
        dataset, labelled = open_pictures(bundle, options.data, split=options.split), False
    few: Any = spread(dataset.samples, MOST_MEASURED)
    return replace(dataset, samples=few), labelled


def spread(samples: Sequence[Any], most: int) -> tuple[Any, ...]:
    """So many of the samples, from one end to the other: those of a folder come class by class.

    Examples:
        >>> spread("aabbccdd", 4), spread("ab", 4)
        (('a', 'b', 'c', 'd'), ('a', 'b'))
    """
    count = min(len(samples), most)
    return tuple(samples[place * len(samples) // count] for place in range(count))


def _written(
    session: Int8Session, file_format: str, path: Path, source: CheckedSource, threads: int
) -> tuple[Path, ...]:
    """Writes what a session runs, reads it back and compares; both of OpenVINO's files go to their places together."""
    places = (path,) if file_format == "onnx" else (path.with_suffix(".bin"), path)
    if len(places) > 1:
        check_pair(*places[::-1])
    with new_files(*places) as written:
        save_int8(session.content, written[-1])
        again = opened_int8(written[-1], source.onnx, source.example_inputs, threads=threads)
        check_equal(str(path), again.outputs(), session.outputs())
    return places[::-1]


def _too_bad(what: str, judged: Judged, most: float, number: int) -> str:
    figure = "agreement with float32" if judged.metric is None else judged.metric
    values = "" if judged.before is None else f" ({judged.before:.4f} to {judged.after:.4f})"
    return (
        f"{what}: int8 loses {judged.drop:.4f} of {figure}{values}, and more than {most:g} with all but one of "
        f"{number} layers in float32; expected at most that. Nothing was written"
    )


def int8_details(result: Int8File) -> dict[str, Any]:
    """What a file's record says beside what every export does."""
    judged = result.judged
    return {
        "int8": {
            "runtime": result.runtime,
            "kind": result.kind,
            "num_layers": result.num_layers,
            "num_int8": result.num_int8,
            "float32_layers": dict(result.left),
            "num_calibrated": result.num_calibrated,
            "num_measured": result.num_measured,
            "agreement": judged.agreement,
            "metric": judged.metric,
            "float32": judged.before,
            "accuracy": judged.after,
        }
    }
