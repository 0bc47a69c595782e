"""Everything that is measured of one candidate alone; its time is measured among the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sapwood.cases import Candidate, CaseRow
from sapwood.comparing.density import density_map
from sapwood.comparing.own import Measure, evaluate_by
from sapwood.comparing.pictures import find_in
from sapwood.data import OnBad
from sapwood.errors import MeasureError
from sapwood.masks import masking_state
from sapwood.measure import count_macs, count_nonzeros, count_params, file_size_bytes, peak_memory
from sapwood.report import Accuracy, CaseResult, Layer, Macs, PictureResult
from sapwood.runtime import model_call
from sapwood.tasks import evaluate
from sapwood.types import Dataset, Evaluation, ModelBundle, Picture


@dataclass(frozen=True)
class CompareSettings:
    """How a comparison measures.

    Attributes:
        score_threshold: Detections below are left out of the accuracy.
        iou_threshold: Overlap above which NMS drops the weaker box.
        shown_score_threshold: Detections below are left out of the chosen pictures.
        batch_size: Pictures a forward pass, for the accuracy.
        latency_rounds: Rounds in which every case runs once; 0 measures no time.
        threads: Threads PyTorch may use meanwhile; as it is if None.
        resamples: Samples of the pictures that accuracy is formed of, too, for what depends on the pictures; 0: none.
        on_bad: ``"error"`` stops at a picture that cannot be read, ``"skip"`` leaves it out and lists it.
        agreement_pictures: Pictures on which cases are compared with what the baseline finds, at most; 0 leaves it out.
    """

    score_threshold: float = 0.005
    iou_threshold: float = 0.45
    shown_score_threshold: float = 0.25
    batch_size: int = 8
    latency_rounds: int = 30
    threads: int | None = None
    resamples: int = 400
    on_bad: OnBad = "error"
    agreement_pictures: int = 256


@dataclass(frozen=True)
class MeasuringSetup:
    """What every candidate is measured on."""

    dataset: Dataset
    pictures: Mapping[str, Picture]
    settings: CompareSettings
    measure: Measure | None = None


def measure_case(
    row: CaseRow, candidate: Candidate, subject: MeasuringSetup, progress: Callable[[int, int], None] | None = None
) -> CaseResult:
    """Measures a candidate: accuracy, finds in the chosen pictures, size, work, memory, zeros layer by layer.

    Args:
        row: The case, for its name and settings.
        candidate: Its model.
        subject: Data set, pictures and settings.
        progress: Called with the data set's pictures done and those in all.

    Returns:
        The case's line of the record, without its time.
    """
    bundle, settings = candidate.bundle, subject.settings
    evaluation = _evaluated(candidate.running, subject, progress)
    found: tuple[PictureResult, ...] = ()
    if subject.pictures:
        found = find_in(
            candidate.running,
            subject.pictures,
            score_threshold=settings.shown_score_threshold,
            iou_threshold=settings.iou_threshold,
        )
    return CaseResult(
        **case_head(row),
        accuracy=_accuracy(evaluation),
        pictures=found,
        params=count_params(bundle.model),
        nonzeros=count_nonzeros(bundle.model),
        file_bytes=file_size_bytes(bundle.model),
        macs=_macs(bundle),
        peak_memory_bytes=_peak_memory(bundle),
        layers=_layers(bundle),
        notes=candidate.notes,
    )


def _evaluated(bundle: ModelBundle, subject: MeasuringSetup, progress: Callable[[int, int], None] | None) -> Evaluation:
    """How good a model is: by the user's own measure, where there is one."""
    settings = subject.settings
    if subject.measure is not None:
        return evaluate_by(subject.measure, bundle.model, len(subject.dataset.samples))
    return evaluate(
        bundle,
        subject.dataset,
        batch_size=settings.batch_size,
        score_threshold=settings.score_threshold,
        iou_threshold=settings.iou_threshold,
        on_bad=settings.on_bad,
        progress=progress,
        resamples=settings.resamples,
    )


def case_head(row: CaseRow) -> dict[str, Any]:
    """Returns the fields of a case's record that its row alone gives."""
    settings = row.model_dump(mode="json", exclude={"name", "family"}, exclude_none=True)
    settings = {
        name: str(value) if value in (float("inf"), float("-inf")) else value for name, value in settings.items()
    }
    return {"name": row.name, "kind": row.kind, "family": row.family, "level": row.level(), "settings": settings}


def _accuracy(evaluation: Evaluation) -> Accuracy:
    return Accuracy(
        primary=evaluation.primary,
        metrics=dict(evaluation.metrics),
        per_class=dict(evaluation.per_class),
        num_images=evaluation.num_images,
        seconds={part: round(seconds, 4) for part, seconds in evaluation.seconds.items()},
        skipped=evaluation.skipped,
        resampled=evaluation.resampled or None,
    )


def _macs(bundle: ModelBundle) -> Macs:
    count = count_macs(bundle.model, bundle.example_inputs)
    return Macs(total=count.total, nonzero=count.nonzero_macs, uncounted=count.uncounted)


def _peak_memory(bundle: ModelBundle) -> int | None:
    """Bytes that one pass of one picture needs at most; None where the system does not tell."""
    try:
        return int(peak_memory(model_call(bundle.model, bundle.example_inputs)).value)
    except MeasureError:
        return None


def _layers(bundle: ModelBundle) -> tuple[Layer, ...]:
    values = dict(bundle.model.named_parameters(remove_duplicate=False))
    return tuple(
        Layer(
            name=tensor.name,
            kind=tensor.kind,
            numel=tensor.num_params,
            zeros=tensor.num_zeros,
            shape=tuple(values[tensor.name].shape) if tensor.name in values else None,
            density=density_map(values[tensor.name].detach()) if tensor.num_zeros and tensor.name in values else None,
        )
        for tensor in masking_state(bundle.model).tensors
    )
