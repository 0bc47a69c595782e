"""What a pruned model tells of itself: a few lines where it is printed, a table, a page."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sapwood.arguments import check_path
from sapwood.errors import ConfigError
from sapwood.measure import count_params
from sapwood.pipeline.low_rank import channels_of
from sapwood.types import ExampleInputs, ModelBundle, ModelSource, TaskSpec

if TYPE_CHECKING:
    from sapwood.pipeline.pruning import Pruned
    from sapwood.report import Pruning, TextTable

WIDTH = 100
"""Columns that a table has where nobody knows how wide the reader's window is."""


@dataclass(frozen=True)
class ModelBefore:
    """The model before, so that a result can be compared with it; a copy or a pickle of the result leaves it behind.

    Attributes:
        bundle: The model with its example inputs; None where it was left behind.
        num_params: How many parameters it has.
    """

    bundle: ModelBundle | None
    num_params: int

    @staticmethod
    def of(model: nn.Module, example_inputs: ExampleInputs) -> ModelBefore:
        """Keeps a model."""
        source = ModelSource(type(model).__name__, "module")
        return ModelBefore(ModelBundle(model, example_inputs, TaskSpec("none"), source), count_params(model))

    def __reduce__(self) -> tuple[Any, ...]:
        return ModelBefore, (None, self.num_params)


def short_text(pruned: Pruned) -> str:
    """Says in a few lines what became of a model; at most the dense one is run, once, to tell how far away it is."""
    lines = [f"{name:<12} {before} -> {after}  (kept {kept})" for name, before, after, kept in _rows(pruned)]
    return "\n".join([f"Pruned {type(pruned.model).__name__}", *(f"  {line}" for line in [*lines, *_remarks(pruned)])])


def short_html(pruned: Pruned) -> str:
    """The same for a notebook: a small table."""
    head = "".join(f"<th>{title}</th>" for title in ("", "before", "after", "kept"))
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(pruned))
    remarks = "".join(f"<p>{escape(line)}</p>" for line in _remarks(pruned))
    title = escape(f"Pruned {type(pruned.model).__name__}")
    return f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{remarks}"


def summary_text(pruned: Pruned, *, layers: bool) -> str:
    """The tables that the command line prints."""
    from sapwood.report import prune_tables

    return _drawn(prune_tables(_record(pruned), layers=layers))


def write_report(pruned: Pruned, path: str | os.PathLike[str]) -> Path:
    """Writes the page that the command line writes."""
    from sapwood.files import check_file, write_text
    from sapwood.report import render_prune

    check_path(path)
    target = Path(path)
    if target.suffix != ".html":
        raise ConfigError(f"{target}: a report is a page; expected a name that ends in .html")
    check_file(target)
    write_text(target, render_prune(_record(pruned)))
    return target


def _record(pruned: Pruned) -> Pruning:
    from sapwood.pipeline.shrinking import shrink_record

    if pruned.dense is None or pruned.dense.bundle is None:
        raise ConfigError(
            "the model before is not with this result, which was copied; expected the result that prune returned"
        )
    return shrink_record(pruned.dense.bundle, pruned, {})


def _rows(pruned: Pruned) -> list[tuple[str, str, str, str]]:
    """What there is before and after, as far as that is known without running anything."""
    from sapwood.report import formats

    rows: list[tuple[str, str, str, str]] = []
    had, has = channels_of(pruned) or (0, 0)
    if had:
        rows.append(("channels", formats.count(had), formats.count(has), formats.percent(has / had)))
    if pruned.dense is not None:
        had, has = pruned.dense.num_params, count_params(pruned.model)
        rows.append(("parameters", formats.count(had), formats.count(has), formats.percent(has / had if had else 1.0)))
    if pruned.latency is not None:
        took = formats.milliseconds(pruned.latency.dense_ms), formats.milliseconds(pruned.latency.pruned_ms)
        rows.append(("time", *took, formats.percent(pruned.latency.ratio)))
    return rows


def _remarks(pruned: Pruned) -> list[str]:
    """The proof, what it does not say, and what stayed."""
    from sapwood.report import moved_text, proof_text

    gone = pruned.removed_blocks
    stays = len({(one.tensor, one.dim) for one in pruned.unpruned})
    moved = moved_text(pruned.verification, recovered=pruned.recovery is not None)
    return [
        *([f"residual blocks removed, {len(gone)}: {', '.join(gone)}"] if gone else []),
        proof_text(pruned.verification, proven=pruned.verification.passed),
        f"{moved}; sapwood.evaluate measures it" if moved.startswith("accuracy was not measured") else moved,
        *(
            [f"{stays} {'dimension stays' if stays == 1 else 'dimensions stay'} whole; .unpruned says why"]
            if stays
            else []
        ),
        *(f"note: {note}" for note in pruned.notes),
    ]


def _drawn(tables: Sequence[TextTable]) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(*tables)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip()
