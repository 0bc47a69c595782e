"""``sapwood compare``: every masking method beside the baseline, in one table and one page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.commanded import typed
from sapwood.cli.common import (
    DataOption,
    JsonOption,
    LoadOptions,
    ModelArgument,
    OnBad,
    OnBadOption,
    ResizeOption,
    SplitOption,
    ThreadsOption,
    make_console,
    note_threads,
    open_data,
    print_json,
    progress_bar,
)
from sapwood.cli.groups import grouped
from sapwood.cli.next_steps import apart_from, model_words, next_step, words
from sapwood.cli.record_files import check_run
from sapwood.cli.stopping import same_command, saying

if TYPE_CHECKING:
    from sapwood.cases import CaseRow
    from sapwood.comparing import CompareSettings
    from sapwood.goals import Calibration
    from sapwood.types import Dataset, ModelBundle, Picture


NUM_CALIBRATION = 256
"""Pictures that rows look at that recover."""


def _print_cases(wanted: bool) -> None:
    if wanted:
        from sapwood.cases import default_text

        typer.echo(default_text(), nl=False)
        raise typer.Exit


@grouped
def compare(
    *,
    model: ModelArgument,
    data: DataOption,
    files: LoadOptions,
    split: SplitOption = "val",
    train_split: Annotated[
        str, typer.Option("--train-split", help="Pictures that rows look at that recover; their labels are not used.")
    ] = "train",
    cases: Annotated[
        Path | None, typer.Option("--cases", help="YAML with a row a case; the practitioner's table if not given.")
    ] = None,
    pictures: Annotated[
        list[Path] | None, typer.Option("--picture", help="A picture to show with its boxes; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where compare.json and report.html go.")] = Path("compare"),
    rounds: Annotated[int, typer.Option("--rounds", min=0, help="Rounds of the latency measurement; 0: none.")] = 30,
    resize: ResizeOption = None,
    on_bad: OnBadOption = OnBad.error,
    threads: ThreadsOption = None,
    print_cases: Annotated[
        bool,
        typer.Option(
            "--print-cases",
            is_eager=True,
            callback=_print_cases,
            help="Print the practitioner's table as --cases has it, with every field, and do nothing else.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What each masking method and rate does to accuracy, size and time, against the unpruned network.

    A run that was stopped goes on where it was when started again with the same arguments.

    Example: `sapwood compare yolov3-tiny.cfg --weights yolov3-tiny.weights --data coco --picture dog.jpg`
    """
    from sapwood.cases import default_cases, read_cases
    from sapwood.comparing import CompareSettings, read_pictures
    from sapwood.files import check_folder
    from sapwood.goals import calibrate

    del print_cases  # printed long before
    check_run(out, "compare.json")
    check_folder(out / "cases")
    rows = default_cases() if cases is None else read_cases(cases)
    bundle = files.load(model, resize)
    dataset = open_data(bundle, data, split, on_bad)
    chosen = read_pictures(pictures) if pictures else None
    note_threads(threads)
    settings = CompareSettings(latency_rounds=rounds, threads=threads, on_bad=on_bad.value)
    run_compare(
        bundle,
        dataset,
        rows,
        chosen,
        out,
        settings,
        model=model,
        data=data,
        calibration=lambda: calibrate(
            bundle, data, split=train_split, num_pictures=NUM_CALIBRATION, labels="own", on_bad=on_bad.value
        ),
        as_json=as_json,
    )


def run_compare(
    bundle: ModelBundle,
    dataset: Dataset,
    cases: tuple[CaseRow, ...],
    pictures: dict[str, Picture] | None,
    out: Path,
    settings: CompareSettings,
    *,
    model: str,
    data: str,
    calibration: Callable[[], Calibration | None],
    as_json: bool,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Compares, then prints the table or the record, or lets ``tell`` do it, as ``sapwood demo`` has it."""
    from sapwood import comparing
    from sapwood.files import alone_in
    from sapwood.report import case_agreement_table, compare_table, read_record

    stopped = saying(lambda: f"the cases that are done are in {out / 'cases'}; go on with: {same_command()}")
    with alone_in(out), progress_bar("comparing") as progress, stopped:
        record = comparing.compare(
            bundle,
            dataset,
            cases,
            out_dir=out,
            pictures=pictures,
            calibration=calibration,
            settings=settings,
            command=typed(),
            name=model,
            progress=progress,
        )
    if as_json:
        print_json(record)
        return
    console = make_console()
    places = f"report: {out / 'report.html'}   record: {out / 'compare.json'}"
    if tell is not None:
        console.print(places, highlight=False)
        tell(record)
        return
    console.print(compare_table(record))
    agreement = read_record(record).agreement
    if agreement is not None:
        console.print(case_agreement_table(agreement))
    console.print(places, highlight=False)
    named = model_words(model, bundle.source)
    recovers = ("--recover", "reconstruct", "--data", data)
    next_step(words("sapwood", "prune", *named, "--macs", "0.5", *recovers, "-o", apart_from(model, "small")))
