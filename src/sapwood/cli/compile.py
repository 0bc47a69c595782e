"""``sapwood compile``: a network for the sparse engine, as files that load fast."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sapwood.cli.commanded import made
from sapwood.cli.common import JsonOption, LoadOptions, ModelArgument, note_threads, print_json
from sapwood.cli.groups import grouped
from sapwood.cli.next_steps import model_words, next_step, words
from sapwood.cli.progress import doing

if TYPE_CHECKING:
    from sapwood.report import Compiling

RECORD = "compile.json"


@grouped
def compile(
    *,
    model: ModelArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Directory; a compiled network there is replaced.", show_default=False)
    ],
    files: LoadOptions,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads to tune and time for; all cores if not given.")
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune/--no-tune",
            help="Try on this machine how convolutions go through their maps, and what PyTorch runs faster.",
        ),
    ] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Every operation with its zeros and milliseconds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compiles a network for the sparse engine, compares it with the model, and saves it.

    `sapwood.runtime.load(DIR)` runs it, on any machine with Sapwood. Zeros take a bit each in the file. `-o` also gets
    `report.html`: its time beside PyTorch's, operation by operation.

    Example: `sapwood compile masked -o fast`
    """
    from sapwood.export import tensors_of
    from sapwood.pipeline import compiled_figures
    from sapwood.report import records
    from sapwood.runtime import compile as compile_model
    from sapwood.runtime.engine.saved import check_target

    check_target(out)
    note_threads(threads)
    bundle = files.load(model)
    start = time.perf_counter()
    inputs = tuple(one[:1] for one in tensors_of(bundle.example_inputs))
    with doing("compiling"):
        compiled = compile_model(bundle.model, inputs, threads=threads, tune=tune)
    seconds = time.perf_counter() - start
    compiled.save(out)
    with doing("timing"):
        figures = compiled_figures(compiled, bundle.model, inputs)
    then = words("sapwood", "bench", *model_words(model, bundle.source), "--runtime", "torch,onnxruntime,sapwood")
    named = {"model": model, "out": str(out), "compile_s": seconds, "size_bytes": _size(out), "made": made([then])}
    record = records.make_part(records.Compiling, {**figures, **named})
    _write(record, out)
    if as_json:
        print_json(record.plain())
        return
    if explain:
        print(compiled.explain())
    _show(record)
    next_step(then)


def _size(out: Path) -> int:
    from sapwood.runtime.engine.saved import NETWORK_NAME, WEIGHTS_NAME

    return sum((out / name).stat().st_size for name in (NETWORK_NAME, WEIGHTS_NAME))


def _write(record: Compiling, out: Path) -> None:
    """Writes the record and its page beside the network; `sapwood report` makes the page again."""
    from sapwood.files import write_json, write_text
    from sapwood.report import render_compile

    write_json(out / RECORD, record.plain())
    write_text(out / "report.html", render_compile(record))


def _show(record: Compiling) -> None:
    from sapwood.report import compiled_noise, megabytes

    calls, beside = len(record.in_pytorch), record.beside
    print(
        f"{record.out}  {megabytes(record.size_bytes)}, {record.sparsity:.1%} of the weights zero, "
        f"{calls or 'no'} call{'' if calls == 1 else 's'} left to PyTorch{_kinds(record)}"
    )
    threads = f"{record.threads} thread{'' if record.threads == 1 else 's'}"
    print(
        f"{record.median_ms:.1f} ms a picture on {threads}, {beside.pytorch_ms:.1f} ms in PyTorch; compiled in "
        f"{record.compile_s:.1f} s; gives what the model gives on the example inputs{compiled_noise(record)}"
    )
    if record.tried_ms:
        tried = ", ".join(f"{name} {time:.1f} ms" for name, time in record.tried_ms.items())
        print(f"run by {record.run_by}, the fastest of {tried}; --explain says it part by part")
    print(f"report: {Path(record.out) / 'report.html'}")


def _kinds(record: Compiling) -> str:
    found = sorted({call.op for call in record.in_pytorch})
    return f" ({', '.join(found)}; --explain says why)" if found else ""
