"""The page of `sapwood export`: which files, how far they are from the model, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sapwood.report import formats, view
from sapwood.report.answers import FASTER, GET, LOST, PLACE, SURE, Answer, where_text
from sapwood.report.findings import Finding
from sapwood.report.records import ExportRecord, MadeBy
from sapwood.report.sheet import Sheet, SheetPart
from sapwood.report.table import TextTable, columns

RUNS_IN: Mapping[str, str] = {
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch-export": "PyTorch",
    "darknet": "Darknet",
    "ultralytics": "Ultralytics",
    "transformers": "transformers",
    "python": "Python",
}
"""Formats, and what reads them."""


def export_sheet(record: ExportRecord, made: MadeBy | None, then: tuple[str, ...] = ()) -> Sheet:
    """The page of an exported model; ``then`` are the commands that may come next."""
    first = record.written[0].path if record.written else record.format
    where = RUNS_IN.get(record.format, record.format)
    told = f"{first}: {formats.megabytes(record.size_bytes)} that {where} runs, and gives what the model gives."
    sections = [SheetPart("files", "Files", table=_files(record))]
    names = view.condition_rows(_said(record))
    if names:
        table = TextTable("What it says of itself", columns("field", "value", words=["value"]), names)
        sections.append(SheetPart("fields", "What it says of itself", table=table))
    return Sheet(
        "export", record.model, Finding("File", told, "good"), _answers(record, made, then, where), tuple(sections)
    )


def _answers(record: ExportRecord, made: MadeBy | None, then: tuple[str, ...], where: str) -> tuple[Answer, ...]:
    check = record.check
    int8 = record.details.get("int8")
    nothing = Answer(LOST, "nothing", "that float32 can tell; of pruning: sapwood eval")
    return (
        Answer(
            FASTER, "not measured", f"{formats.megabytes(record.size_bytes)}; sapwood bench times it beside PyTorch"
        ),
        Answer(PLACE, where, where_text(made.machine) if made else ""),
        _lost(int8) if isinstance(int8, Mapping) else nothing,
        Answer(
            SURE,
            "read back",
            f"and run: outputs differ by {check.max_relative_error:.1e} of the largest one, of at most "
            f"{check.tolerance:.0e}",
        ),
        Answer(GET, "", "", (*((made.typed,) if made else ()), *then)),
    )


def _lost(int8: Mapping[str, Any]) -> Answer:
    """What int8 costs, by labels or by what float32 finds."""
    pictures = formats.several(int8["num_measured"], "picture")
    same = f"agrees with float32 by {formats.percent(float(int8['agreement']))} on {pictures}"
    before, after = int8.get("float32"), int8.get("accuracy")
    if before is None or after is None:
        return Answer(LOST, formats.percent(1.0 - float(int8["agreement"])), same)
    points = f"{100.0 * (float(before) - float(after)):.1f} points"
    figures = f"{int8.get('metric')} {formats.score(float(before))} → {formats.score(float(after))}"
    return Answer(LOST, points, f"{figures}; {same}")


def _files(record: ExportRecord) -> TextTable:
    rows = tuple((file.path, formats.megabytes(file.size_bytes)) for file in record.written)
    return TextTable("Files", columns("file", "size"), rows)


def _said(record: ExportRecord) -> dict[str, Any]:
    return {"inputs": list(record.inputs), "outputs": list(record.outputs), **record.details}
