"""Tables that only the console has: those of comparing, of evaluating and of masking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sapwood.report import formats, view
from sapwood.report.findings import Tone
from sapwood.report.records import (
    Accuracy,
    Comparison,
    EvaluationRecord,
    Masking,
    ModelZeros,
    TensorZeros,
    make_part,
    read_record,
)
from sapwood.report.recovery import recovery_table
from sapwood.report.sparsity import sparsity_table
from sapwood.report.standing import REFERENCE
from sapwood.report.table import Cells, Look, TextTable, columns

if TYPE_CHECKING:
    from sapwood.masks import MaskingState
    from sapwood.types import Evaluation

LOOKS: Mapping[Tone, Look] = {"good": "green", "mixed": "yellow", "bad": "red", "plain": ""}


def compare_table(record: Comparison | Mapping[str, Any]) -> TextTable:
    """Returns a comparison as a table: a row a case, families apart.

    Args:
        record: What :func:`sapwood.comparing.compare` returned, or `compare.json` read back.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    comparison = read_record(record)
    primary, *others = view.metric_names(comparison)
    titles = ("zeros", primary, "", *others, "params", "file", "MACs", "non-zero", "time", "half of the rounds")
    engine, deployed = view.has_engine(comparison), view.has_reference(comparison)
    rows: list[Cells] = []
    looks: dict[int | tuple[int, int], Look] = {}
    rules = []
    for group in view.row_groups(comparison):
        rules.append(len(rows))
        if group.family is not None:
            looks[len(rows)] = "bold"
            rows.append((group.family,))
        for row in group.rows:
            cells = _cells(row, len(others), indent=group.family is not None)
            looks |= _looks(row, len(rows), len(cells))
            more = [row.onnxruntime] * deployed + [row.engine] * engine
            rows.append((*cells, *more) if row.error is None else cells)
    return TextTable(
        "Every case",
        columns("case", *titles, *["onnx"] * deployed, *["engine"] * engine),
        tuple(rows),
        heading=view.subject_text(comparison),
        notes=_notes(comparison),
        looks=looks,
        rules=rules[1:],
    )


def evaluation_table(evaluation: Evaluation | Accuracy | EvaluationRecord) -> TextTable:
    """Returns the accuracy of one model: its figures, then the primary one class by class."""
    return TextTable(
        "Accuracy",
        columns("", f"{evaluation.num_images} {_unit(evaluation)}"),
        tuple(
            (name, formats.score(value))
            for figures in (evaluation.metrics, evaluation.per_class)
            for name, value in figures.items()
        ),
        notes=_evaluation_notes(evaluation),
        looks={(place, 0): "bold" for place, name in enumerate(evaluation.metrics) if name == evaluation.primary},
        rules=[len(evaluation.metrics)],
    )


def masking_table(
    before: MaskingState | ModelZeros, with_mask: MaskingState | ModelZeros, after: MaskingState | ModelZeros
) -> TextTable:
    """Returns a model's tensors before a mask, with it, and after `remove`: their keys and their zeros.

    Parameters that no state has a mask on are left out, except in the line of totals.
    """
    states = [make_part(ModelZeros, state) for state in (before, with_mask, after)]
    masked = [tensor for tensor in states[1].tensors if tensor.live]
    first, last = ({tensor.name: tensor for tensor in state.tensors} for state in (states[0], states[2]))
    rows: list[Cells] = [
        (
            tensor.name,
            formats.count(tensor.num_params),
            *map(_tensor_cell, (first.get(tensor.name), tensor, last.get(tensor.name))),
        )
        for tensor in masked
    ]
    total = formats.count(states[1].num_params)
    rows.append(("whole model", total, *(formats.percent(state.sparsity) for state in states)))
    rows.append(("live masks", "", *(str(state.num_live) for state in states)))
    return TextTable(
        "Zeros",
        columns("parameter", "numbers", "before", "with the mask", "after remove"),
        tuple(rows),
        heading="keys and zeros of each masked parameter",
        looks={(len(masked), 0): "bold"},
        rules=[len(masked)],
    )


def mask_tables(record: Masking) -> list[TextTable]:
    """Returns what the console shows of masking."""
    tables = [masking_table(record.before, record.masked, record.after_remove)]
    if record.mask_latency is not None:
        tables.append(sparsity_table(record.mask_latency))
    return [*tables, recovery_table(record.recovery)] if record.recovery is not None else tables


def _cells(row: view.Row, num_others: int, *, indent: bool) -> Cells:
    name = ("  " if indent else "") + row.name
    if row.error is not None:
        return (f"{name}\n  failed: {row.error}",)
    (value, change), *others = row.metrics or (("", ""),)
    missing = [formats.MISSING] * (num_others - len(others))
    work = (row.params, row.file_size, row.macs, row.macs_nonzero, row.time, row.time_spread)
    return (name, row.sparsity, value, change, *(other for other, _ in others), *missing, *work)


def _looks(row: view.Row, number: int, num_cells: int) -> dict[int | tuple[int, int], Look]:
    """How the accuracy and the time of a case look, or its error."""
    if row.error is not None:
        return {number: "red"}
    return {(number, 2): LOOKS[row.tone], (number, num_cells - 2): LOOKS[row.time_tone]}


def _notes(comparison: Comparison) -> Cells:
    dense = comparison.baseline
    if not dense.latency:
        return ()
    time = formats.milliseconds(dense.latency.median_ms)
    told = f"time: ratio to the baseline's {time}, round by round"
    engine = "engine: the same on Sapwood's sparse engine"
    if view.has_reference(comparison):
        base = formats.milliseconds(dense.runtimes[REFERENCE].median_ms)
        both = "onnx, engine: on ONNX Runtime and on Sapwood's sparse engine"
        return (told, f"{both}, ratios to the baseline's {base} on ONNX Runtime")
    return (f"{told}; {engine}",) if view.has_engine(comparison) else (told,)


def _evaluation_notes(evaluation: Evaluation | Accuracy | EvaluationRecord) -> Cells:
    total = sum(evaluation.seconds.values())
    parts = [
        f"{view.part_label(part, _unit(evaluation))} {formats.percent(value / total)}"
        for part, value in evaluation.seconds.items()
        if total > 0
    ]
    took = [f"{formats.seconds(total)}: " + ", ".join(parts)] if parts else []
    found = getattr(evaluation, "interval", None)
    sure = (
        [f"{evaluation.primary} ± {formats.score(found.half)}: 95 of 100 samples of the {_unit(evaluation)}"]
        if found
        else []
    )
    return (*sure, *took, *(f"skipped: {reason}" for reason in evaluation.skipped))


def _unit(evaluation: Evaluation | Accuracy | EvaluationRecord) -> str:
    return str(getattr(evaluation, "unit", "pictures"))


def _tensor_cell(state: TensorZeros | None) -> str:
    if state is None:
        return formats.MISSING
    keys = " + ".join(key.rpartition(".")[2] for key in state.keys)
    return f"{formats.percent(state.sparsity)}  {keys}"
