"""``sapwood train``: trains a detector or a classifier."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.commanded import made
from sapwood.cli.common import (
    DataOption,
    JsonOption,
    ModelArgument,
    ModelFactoryOption,
    NamesOption,
    OnBad,
    OnBadOption,
    ThreadsOption,
    WeightsOption,
    load_bundle,
    make_console,
    open_data,
    print_json,
    progress_bar,
    set_threads,
)
from sapwood.cli.devices import DeviceOption, on_device
from sapwood.cli.epochs import epoch_line
from sapwood.cli.fractions import fraction
from sapwood.cli.next_steps import apart_from, model_words, next_step, words
from sapwood.cli.record_files import PAGE, check_run
from sapwood.cli.stopping import same_command, saying

HOW, SPARSE, TEACHER = "How it is trained", "Towards sparsity", "A teacher"
"""Headings of the help."""
RECORD = "train.json"
"""What the directory of a run gets beside its checkpoints, its model and its page."""

if TYPE_CHECKING:
    from sapwood.config import TrainConfig
    from sapwood.report import TrainingRecord
    from sapwood.training import TrainResult
    from sapwood.types import ModelBundle


def train(
    model: ModelArgument,
    data: DataOption,
    weights: WeightsOption = None,
    names: NamesOption = None,
    model_factory: ModelFactoryOption = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            rich_help_panel=HOW,
            help="YAML with any field of the training configuration (docs/training.md).",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", show_default="100", rich_help_panel=HOW, help="Passes over the training pictures."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", show_default="16", rich_help_panel=HOW, help="Pictures a step.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", show_default="0.01", rich_help_panel=HOW, help="Highest learning rate.")
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            "--input-size", show_default="the model's", rich_help_panel=HOW, help="Side of the input, a multiple of 32."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", show_default="0", rich_help_panel=HOW, help="Of weights, order and augmentation."),
    ] = None,
    train_split: Annotated[str, typer.Option("--train-split", help="Part of the data to train on.")] = "train",
    val_split: Annotated[
        str, typer.Option("--split", help="Part to measure on; `none` trains without measuring.")
    ] = "val",
    sparse: Annotated[
        str | None,
        typer.Option(
            "--sparse",
            rich_help_panel=SPARSE,
            help="Pull channels towards zero meanwhile: `slimming`, `group_lasso`, `group_norm`, `growing`.",
        ),
    ] = None,
    sparse_strength: Annotated[
        float | None,
        typer.Option(
            "--sparse-strength", rich_help_panel=SPARSE, help="How strong that is; the method's own if not given."
        ),
    ] = None,
    gradual: Annotated[
        float | None,
        typer.Option(
            "--gradual",
            parser=fraction,
            metavar="FRACTION",
            rich_help_panel=SPARSE,
            help="Fraction of the convolutions' weights that goes step by step (`gradual:`).",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            rich_help_panel=TEACHER,
            help="A model whose outputs the loss compares with; named as MODEL is.",
        ),
    ] = None,
    teacher_weights: Annotated[
        Path | None,
        typer.Option(
            "--teacher-weights", rich_help_panel=TEACHER, help="The `.weights` of a teacher that is a `.cfg`."
        ),
    ] = None,
    teacher_factory: Annotated[
        str | None,
        typer.Option(
            "--teacher-factory",
            rich_help_panel=TEACHER,
            metavar="PACKAGE.MODULE:FACTORY",
            help="Of a teacher that is a saved directory: as `--model-factory`.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    out: Annotated[Path, typer.Option("-o", "--out", help="Directory of the run.")] = Path("runs/train"),
    on_bad: OnBadOption = OnBad.error,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trains a network; a run that was stopped goes on with --resume and ends at the same numbers.

    With --resume and more --epochs a finished run goes on, too. Every epoch is a line on standard error. `-o` also gets
    `report.html`: figures epoch by epoch.

    A `.cfg` whose classes are not those of the data is rewritten for them (`num_classes: cfg` keeps its own).

    `accelerate launch --num-processes 4 -m sapwood train ...` shares every batch among four processes.

    Example: `sapwood train yolov4-tiny.cfg --data bccd --epochs 60 --input-size 320 -o runs/bccd`
    """
    from sapwood import training
    from sapwood.data import data_parts
    from sapwood.errors import ConfigError
    from sapwood.files import alone_in
    from sapwood.models import check_target, save_model
    from sapwood.pipeline import training_plugins

    check_run(out, "metrics.jsonl", "checkpoint.safetensors", "best.safetensors", RECORD)
    check_target(out / "model")
    if resume and not training.holds_run(out):
        raise ConfigError(f"{out} holds no run to resume; expected the -o of one, or no --resume")
    set_threads(threads)
    options = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "input_size": input_size, "seed": seed,
        "sparse": None if sparse is None else {"method": sparse, "strength": sparse_strength},
        "gradual": None if gradual is None else {"sparsity": gradual},
        "resume": resume or None, "on_bad": None if on_bad is OnBad.error else on_bad.value,
    }  # fmt: skip
    if sparse is None and sparse_strength is not None:
        raise ConfigError("--sparse-strength says how strong --sparse is; expected --sparse")
    bundle = on_device(
        load_bundle(model, weights, names, factory=model_factory, any_weights=True, seed=seed or 0), device
    )
    settings = _settings(bundle, config, {name: value for name, value in options.items() if value is not None})
    if len(data_parts(data)) > 1:
        raise ConfigError(f"--data {data}: training learns from the labels of one data set; expected one")
    pictures = open_data(bundle, data, train_split, on_bad, learnt=True)
    measured = None if val_split == "none" else open_data(bundle, data, val_split, on_bad, learnt=True)
    processes = training.find_processes()

    def taught_by() -> ModelBundle:
        return load_bundle(str(teacher), teacher_weights, names, factory=teacher_factory)

    alone = alone_in(out) if processes.index == 0 else nullcontext()
    with saying(lambda: _stopped(out)):
        with alone, progress_bar("training", quiet=processes.index > 0) as progress:
            result = training.train(
                bundle,
                pictures,
                config=settings,
                run_dir=out,
                val_dataset=measured,
                plugins=training_plugins(settings),
                teacher=None if teacher is None else on_device(taught_by(), device),
                progress=progress,
                on_epoch=lambda record: progress.line(epoch_line(record, settings.epochs)),
            )
            record = {"train": settings.model_dump(mode="json")}
            saved = processes.from_first(lambda: save_model(result.bundle, out / "model", record=record))
        if processes.index == 0:
            named = {
                "model": model, "data": data, "train_split": train_split, "split": val_split, "teacher": teacher,
                "config": settings.model_dump(mode="json", exclude_defaults=True),
            }  # fmt: skip
            _tell(result, saved, out, named, as_json=as_json)


