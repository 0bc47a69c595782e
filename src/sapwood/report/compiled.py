"""The page of `sapwood compile`: how fast a network is on the sparse engine, and where its time goes."""

from __future__ import annotations

from sapwood.report import formats
from sapwood.report.answers import FASTER, GET, LOST, PLACE, SURE, Answer, times_as_fast, where_text
from sapwood.report.findings import Finding, Tone
from sapwood.report.noise import noise_text
from sapwood.report.plots.layers import LayerPlot, layer_bar
from sapwood.report.records import Compiling, EngineStep
from sapwood.report.sheet import Sheet, SheetPart, shares
from sapwood.report.table import TextTable, columns

SLOWEST = 12
"""Operations that the page draws a bar of."""
CONVOLUTION = "conv"


def compiling_sheet(record: Compiling) -> Sheet:
    """The page of a compiled network."""
    beside = record.beside
    took = f"{formats.milliseconds(beside.compiled_ms)} a picture instead of {formats.milliseconds(beside.pytorch_ms)}"
    zeros = f"{formats.percent(record.sparsity)} of the weights are zero" if record.sparsity else "no weight is zero"
    told = f"{_fast(record)} as in PyTorch: {took}; {zeros}."
    sections = [
        SheetPart(
            "time",
            "Where the time goes",
            f"The {min(SLOWEST, len(record.steps))} slowest of {len(record.steps)} operations, as shares of the time.",
            bars=shares(_slowest(record), "share of a picture's time", write=formats.percent),
        ),
        SheetPart(
            "zeros",
            "Where the zeros are",
            "A bar an operation with weights, in order, as high as its share of zeros; the line is at half.",
            layers=_zeros(record),
        ),
        SheetPart("operations", "Every operation", table=_operations(record)),
    ]
    if record.in_pytorch:
        text = "The engine has no such operation; PyTorch runs these in their places."
        sections.append(SheetPart("outside", "What PyTorch runs", text, table=_outside(record)))
    if record.tried_ms:
        sections.append(SheetPart("tried", "What was tried", table=_tried(record)))
    sections = [one for one in sections if one.layers is None or record.sparsity]
    return Sheet("compile", record.model, Finding("Speed", told, _tone(record)), _answers(record), tuple(sections))


def compiled_noise(record: Compiling) -> str:
    """Says that the machine was busy, where the ratio to PyTorch was another one from round to round."""
    beside = record.beside
    return noise_text((beside.ratio_q3 - beside.ratio_q1) / max(beside.ratio, 1e-9))


def _answers(record: Compiling) -> tuple[Answer, ...]:
    beside, machine = record.beside, record.made.machine if record.made else {}
    slow, fast = (f"{1.0 / max(one, 1e-9):.1f}" for one in (beside.ratio_q3, beside.ratio_q1))
    run_by = "Sapwood's engine" if record.run_by == "the engine" else record.run_by
    return (
        Answer(
            FASTER,
            f"{1.0 / max(beside.ratio, 1e-9):.1f}×",
            f"than the same network in PyTorch; {formats.megabytes(record.size_bytes)} on disk",
            tone=_tone(record),
        ),
        Answer(PLACE, run_by, where_text({**machine, "threads": record.threads})),
        Answer(
            LOST,
            "nothing",
            f"by compiling: outputs differ by {record.max_relative_error:.0e} of the largest one; what zeros cost, "
            "sapwood eval says",
        ),
        Answer(
            SURE,
            formats.several(beside.rounds, "round"),
            f"in turns with PyTorch; half of them {slow} to {fast} times as fast{compiled_noise(record)}",
        ),
        Answer(GET, "", "", record.made.commands if record.made else ()),
    )


def _fast(record: Compiling) -> str:
    return times_as_fast(record.beside.ratio) if record.beside.ratio > 0 else "Faster than can be told"


def _tone(record: Compiling) -> Tone:
    """Good news only where most of the rounds say so."""
    return "good" if record.beside.ratio_q3 < 1.0 else "bad" if record.beside.ratio_q1 > 1.0 else "plain"


def _slowest(record: Compiling) -> dict[str, float]:
    """The slowest operations by the name of their module, those of one module together, as shares of the whole."""
    total = sum(step.ms for step in record.steps)
    times: dict[str, float] = {}
    for step in record.steps:
        times[step.module] = times.get(step.module, 0.0) + step.ms
    ranked = sorted(times, key=lambda name: times[name], reverse=True)[:SLOWEST]
    return {name: times[name] / total if total else 0.0 for name in ranked}


def _zeros(record: Compiling) -> LayerPlot:
    weighted = [step for step in record.steps if step.weights]
    bars = tuple(
        layer_bar(place, len(weighted), name=step.module, kind=_kind(step), sparsity=step.sparsity, numel=step.weights)
        for place, step in enumerate(weighted)
    )
    filled = [step for step in weighted if step.sparsity]
    overall = formats.percent(record.sparsity)
    if not filled:
        return LayerPlot("all operations with weights", bars, "no zeros", overall)
    low, high = min(filled, key=lambda one: one.sparsity), max(filled, key=lambda one: one.sparsity)
    told = f"from {formats.percent(low.sparsity)} ({low.module}) to {formats.percent(high.sparsity)} ({high.module})"
    return LayerPlot("all operations with weights", bars, told, overall)


def _kind(step: EngineStep) -> str:
    return CONVOLUTION if CONVOLUTION in step.operation else "linear"


def _operations(record: Compiling) -> TextTable:
    rows = tuple(
        (
            step.module,
            step.operation,
            formats.percent(step.sparsity) if step.weights else "",
            formats.milliseconds(step.ms),
        )
        for step in record.steps
    )
    return TextTable("Operations", columns("module", "operation", "zeros", "time", words=["operation"]), rows)


def _outside(record: Compiling) -> TextTable:
    rows = tuple((call.op, call.module or "(the model)", call.location, call.reason) for call in record.in_pytorch)
    titles = columns("call", "module", "line", "why", words=["module", "line", "why"])
    return TextTable("What PyTorch runs", titles, rows)


def _tried(record: Compiling) -> TextTable:
    rows = tuple(
        (f"{name}{' (taken)' if name == record.run_by else ''}", formats.milliseconds(time))
        for name, time in record.tried_ms.items()
    )
    return TextTable("Who could run it", columns("run by", "a picture"), rows)
