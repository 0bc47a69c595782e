"""Tables for the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from sapwood.report import formats, view
from sapwood.report.findings import Tone
from sapwood.report.record import Comparison, read_record

if TYPE_CHECKING:
    from sapwood.masks import MaskingState, TensorState
    from sapwood.types import Evaluation

MIN_WIDTH = 64
"""Columns of a small table, so that its caption stands on a line or two."""

STYLES: Mapping[Tone, str] = {"good": "green", "mixed": "yellow", "bad": "red", "plain": ""}


def compare_table(record: Mapping[str, Any]) -> Table:
    """Returns a comparison as a table: a row a case, families apart.

    Args:
        record: What :func:`sapwood.comparing.compare` returned, or `compare.json` read back.

    Raises:
        DataError: If ``record`` is not such a record.
    """
    comparison = read_record(record)
    primary, *others = view.metric_names(comparison)
    table = Table(title=f"{comparison.model.title} on {comparison.data.name}, {comparison.data.num_images} pictures")
    table.add_column("case", overflow="fold")
    for title in ("zeros", primary, "", *others, "params", "file", "MACs", "non-zero", "time", "half of the rounds"):
        table.add_column(title, justify="right", no_wrap=True)
    engine = view.has_engine(comparison)
    if engine:
        table.add_column("engine", justify="right", no_wrap=True)
    for group in view.row_groups(comparison):
        if group.family is not None:
            table.add_row(Text(group.family, style="bold"))
        for row in group.rows:
            table.add_row(*_cells(row, len(others), indent=group.family is not None), *([row.engine] if engine else []))
        table.add_section()
    table.caption = _caption(comparison)
    return table


def evaluation_table(evaluation: Evaluation) -> Table:
    """Returns the accuracy of one model: its figures, then the primary one class by class."""
    table = Table(caption=_evaluation_caption(evaluation), min_width=MIN_WIDTH)
    table.add_column("")
    table.add_column(f"{evaluation.num_images} pictures", justify="right")
    for name, value in evaluation.metrics.items():
        table.add_row(Text(name, style="bold" if name == evaluation.primary else ""), formats.score(value))
    table.add_section()
    for name, value in evaluation.per_class.items():
        table.add_row(Text(name), formats.score(value))
    return table


def masking_table(before: MaskingState, with_mask: MaskingState, after: MaskingState) -> Table:
    """Returns a model's tensors before a mask, with it, and after `remove`: their keys and their zeros.

    Parameters that no state has a mask on are left out, except in the line of totals.
    """
    table = Table(title="keys and zeros of each masked parameter")
    for title in ("parameter", "numbers", "before", "with the mask", "after remove"):
        table.add_column(title, justify="left" if title == "parameter" else "right", overflow="fold")
    first, last = _by_name(before), _by_name(after)
    for tensor in with_mask.tensors:
        if tensor.live:
            states = (first.get(tensor.name), tensor, last.get(tensor.name))
            table.add_row(
                Text(tensor.name), formats.count(tensor.num_params), *(_tensor_cell(state) for state in states)
            )
    table.add_section()
    totals = (before, with_mask, after)
    table.add_row(
        Text("whole model", style="bold"),
        formats.count(with_mask.num_params),
        *(formats.percent(state.sparsity) for state in totals),
    )
    table.add_row("live masks", "", *(str(state.num_live) for state in totals))
    return table


def _cells(row: view.Row, num_others: int, *, indent: bool) -> list[Text]:
    name = Text(("  " if indent else "") + row.name)
    if row.error is not None:
        name.append(f"\n  failed: {row.error}", style="red")
        return [name]
    (value, change), *others = row.metrics or (("", ""),)
    cells = [row.sparsity, value, change, *(other for other, _ in others)]
    cells += [formats.MISSING] * (num_others - len(others))
    cells += [row.params, row.file_size, row.macs, row.macs_nonzero, row.time, row.time_spread]
    texts = [name, *(Text(cell) for cell in cells)]
    texts[2].stylize(STYLES[row.tone])
    texts[-2].stylize(STYLES[row.time_tone])
    return texts


def _caption(comparison: Comparison) -> Text:
    dense = comparison.baseline
    if not dense.latency:
        return Text("")
    engine = "; engine: the same on Sapwood's sparse engine" if view.has_engine(comparison) else ""
    return Text(
        f"time: ratio to the baseline's {formats.milliseconds(dense.latency.median_ms)}, round by round{engine}"
    )


def _evaluation_caption(evaluation: Evaluation) -> Text:
    total = sum(evaluation.seconds.values())
    parts = [
        f"{view.PART_LABELS.get(part, part)} {formats.percent(value / total)}"
        for part, value in evaluation.seconds.items()
        if total > 0
    ]
    caption = Text(f"{formats.seconds(total)}: " + ", ".join(parts) if parts else "")
    for reason in evaluation.skipped:
        caption.append(f"\nskipped: {reason}")
    return caption


def _by_name(state: MaskingState) -> dict[str, TensorState]:
    return {tensor.name: tensor for tensor in state.tensors}


def _tensor_cell(state: TensorState | None) -> Text:
    if state is None:
        return Text(formats.MISSING)
    keys = " + ".join(key.rpartition(".")[2] for key in state.keys)
    return Text(f"{formats.percent(state.sparsity)}  {keys}")
