"""The tables of the page: what stands in each cell, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sapwood.report import formats
from sapwood.report.findings import Tone, speed
from sapwood.report.plots.layers import touched_layers
from sapwood.report.records import CaseResult, Comparison, Latency, Pruning
from sapwood.report.standing import LOSES, REFERENCE, keeps, reference, retained, usable
from sapwood.report.sureness import sure_text, within_noise
from sapwood.report.table import TextTable, columns


@dataclass(frozen=True)
class Row:
    """One case in the main table.

    Attributes:
        number: Of the case, from 0.
        full_name: The case's name, whole.
        name: The case's name, without its family's where that stands above it.
        tone: How much of the accuracy is left.
        left: Accuracy left, in percent of the baseline's, for the bar in the cell.
        metrics: Every figure of accuracy, the primary first, each with its difference to the baseline.
        sure: How far the primary figure depends on the pictures.
        noise: Whether the loss is within that.
        engine: The time on the sparse engine, as a ratio to the unpruned network on the reference runtime.
        use: Whether it is faster and keeps its accuracy.
        values: What a column is sorted by, by its name.
        error: Why there are no figures.
    """

    number: int
    full_name: str
    name: str
    tone: Tone
    left: float
    metrics: tuple[tuple[str, str], ...]
    sparsity: str = formats.MISSING
    params: str = formats.MISSING
    nonzeros: str = formats.MISSING
    file_size: str = formats.MISSING
    macs: str = formats.MISSING
    macs_nonzero: str = formats.MISSING
    time: str = formats.MISSING
    time_spread: str = ""
    time_tone: Tone = "plain"
    onnxruntime: str = ""
    onnxruntime_spread: str = ""
    engine: str = ""
    engine_spread: str = ""
    sure: str = ""
    noise: bool = False
    use: bool = False
    values: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowGroup:
    """A family's rows under its name; no name above a case that stands alone."""

    family: str | None
    rows: tuple[Row, ...]


def row_groups(comparison: Comparison) -> tuple[RowGroup, ...]:
    """Returns the main table: the baseline, then the families in the order of the record."""
    groups: dict[str, list[CaseResult]] = {}
    for case in comparison.cases:
        groups.setdefault(case.family, []).append(case)
    return tuple(_group(family, cases, comparison) for family, cases in groups.items())


def metric_names(comparison: Comparison) -> tuple[str, ...]:
    """Returns the names of the accuracy figures, the primary one first."""
    accuracy = comparison.baseline.accuracy
    if accuracy is None:
        return (comparison.primary,)
    return (accuracy.primary, *(name for name in accuracy.metrics if name != accuracy.primary))


def has_engine(comparison: Comparison) -> bool:
    """Whether a case was timed on the sparse engine."""
    return any(case.engine is not None or "sapwood" in case.runtimes for case in comparison.cases)


def has_reference(comparison: Comparison) -> bool:
    """Whether the unpruned network was timed on ONNX Runtime, and cases against it."""
    return reference(comparison) == REFERENCE


def emptiest_of_use(comparison: Comparison) -> CaseResult | None:
    """The case with the most zeros that keeps its accuracy, whose maps of zeros are worth a look."""
    mapped = [case for case in comparison.candidates if any(layer.density for layer in case.layers)]
    return max((case for case in mapped if keeps(case, comparison)), key=lambda case: case.sparsity, default=None)


def per_class_table(comparison: Comparison) -> TextTable:
    """Returns a row a class: its figure in each of the cases that have figures."""
    found = {case.name: case.accuracy.per_class for case in comparison.cases if case.accuracy is not None}
    classes = dict.fromkeys(name for figures in found.values() for name in figures)
    rows = tuple((name, *(formats.score(figures.get(name)) for figures in found.values())) for name in classes)
    return TextTable(f"{comparison.primary} class by class", columns("Class", *found), rows)


def layer_table(comparison: Comparison) -> TextTable:
    """Returns a row for each parameter with zeros: its size, and its sparsity in each case."""
    done = [case for case in comparison.candidates if case.done and case.layers]
    by_case = [{layer.name: layer for layer in case.layers} for case in done]
    rows = []
    for name in touched_layers(comparison):
        found = [layers.get(name) for layers in by_case]
        numel = max((layer.numel for layer in found if layer is not None), default=0)
        cells = (formats.percent(None if layer is None else layer.sparsity) for layer in found)
        rows.append((name, formats.count(numel), *cells))
    titles = columns("Parameter", "Numbers", *(case.name for case in done))
    return TextTable("Sparsity of each parameter in each case", titles, tuple(rows))


