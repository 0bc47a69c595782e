"""``sapwood bench``: the latency of models on runtimes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sapwood.cli.commanded import made
from sapwood.cli.common import (
    JsonOption,
    ModelFactoryOption,
    load_bundle,
    make_console,
    note_threads,
    print_json,
    progress_bar,
)
from sapwood.cli.next_steps import apart_from, model_words, next_step, words
from sapwood.cli.record_files import RecordOption, check_record, write_record
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from sapwood.report import BenchRecord
    from sapwood.types import ModelBundle


def bench(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="One or more, each as MODEL of `sapwood prune`.", show_default=False),
    ],
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime",
            help="`torch`, `torch-compile`, `onnxruntime`, `openvino`, `sapwood` (its sparse engine), "
            "`onnxruntime-int8`, `openvino-int8`, commas between.",
        ),
    ] = "torch",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads a runtime may use; all cores if not given.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch-size", min=1, help="Examples a call.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds, in each of which every pair runs once.")] = 30,
    weights: Annotated[
        list[Path] | None, typer.Option("--weights", help="Of the models, in their order; may be repeated.")
    ] = None,
    model_factory: ModelFactoryOption = None,
    out: RecordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Latency of every model on every runtime, in interleaved rounds, each first checked against PyTorch.

    A runtime that is not installed is a row with the reason. Exit code 1 if one gives other results than PyTorch, 2 if
    none works.

    Example: `sapwood bench big small --runtime torch,onnxruntime`
    """
    from sapwood import pipeline
    from sapwood.report import bench_table, reasons, render_bench

    check_record(out)
    _check_names(models, runtime)
    note_threads(threads)
    bundles = _bundles(models, weights or [], model_factory)
    runtimes = list(dict.fromkeys(name.strip() for name in runtime.split(",") if name.strip()))
    with progress_bar("timing") as progress:
        record = pipeline.bench(
            bundles, runtimes, threads=threads, batch=batch, rounds=rounds, progress=progress
        )  # fmt: skip
    then = _next(record, dict(zip(bundles, models, strict=True)), bundles)
    made_by = made(then)
    told = {**asdict(record), "made": made_by.model_dump(mode="json")}
    write_record(out, told, lambda: render_bench(record, made_by))
    if as_json:
        print_json(told)
    else:
        make_console().print(bench_table(record))
        for line in reasons(record):
            print(line)
        if then:
            next_step(*then)
    if any(row.check_failed for row in record.rows):
        raise typer.Exit(1)
    if record.baseline is None:
        raise typer.Exit(2)


def _check_names(models: list[str], runtime: str) -> None:
    """Refuses runtimes that stand where models do."""
    from sapwood.runtime import RUNTIMES

    meant = [name for name in models if name in RUNTIMES and not Path(name).exists()]
    if meant:
        together = ",".join([runtime.strip(", "), *meant])
        raise ConfigError(f"{meant[0]} is a runtime and stands as a model; expected one option: --runtime {together}")


def _next(record: BenchRecord, named: dict[str, str], bundles: dict[str, ModelBundle]) -> tuple[str, ...]:
    """The fastest pair is what one takes to where the network is to run."""
    timed = {row.ratio: row for row in record.rows if row.ratio is not None}
    if not timed:
        return ()
    best = timed[min(timed)]
    model = model_words(named[best.model], bundles[best.model].source)
    if best.runtime == "sapwood":
        return (words("sapwood", "compile", *model, "-o", "fast"),)
    if best.runtime in {"onnxruntime", "openvino"}:
        kind, suffix = ("onnx", ".onnx") if best.runtime == "onnxruntime" else ("openvino", ".xml")
        return (words("sapwood", "export", *model, "--format", kind, "-o", f"model{suffix}"),)
    small = apart_from(model[0], "small")
    return (words("sapwood", "prune", *model, "--latency", "0.5", "--runtime", best.runtime, "-o", small),)


def _bundles(models: list[str], weights: list[Path], factory: str | None) -> dict[str, ModelBundle]:
    """The models by name; one that is given twice gets a number. The factory is that of those that need one."""
    from sapwood.models import needs_factory

    if len(weights) > len(models):
        raise ConfigError(f"got {len(weights)} --weights for {len(models)} models; expected at most one each")
    made = {spec for spec in models if factory is not None and Path(spec).is_dir() and needs_factory(spec)}
    if factory is not None and not made:
        raise ConfigError(f"--model-factory {factory}: no model needs it; expected a saved directory of a factory's")
    found: dict[str, ModelBundle] = {}
    for number, spec in enumerate(models):
        name, copies = spec, 1
        while name in found:
            copies += 1
            name = f"{spec} ({copies})"
        given = weights[number] if number < len(weights) else None
        found[name] = load_bundle(spec, given, factory=factory if spec in made else None, any_weights=True)
    return found