def _stopped(out: Path) -> str:
    """Where training stopped, and how it goes on."""
    from sapwood.training import epochs_done

    done = epochs_done(out)
    if not done:
        return f"in the first epoch, of which {out} holds nothing; start again with: {same_command()}"
    epochs = "epoch" if done == 1 else "epochs"
    return f"after {done} {epochs}, which {out} holds; go on with: {same_command('--resume')}"


def _settings(bundle: ModelBundle, config: Path | None, options: dict[str, Any]) -> TrainConfig:
    """The configuration: the file's fields, then the options that were given.

    What the model's framework takes by itself comes first: a Darknet detector the classes of the data.
    """
    from sapwood.config import TrainConfig, parse_config, read_config
    from sapwood.models import framework_of

    base: dict[str, Any] = dict(framework_of(bundle.model).defaults(bundle))
    if config is not None:
        base |= read_config(TrainConfig, config).model_dump(exclude_unset=True)
    return parse_config(TrainConfig, base | options, where="options" if config is None else f"{config} with options")


def _tell(result: TrainResult, saved: Path, out: Path, named: dict[str, Any], *, as_json: bool) -> None:
    """Writes the record and its page beside the run, and prints what came of it."""
    from sapwood.files import write_json, write_text
    from sapwood.report import evaluation_table, render_train

    record = _record(result, saved, out, named)
    write_json(out / RECORD, record.plain())
    write_text(out / PAGE, render_train(record))
    if as_json:
        print_json(record.plain())
        return
    console = make_console()
    if result.evaluation is not None:
        console.print(evaluation_table(result.evaluation))
    for name, path in record.files.items():
        console.print(f"{name}: {path}", highlight=False)
    if record.made is not None:
        next_step(*record.made.then)


def _record(result: TrainResult, saved: Path, out: Path, named: dict[str, Any]) -> TrainingRecord:
    from sapwood.report import records

    files = {**{name: str(path) for name, path in result.files.items()}, "model": str(saved), "report": str(out / PAGE)}
    found = result.evaluation
    measured: dict[str, Any] = {} if found is None else {
        "primary": found.primary,
        "num_images": found.num_images,
        "per_class": dict(found.per_class),
        "interval": records.estimated(found.value, found.resampled),
    }  # fmt: skip
    words_of = model_words(str(saved), result.bundle.source)
    then = (
        words("sapwood", "eval", *words_of, "--data", named["data"], *_split(named["split"])),
        words("sapwood", "prune", *words_of, "--macs", "0.5", "-o", apart_from(words_of[0], "small")),
    )
    values = {
        **named, **measured,
        "metrics": None if found is None else dict(found.metrics),
        "epochs": len(result.history), "history": result.history, "files": files, "skipped": result.skipped,
        "made": made(then),
    }  # fmt: skip
    return records.make_part(records.TrainingRecord, values)


def _split(split: str) -> tuple[str, ...]:
    """The part of the data that was measured on, where it is another one than `sapwood eval` takes by itself."""
    return () if split in {"val", "none"} else ("--split", split)
