"""``sapwood train``: trains a detector or a classifier."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

if TYPE_CHECKING:
    from sapwood.config import TrainConfig
    from sapwood.training import TrainResult
    from sapwood.types import ModelBundle


def train(
    model: ModelArgument,
    data: DataOption,
    weights: WeightsOption = None,
    names: NamesOption = None,
    model_factory: ModelFactoryOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML with any field of the training configuration.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Pictures a step.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Highest learning rate.")] = None,
    input_size: Annotated[int | None, typer.Option("--input-size", help="Side of the input, a multiple of 32.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of weights, order and augmentation.")] = None,
    train_split: Annotated[str, typer.Option("--train-split", help="Part of the data to train on.")] = "train",
    val_split: Annotated[
        str, typer.Option("--val-split", help="Part to measure on; `none` trains without measuring.")
    ] = "val",
    sparse: Annotated[
        str | None,
        typer.Option(
            "--sparse",
            help="Pull channels towards zero meanwhile: `slimming`, `group_lasso`, `group_norm`, `growing`.",
        ),
    ] = None,
    sparse_strength: Annotated[
        float | None, typer.Option("--sparse-strength", help="How strong that is; the method's own if not given.")
    ] = None,
    gradual: Annotated[
        float | None,
        typer.Option("--gradual", help="Fraction of the convolutions' weights that goes step by step (`gradual:`)."),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="A model whose outputs the loss compares with; see `sapwood eval`.")
    ] = None,
    teacher_weights: Annotated[
        Path | None, typer.Option("--teacher-weights", help="The `.weights` of a teacher that is a `.cfg`.")
    ] = None,
    teacher_factory: Annotated[
        str | None,
        typer.Option(
            "--teacher-factory",
            metavar="PACKAGE.MODULE:FACTORY",
            help="Of a teacher that is a saved directory: as `--model-factory`.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    out: Annotated[Path, typer.Option("-o", "--out", help="Directory of the run.")] = Path("runs/train"),
    on_bad: OnBadOption = OnBad.error,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trains a network; a run that was stopped goes on with --resume and ends at the same numbers.

    A `.cfg` whose classes are not those of the data is rewritten for them (`num_classes: cfg` keeps its own).

    `accelerate launch --num-processes 4 -m sapwood train ...` shares every batch among four processes.

    Example: `sapwood train yolov4-tiny.cfg --data bccd --epochs 60 --input-size 320 -o runs/bccd`
    """
    from sapwood import training
    from sapwood.data import data_parts
    from sapwood.errors import ConfigError
    from sapwood.files import alone_in, check_folder
    from sapwood.models import check_target, save_model
    from sapwood.pipeline import training_plugins

    check_folder(out)
    check_target(out / "model")
    set_threads(threads)
    options = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "input_size": input_size, "seed": seed,
        "sparse": None if sparse is None else {"method": sparse, "strength": sparse_strength},
        "gradual": None if gradual is None else {"sparsity": gradual},
        "resume": resume or None, "on_bad": None if on_bad is OnBad.error else on_bad.value,
    }  # fmt: skip
    if sparse is None and sparse_strength is not None:
        raise ConfigError("--sparse-strength says how strong --sparse is; expected --sparse")
    bundle = load_bundle(model, weights, names, factory=model_factory)
    settings = _settings(bundle, config, {name: value for name, value in options.items() if value is not None})
    if len(data_parts(data)) > 1:
        raise ConfigError(f"--data {data}: training learns from the labels of one data set; expected one")
    pictures = open_data(bundle, data, train_split, on_bad)
    measured = None if val_split == "none" else open_data(bundle, data, val_split, on_bad)
    processes = training.find_processes()
    alone = alone_in(out) if processes.index == 0 else nullcontext()
    with alone, progress_bar("training", quiet=processes.index > 0) as progress:
        result = training.train(
            bundle,
            pictures,
            config=settings,
            run_dir=out,
            val_dataset=measured,
            plugins=training_plugins(settings),
            teacher=None if teacher is None else load_bundle(teacher, teacher_weights, names, factory=teacher_factory),
            progress=progress,
        )
        record = {"train": settings.model_dump(mode="json")}
        saved = processes.from_first(lambda: save_model(result.bundle, out / "model", record=record))
    if processes.index == 0:
        _show(result, saved, as_json=as_json)


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


def _show(result: TrainResult, saved: Path, *, as_json: bool) -> None:
    from sapwood.report import evaluation_table, records

    files = {**{name: str(path) for name, path in result.files.items()}, "model": str(saved)}
    if as_json:
        metrics = None if result.evaluation is None else dict(result.evaluation.metrics)
        values = {"metrics": metrics, "epochs": len(result.history), "files": files, "skipped": result.skipped}
        print_json(records.make_part(records.TrainingRecord, values).plain())
        return
    console = make_console()
    if result.evaluation is not None:
        console.print(evaluation_table(result.evaluation))
    for name, path in files.items():
        console.print(f"{name}: {path}", highlight=False)
