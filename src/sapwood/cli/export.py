"""``sapwood export``: a model as a file that other programs run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.commanded import made
from sapwood.cli.common import JsonOption, LoadOptions, ModelArgument, print_json
from sapwood.cli.groups import grouped
from sapwood.cli.int8 import QuantisingOptions, lines, stage
from sapwood.cli.next_steps import data_word, model_words, next_step, taken_by, words
from sapwood.cli.record_files import check_page
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from sapwood.export import Exported
    from sapwood.report import ExportRecord
    from sapwood.types import ModelSource

RUNTIME_OF = {"onnx": "onnxruntime", "openvino": "openvino"}
"""What runs files of a format."""


@grouped
def export(
    *,
    model: ModelArgument,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="`onnx`, `openvino`, `torch-export`, `darknet`, `ultralytics`, `transformers` or `python`.",
            show_default="what -o ends in",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="File: `.onnx`, `.xml` (and `.bin`), `.pt2`, `.cfg`, `.pt`, `.py`; a folder for transformers.",
            show_default=False,
        ),
    ],
    files: LoadOptions,
    quantising: QuantisingOptions,
    batch: Annotated[int | None, typer.Option("--batch-size", min=1, help="Examples a run.")] = None,
    dynamic_batch: Annotated[bool, typer.Option("--dynamic-batch", help="Any number of examples a run.")] = False,
    page: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Also write a page about the file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Writes a model as a file, runs what was written, and compares before it takes its place.

    Exit code 1 if it gives other results than the model, or an int8 file is worse than --int8-max-drop; whatever was at
    `-o` before is still there then.

    Example: `sapwood export small --format onnx -o small.onnx`
    """
    from sapwood.export import EXPORTERS, ExportOptions, checked_path, format_of
    from sapwood.files import write_text
    from sapwood.pipeline import export_int8, with_batch
    from sapwood.pipeline.quantising import int8_details
    from sapwood.report import render_export

    check_page(page, "--report")
    file_format = file_format or format_of(out)
    exporter = EXPORTERS[file_format]
    if not exporter.has_batch and (batch is not None or dynamic_batch):
        raise ConfigError(f"{file_format} files run with any batch; expected neither --batch-size nor --dynamic-batch")
    if exporter.suffix:  # else it is a folder, which the exporter checks before it works
        checked_path(out, exporter.suffix)
    int8 = quantising.read()
    bundle = files.load(model)
    inputs = with_batch(bundle.example_inputs, batch)
    details: dict[str, Any] = {}
    more: list[str] = []
    if int8 is None:
        options = ExportOptions(dynamic_batch=dynamic_batch, spec=bundle.source.spec, task=bundle.task)
        exported = exporter.export(bundle.model, inputs, out, options)
    else:
        result = export_int8(
            bundle, file_format, out, int8, example_inputs=inputs, dynamic_batch=dynamic_batch, stage=stage
        )
        exported, details, more = result.exported, int8_details(result), lines(result)
    then = _next(model, bundle.source, file_format, out)
    record = _record(model, exported, details, then)
    if page is not None:
        write_text(page, render_export(record, record.made, then))
    if as_json:
        print_json(record.plain())
        return
    _show(record, more)
    next_step(*then)


def _record(model: str, exported: Exported, details: dict[str, Any], then: tuple[str, ...]) -> ExportRecord:
    from sapwood.report import records

    values = {
        **{field.name: getattr(exported, field.name) for field in fields(exported)},
        "model": model,
        "made": made(then),
        "written": [{"path": str(file), "size_bytes": file.stat().st_size} for file in exported.files],
        "size_bytes": exported.size_bytes,
        "check": exported,
        "details": {**exported.details, **details},
    }
    return records.make_part(records.ExportRecord, values)


def _show(record: ExportRecord, more: list[str]) -> None:
    """Prints what was written, and how far it is from the model."""
    from sapwood.report import megabytes

    for file in record.written:
        print(f"{file.path}  {megabytes(file.size_bytes)}")
    if record.inputs:
        print(f"inputs {', '.join(record.inputs)}; outputs {', '.join(record.outputs)}")
    print(
        f"check: differs from the PyTorch model by {record.check.max_relative_error:.1e} of the largest output, of at "
        f"most {record.check.tolerance:.0e}"
    )
    for line in more:
        print(line)


def _next(model: str, source: ModelSource, file_format: str, out: Path) -> tuple[str, ...]:
    """What times the file, where Sapwood can; else what measures the model, and how its framework takes it."""
    named = model_words(model, source)
    if file_format not in RUNTIME_OF:
        return words("sapwood", "eval", *named, "--data", data_word(source)), *taken_by(file_format, out)
    return (words("sapwood", "bench", *named, "--runtime", f"torch,{RUNTIME_OF[file_format]}"),)
