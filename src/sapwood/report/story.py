"""What `sapwood demo` prints: the cases as a story, the best case of use last, and how the like is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sapwood.report import formats, view
from sapwood.report.answers import chosen, loss_text, verdict_text
from sapwood.report.case_commands import commands_for
from sapwood.report.records import CaseResult, Comparison, ModelInfo, read_record
from sapwood.report.standing import REFERENCE, keeps, usable
from sapwood.report.table import Cells, TextTable, columns
from sapwood.report.verdict import headline

OWN = ModelInfo(spec="net.cfg", weights="net.weights", task="detection", input_size=(0, 0), num_classes=0)
"""Stands for the reader's own network in commands."""


def story_table(record: Comparison | Mapping[str, Any]) -> TextTable:
    """Returns the cases in few columns, the best case of use below all others.

    Args:
        record: What :func:`sapwood.comparing.compare` returned.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    comparison = read_record(record)
    last = _last(comparison)
    ordered = [case for case in comparison.cases if case is not last]
    rows = [_cells(case, comparison) for case in ordered]
    rules = [place for place in range(1, len(ordered)) if ordered[place].family != ordered[place - 1].family]
    if last is not None:
        rules.append(len(rows))
        rows.append(_cells(last, comparison))
    metrics = view.metric_names(comparison)
    return TextTable(
        "The story",
        columns("case", "zeros", *metrics, "file", "PyTorch", "ONNX Runtime", "engine"),
        tuple(rows),
        heading=view.subject_text(comparison),
        notes=_notes(comparison),
        looks={len(rows) - 1: "bold"} if last is not None else {},
        rules=rules,
    )


def story_end(record: Comparison | Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Returns the sentence that the story ends with, and the commands that make the like of one's own network."""
    comparison = read_record(record)
    last = _last(comparison)
    sentence = headline(comparison).text
    if last is None:
        return sentence, ()
    more = [part for part in loss_text(last, comparison).split(", ") if part not in sentence]
    told = f"{last.name}: {'; '.join([sentence[:1].lower() + sentence[1:].rstrip('.'), *more])}"
    own = commands_for(last, comparison.model_copy(update={"model": OWN}))
    return told, own if len(own) > 1 else (*own, _second(last))


def story_deployed(record: Comparison | Mapping[str, Any]) -> str:
    """Returns the sentence before: the fastest case of use in ONNX Runtime, where the story ends on the engine."""
    comparison = read_record(record)
    best = chosen(comparison)
    if best is None or best.runtime == REFERENCE:
        return ""
    there = next((one for one in usable(comparison) if one.runtime == REFERENCE), None)
    if there is None:
        return ""
    told = verdict_text(there, comparison)
    return f"{there.case.name}: {told[:1].lower() + told[1:].rstrip('.')}"


def _last(comparison: Comparison) -> CaseResult | None:
    best = chosen(comparison)
    return best.case if best is not None and keeps(best.case, comparison) else None


def _second(case: CaseResult) -> str:
    """What comes after making a network: fine-tuning, or the engine that skips its zeros."""
    if case.kind == "mask":
        return "sapwood compile masked -o fast"
    return "sapwood train small --data DIR --teacher net.cfg --teacher-weights net.weights -o tuned"


def _cells(case: CaseResult, comparison: Comparison) -> Cells:
    if case.error is not None:
        return (f"{case.name}\n  failed: {case.error}",)
    figures = case.accuracy.metrics if case.accuracy else {}
    engine = case.runtimes.get("sapwood", case.engine)
    deployed = case.runtimes.get("onnxruntime")
    return (
        case.name,
        formats.percent(case.sparsity),
        *(formats.score(figures.get(name)) for name in view.metric_names(comparison)),
        formats.megabytes(case.file_bytes),
        formats.times(case.latency.ratio if case.latency else None),
        formats.times(deployed.ratio if deployed else None),
        formats.times(engine.ratio if engine else None),
    )


def _notes(comparison: Comparison) -> Cells:
    dense = comparison.baseline
    if dense.latency is None:
        return ()
    torch = formats.milliseconds(dense.latency.median_ms)
    if not view.has_reference(comparison):
        return (f"times: ratios to the unpruned network's {torch} in PyTorch, medians of interleaved rounds",)
    base = formats.milliseconds(dense.runtimes["onnxruntime"].median_ms)
    return (
        f"times: ratios to the unpruned network's {torch} in PyTorch, of ONNX Runtime and the engine to its {base} in",
        "ONNX Runtime; medians of interleaved rounds",
    )