@dataclass(frozen=True)
class TimeShare:
    """A part of the evaluation's time."""

    part: str
    percent: float
    text: str


PART_LABELS = {
    "read": "reading pictures",
    "network": "network",
    "postprocess": "boxes and NMS",
    "score": "scoring",
}


def part_label(part: str, unit: str) -> str:
    """What a stage of an evaluation is called, of pictures or of texts.

    Examples:
        >>> part_label("read", "texts"), part_label("network", "texts")
        ('reading texts', 'network')
    """
    return PART_LABELS.get(part, part).replace("pictures", unit)


def time_shares(comparison: Comparison) -> tuple[TimeShare, ...]:
    """Returns where the baseline's evaluation spent its time, part by part."""
    seconds = comparison.baseline.accuracy.seconds if comparison.baseline.accuracy else {}
    total = sum(seconds.values())
    if total <= 0.0:
        return ()
    return tuple(
        TimeShare(
            PART_LABELS.get(part, part),
            round(100.0 * value / total, 2),
            f"{formats.percent(value / total)}, {formats.seconds(value)}",
        )
        for part, value in seconds.items()
    )


def subject_text(comparison: Comparison) -> str:
    """Says what was compared, and on what."""
    pictures = f", {formats.several(comparison.data.num_images, 'picture')}" if comparison.data.num_images else ""
    return f"{comparison.model.title} on {comparison.data.name}{pictures}"


