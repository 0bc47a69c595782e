"""``sapwood demo``: the whole story on a built-in detector and data set."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from sapwood.cli.common import JsonOption, ThreadsOption, load_bundle, make_console, note_threads
from sapwood.cli.compare import run_compare
from sapwood.cli.next_steps import next_step
from sapwood.cli.record_files import check_run

NUM_SHOWN = 3
NUM_CALIBRATION = 64


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the report goes.")] = Path("demo-report"),
    images: Annotated[int, typer.Option("--images", min=1, help="Pictures that accuracy is measured on.")] = 200,
    rounds: Annotated[int, typer.Option("--rounds", min=3, help="Rounds of the latency measurement.")] = 50,
    open_report: Annotated[bool, typer.Option("--open/--no-open", help="Show the report in a browser.")] = False,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Torch's masks, channels removed, and what is of use, on a small digit detector that comes with Sapwood.

    A table, and report.html with every case.

    Example: `sapwood demo`
    """
    from sapwood.cases import default_cases
    from sapwood.comparing import CompareSettings, first_pictures
    from sapwood.data import digits_dataset
    from sapwood.files import check_folder
    from sapwood.goals import calibrate

    check_run(out, "compare.json")
    check_folder(out / "cases")
    bundle = load_bundle("builtin:digits", None)
    dataset = digits_dataset("test", num_images=images)
    note_threads(threads)
    settings = CompareSettings(latency_rounds=rounds, threads=threads)
    run_compare(
        bundle,
        dataset,
        default_cases("demo"),
        first_pictures(dataset, NUM_SHOWN),
        out,
        settings,
        model="builtin:digits",
        data="digits",
        calibration=lambda: calibrate(bundle, "digits", num_pictures=NUM_CALIBRATION, labels="own"),
        as_json=as_json,
        tell=_tell,
    )
    if open_report:
        webbrowser.open((out / "report.html").resolve().as_uri())


def _tell(record: dict[str, Any]) -> None:
    """The cases, and what they come to, last of all."""
    from sapwood.report import story_deployed, story_end, story_table

    make_console().print(story_table(record))
    sentence, commands = story_end(record)
    for line in (story_deployed(record), sentence):
        if line:
            print(line)
    if commands:
        next_step(*commands, because="The like of your own network:")
