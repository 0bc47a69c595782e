"""What ``sapwood prune`` and ``sapwood compact`` share: saving the result, and showing it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sapwood.cli.commanded import again, made
from sapwood.cli.common import make_console, print_json
from sapwood.cli.next_steps import (
    both_words,
    data_word,
    given_back,
    measured_by,
    model_words,
    next_step,
    without_task,
    words,
)
from sapwood.errors import CheckFailedError

if TYPE_CHECKING:
    from sapwood.report import Pruning, records
    from sapwood.types import ModelBundle

MEASURED = ("channels", "latency", "sensitivity", "notes")
"""What is measured while pruning, and not again when a recovery goes on."""

BUSY = 0.5
"""Span of the middle half of the rounds, as a fraction of the ratio, above which --threads 1 is worth a try."""

IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="GLOB",
        help="A parameter, module or dimension that stays whole, as `layers.3` or `*.weight[0]`; may be repeated.",
    ),
]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--outputs",
        metavar="NAME",
        help="An output that counts and keeps its sizes, as `logits`, `0` or `maps.*`; the others follow the widths. "
        "May be repeated.",
    ),
]
OutOption = Annotated[Path | None, typer.Option("-o", "--out", help="Directory the smaller model is saved in.")]
LayersOption = Annotated[bool, typer.Option("--show-layers", help="Show every layer with its shapes before and after.")]


def check_out(out: Path | None) -> None:
    """Checks, before the work, that a model can be saved where it should go."""
    from sapwood.models import check_target

    if out is not None:
        check_target(out)


def finish(
    verb: Literal["prune", "compact"],
    bundle: ModelBundle,
    result: Any,
    options: dict[str, Any],
    out: Path | None,
    *,
    layers: bool,
    as_json: bool,
    sensitivity: Any = None,
    agreement: records.MeasuredAgreement | None = None,
    earlier: Pruning | None = None,
) -> None:
    """Saves what a verb made of ``bundle``, and prints it, with what an ``earlier`` command measured of it."""
    from sapwood.pipeline import shrink_record
    from sapwood.report import prune_tables

    record = shrink_record(bundle, result, options, sensitivity, verb, agreement=agreement)
    then = _next(record, bundle, out)
    record = record.model_copy(update={"made": made(then)})
    if earlier is not None:
        record = record.model_copy(update={name: getattr(earlier, name) for name in MEASURED})
    failed = None
    if out is not None:
        record, failed = save(bundle, result, record, out)
    if as_json:
        print_json(record.plain())
    else:
        console = make_console()
        for table in prune_tables(record, layers=layers):
            console.print(table)
        for name, path in record.files.items():
            console.print(f"{name}: {path}", highlight=False)
        next_step(*then, because=" ".join(filter(None, (_because(record, result), without_task(bundle)))))
    if not result.verification.passed:
        raise CheckFailedError(
            f"the compact model differs from the masked one by {result.verification.max_abs_error:.1e} of the largest "
            "output; it was made as asked, and is not proven equal"
        )
    if failed is not None:
        raise failed
    check_latency(record.latency)


def _because(record: Pruning, result: Any) -> str:
    """The proof is silent about accuracy: how far the outputs moved."""
    from sapwood.report import moved_text

    if record.verb == "compact" and record.before.params == record.after.params:
        return f"Nothing was removed: {record.model} has no masked or dead channel; `sapwood prune` chooses channels."
    if record.verb != "prune":
        return ""
    moved = moved_text(result.verification, recovered=record.recovery is not None, agreement=record.agreement)
    return f"{moved[0].upper()}{moved[1:]}."


def _next(record: Pruning, bundle: ModelBundle, out: Path | None) -> tuple[str, ...]:
    """How accuracy is measured and brought back, and how fast the network is."""
    if out is None:
        return (again("-o", "small"),)
    data = record.options.get("data")
    saved = model_words(str(out), bundle.source)
    commands = list(measured_by(bundle, record.model, saved, data))
    if commands and record.verb == "prune" and record.recovery is None:
        given = () if data is not None else ("--data", data_word(bundle.source))
        commands.append(again(*given, "--recover", "reconstruct"))
    both = both_words(record.model, str(out), bundle.source)
    back = given_back(bundle.source, saved, record.options)
    return *commands, words("sapwood", "bench", *both, "--runtime", "torch,onnxruntime"), *back


def check_latency(latency: records.TargetLatency | None) -> None:
    """Refuses a latency that was measured too far from the target."""
    if latency is not None and not latency.met:
        asked, took = f"{latency.target:g}", ""
        if latency.target_ms is not None:
            asked, took = f"{latency.target_ms:g} ms", f"{latency.pruned_ms:.3g} ms, "
        raise CheckFailedError(
            f"latency target {asked} missed: measured {took}{latency.ratio:.3f} of the dense network's "
            f"(half of the rounds {latency.ratio_q1:.3f} to {latency.ratio_q3:.3f}) on "
            f"{latency.conditions['runtime']}; {_of_all(len(latency.attempts))} made and measured{_missed_by(latency)}"
        )


def _of_all(tried: int) -> str:
    return "no other network was" if tried < 2 else f"this is the closest of {tried} networks that were"


def _missed_by(latency: records.TargetLatency) -> str:
    """What to do about a latency that was missed; empty where nothing is known."""
    hints = []
    if latency.target is not None and latency.ratio < latency.target:
        hints.append("it is faster than asked for, which --at-most takes")
    spread = (latency.ratio_q3 - latency.ratio_q1) / max(latency.ratio, 1e-9)
    if spread > BUSY and latency.conditions.get("threads") != 1:
        hints.append("the machine was busy: with --threads 1 the processor's time counts, which others do not lengthen")
    return "".join(f"; {hint}" for hint in hints)


def save(bundle: ModelBundle, result: Any, record: Pruning, out: Path) -> tuple[Pruning, CheckFailedError | None]:
    """Writes the directory in one step: the model, its record and page, and the files that its framework reads.

    Returns the record with the files, and what was wrong with those of the framework, of which there are none then;
    everything else is there.
    """
    from sapwood.models import new_saved, save_model

    plain = record.plain()
    steps: dict[str, Any] = {record.verb: {key: plain[key] for key in ("options", "before", "after")}}
    with new_saved(out) as folder:
        save_model(
            replace(bundle, model=result.model),
            folder,
            plan=result.plan,
            verification=result.verification,
            unpruned=result.unpruned,
            record=steps,
        )
        names, failed = _own_files(replace(bundle, model=result.model), folder)
        files = {"saved": str(out), **{name: str(out / file) for name, file in names.items()}}
        record = record.model_copy(update={"files": {**files, "report": str(out / "report.html")}})
        _report(record, folder)
    return record, failed


def _own_files(bundle: ModelBundle, folder: Path) -> tuple[dict[str, str], CheckFailedError | None]:
    """Writes a model as its framework does, if that has files of its own: their names, and what was wrong with them."""
    from sapwood.export import EXPORTERS, ExportOptions
    from sapwood.models import framework_of

    name = framework_of(bundle.model).exporter
    if name is None:
        return {}, None
    exporter = EXPORTERS[name]
    try:
        path = folder / f"model{exporter.suffix}"
        written = exporter.export(bundle.model, bundle.example_inputs, path, ExportOptions())
    except CheckFailedError as error:
        return {}, CheckFailedError(str(error).replace(f"{folder}/", ""))
    return {file.suffix[1:]: file.name for file in written.files}, None


def _report(record: Pruning, folder: Path) -> None:
    """Writes the record and its page beside the model; `sapwood report` makes the page again."""
    from sapwood.files import write_json, write_text
    from sapwood.report import render_prune

    write_json(folder / "report.json", record.plain())
    write_text(folder / "report.html", render_prune(record))