def conditions(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Returns what the figures hold under, name and text each."""
    model, data = comparison.model, comparison.data
    weights = f", weights {model.weights}" if model.weights else ""
    skipped = f", {len(data.skipped)} skipped" if data.skipped else ""
    task = f"{model.task}, {model.num_classes} classes, {model.input_size[0]} × {model.input_size[1]} pixels"
    pictures = f", {formats.several(data.num_images, 'picture')}" if data.num_images else ""
    rows = [
        ("Model", f"{model.spec}{weights}"),
        ("Task", "" if model.task == "none" else task),
        ("Data", f"{data.name}{pictures}{skipped}"),
        ("Command", comparison.command),
        ("Date", comparison.date),
        ("Sapwood", comparison.sapwood),
        *(condition(name, value) for name, value in comparison.conditions.items()),
        *(condition(name, value) for name, value in comparison.settings.items()),
    ]
    return tuple((name, text) for name, text in rows if text)


def facts(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Returns the unpruned network in a few figures: name and value each."""
    dense = comparison.baseline
    rows = [(comparison.primary, formats.score(dense.value)), ("parameters", formats.count(dense.params or None))]
    rows.append(("MACs a picture", formats.count(dense.macs.total if dense.macs else None)))
    rows.append(("file", formats.megabytes(dense.file_bytes)))
    rows.append(("time a picture", formats.milliseconds(dense.latency.median_ms if dense.latency else None)))
    return tuple((name, value) for name, value in rows if value != formats.MISSING)


def _group(family: str, cases: Sequence[CaseResult], comparison: Comparison) -> RowGroup:
    alone = len(cases) == 1
    rows = tuple(_row(case, comparison, case.name if alone else _short_name(case, family)) for case in cases)
    return RowGroup(None if alone else family, rows)


def _short_name(case: CaseResult, family: str) -> str:
    return case.name.removeprefix(f"{family} · ")


def _row(case: CaseResult, comparison: Comparison, name: str) -> Row:
    number = comparison.cases.index(case)
    if case.error is not None:
        return Row(number, case.name, name, "bad", 0.0, (), error=case.error, notes=case.notes)
    share = retained(case, comparison)
    latency = case.latency
    deployed, engine = case.runtimes.get(REFERENCE), case.runtimes.get("sapwood", case.engine)
    return Row(
        number=number,
        full_name=case.name,
        name=name,
        tone="plain" if case is comparison.baseline else tone_of(case, comparison),
        left=round(100.0 * min(1.0, max(0.0, share or 0.0)), 1),
        metrics=tuple(_metric(case, comparison, metric) for metric in metric_names(comparison)),
        sparsity=formats.percent(case.sparsity),
        params=formats.count(case.params or None),
        nonzeros=formats.count(case.nonzeros),
        file_size=formats.megabytes(case.file_bytes),
        macs=formats.count(case.macs.total if case.macs else None),
        macs_nonzero=formats.count(case.macs.nonzero if case.macs else None),
        time=formats.times(latency.ratio if latency else None),
        time_spread=_own_time(case, comparison, latency),
        time_tone=time_tone(case),
        onnxruntime=formats.times(deployed.ratio if deployed else None),
        onnxruntime_spread=_own_time(case, comparison, deployed),
        engine=formats.times(engine.ratio if engine else None),
        engine_spread=_quartiles(engine),
        sure=sure_text(case),
        noise=within_noise(case, comparison),
        use=any(one.case is case for one in usable(comparison)),
        values=_values(case, comparison),
        notes=case.notes,
    )


def _values(case: CaseResult, comparison: Comparison) -> dict[str, float | None]:
    """What the columns of the page are sorted by."""
    times = {"torch": case.latency, "sapwood": case.engine, **case.runtimes}
    return {
        "zeros": case.sparsity,
        **{name: case.accuracy.metrics.get(name) if case.accuracy else None for name in metric_names(comparison)},
        **{name: latency.ratio if latency else None for name, latency in times.items()},
        "params": float(case.params),
        "file": case.file_bytes,
        "macs": case.macs.total if case.macs else None,
    }


def _quartiles(latency: Latency | None) -> str:
    """Between which ratios half of the rounds are; in words where that is about the same time."""
    if latency is None:
        return ""
    text = f"{latency.ratio_q25:.2f} to {latency.ratio_q75:.2f}"
    noisy = latency.ratio_q25 < 1.0 < latency.ratio_q75 and latency.ratio_q25 != latency.ratio_q75
    return f"{text}, within noise" if noisy else text


def _own_time(case: CaseResult, comparison: Comparison, latency: Latency | None) -> str:
    """The quartiles of a case's ratio; of the baseline, whose ratio is always 1, the time itself."""
    if latency is not None and case is comparison.baseline:
        return formats.milliseconds(latency.median_ms)
    return _quartiles(latency)


def tone_of(case: CaseResult, comparison: Comparison) -> Tone:
    """Says whether the accuracy that is left is good news."""
    share = retained(case, comparison)
    if share is None:
        return "plain"
    return "good" if keeps(case, comparison) else "mixed" if share >= LOSES else "bad"


def time_tone(case: CaseResult) -> Tone:
    """Says whether a case's time is good news."""
    tones: Mapping[str, Tone] = {"faster": "good", "same": "plain", "slower": "bad"}
    return tones[speed(case.latency)]


def _metric(case: CaseResult, comparison: Comparison, name: str) -> tuple[str, str]:
    value = case.accuracy.metrics.get(name) if case.accuracy else None
    dense = comparison.baseline.accuracy.metrics.get(name) if comparison.baseline.accuracy else None
    if value is None or dense is None or case is comparison.baseline:
        return formats.score(value), ""
    return formats.score(value), formats.delta(round(value, 3) - round(dense, 3))


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text.upper() if text in {"cpu", "os"} else text[:1].upper() + text[1:]


def condition(name: str, value: Any) -> tuple[str, str]:
    """A condition in words; sizes, which are noted in bytes, in units a person reads."""
    if name.endswith("_bytes") and isinstance(value, int):
        return _words(name.removesuffix("_bytes")), f"{formats.count(value)}B"
    return _words(name), _text(value)


def condition_rows(*parts: Mapping[str, Any], files: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
    """Returns what the figures hold under, name and text each; later parts win. Files stand below, by themselves.

    Example:
        >>> condition_rows({"weights": "dense.weights"}, files={"weights": "small/model.weights"})
        (('Weights', 'dense.weights'), ('Written: weights', 'small/model.weights'))
    """
    merged: dict[str, Any] = {}
    for part in parts:
        merged.update({name: value for name, value in part.items() if value not in (None, [], {}, "")})
    merged.update({f"written: {name}": path for name, path in (files or {}).items()})
    return tuple((name, text) for name, text in (condition(*item) for item in merged.items()) if text)


NEEDS_PICTURES = ("split", "num_pictures", "labels", "criterion_pictures", "train_split")
RECOVERS = ("recover_pictures", "recover_steps", "recover_mirrored", "seed")
"""Options that say nothing where no data was given, or nothing was recovered."""


def used_options(pruning: Pruning) -> dict[str, Any]:
    """What was asked for, without what had nothing to do: pictures that were not looked at, switches that were off."""
    given = {name: value for name, value in pruning.options.items() if value is not False}
    unused = (() if given.get("data") else NEEDS_PICTURES) + (() if pruning.recovery else RECOVERS)
    return {name: value for name, value in given.items() if name not in unused}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(key)).lower()} {_text(part)}" for key, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
