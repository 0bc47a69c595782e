"""``sapwood compile``: a network for the sparse engine, as files that load fast."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Annotated

import typer

from sapwood.cli.common import (
    JsonOption,
    LoadOptions,
    ModelArgument,
    print_json,
)
from sapwood.cli.groups import grouped
from sapwood.cli.next_steps import model_words, next_step, words

RUNS = 20
"""Timed, after some that are not."""


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

    `sapwood.runtime.load(DIR)` runs it, on any machine with Sapwood. Zeros take a bit each in the file.

    Example: `sapwood compile masked -o fast`
    """
    from sapwood.export import tensors_of
    from sapwood.report import megabytes
    from sapwood.runtime import compile as compile_model
    from sapwood.runtime.engine.saved import NETWORK_NAME, WEIGHTS_NAME, check_target

    check_target(out)
    bundle = files.load(model)
    start = time.perf_counter()
    inputs = tuple(one[:1] for one in tensors_of(bundle.example_inputs))
    compiled = compile_model(bundle.model, inputs, threads=threads, tune=tune)
    seconds = time.perf_counter() - start
    compiled.save(out)
    milliseconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        compiled(*inputs)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    total, nonzeros = (sum(getattr(step, name) for step in compiled.steps) for name in ("weights", "nonzeros"))
    size = sum((out / name).stat().st_size for name in (NETWORK_NAME, WEIGHTS_NAME))
    figures = {
        "model": model,
        "out": str(out),
        "size_bytes": size,
        "zeros": 1.0 - nonzeros / total if total else 0.0,
        "threads": compiled.threads,
        "compile_s": seconds,
        "median_ms": statistics.median(milliseconds[RUNS // 4 :]),
        "run_by": compiled.choice.taken,
        "tried_ms": dict(compiled.choice.wholes),
        "in_pytorch": [
            {"op": str(node.op.overloadpacket), "module": node.label, "location": node.location, "reason": node.reason}
            for node in compiled.outside
        ],
    }
    if as_json:
        print_json(figures)
        return
    if explain:
        print(compiled.explain())
    print(
        f"{out}  {megabytes(size)}, {figures['zeros']:.1%} of the weights zero, "
        f"{len(compiled.outside) or 'no'} calls left to PyTorch{_kinds(figures['in_pytorch'])}"
    )
    print(
        f"{figures['median_ms']:.1f} ms a picture on {compiled.threads} threads, compiled in {seconds:.1f} s; "
        f"gives what the model gives on the example inputs"
    )
    if compiled.choice.wholes:
        tried = ", ".join(f"{name} {time:.1f} ms" for name, time in compiled.choice.wholes.items())
        print(f"run by {compiled.choice.taken}, the fastest of {tried}; --explain says it part by part")
    next_step(words("sapwood", "bench", *model_words(model, bundle.source), "--runtime", "torch,onnxruntime,sapwood"))


def _kinds(calls: object) -> str:
    found = sorted({str(call["op"]) for call in calls}) if isinstance(calls, list) else []
    return f" ({', '.join(found)}; --explain says why)" if found else ""
