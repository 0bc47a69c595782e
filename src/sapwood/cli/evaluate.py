"""``sapwood eval``: the accuracy of a model on a data set."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.against import AgainstOptions
from sapwood.cli.commanded import made
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
    open_data,
    print_json,
    progress_bar,
    set_threads,
)
from sapwood.cli.devices import DeviceOption, on_device
from sapwood.cli.groups import grouped
from sapwood.cli.int8 import NUM_PICTURES
from sapwood.cli.next_steps import after_measuring, next_step
from sapwood.cli.record_files import RecordOption, check_record, write_record
from sapwood.errors import NoDataSetError

if TYPE_CHECKING:
    from sapwood.types import Dataset, ModelBundle

SAMPLES = 400
"""Of the pictures, that a figure's interval is formed of."""


@grouped
def evaluate(
    *,
    model: ModelArgument,
    data: DataOption,
    files: LoadOptions,
    compared: AgainstOptions,
    split: SplitOption = "val",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures a forward pass.")] = 8,
    score_threshold: Annotated[
        float, typer.Option("--score-threshold", min=0.0, max=1.0, help="Detections below are left out.")
    ] = 0.005,
    iou_threshold: Annotated[
        float, typer.Option("--iou-threshold", min=0.0, max=1.0, help="Overlap at which NMS drops the weaker box.")
    ] = 0.45,
    resize: ResizeOption = None,
    on_bad: OnBadOption = OnBad.error,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime",
            help="What runs the network: `torch`, `sapwood` (its sparse engine), `onnxruntime`, `openvino`, and "
            "`onnxruntime-int8` or `openvino-int8`, which take their ranges from --train-split.",
        ),
    ] = "torch",
    train_split: Annotated[
        str, typer.Option("--train-split", help="Of int8: the part that ranges are taken from, without its labels.")
    ] = "train",
    out: RecordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accuracy on a data set: mAP@0.5, mAP@[.5:.95] and AP a class, or top-1 and top-5.

    With --against, how far the network agrees with the one that it was made from, which needs no labels: mAP@0.5 or
    top-1 with what that one finds for labels, and how much of it chance may be.

    Example: `sapwood eval yolov3-tiny.cfg --weights yolov3-tiny.weights --data coco`
    """
    from sapwood import tasks
    from sapwood.report import evaluation_table, records, render_evaluation

    compared.check()
    check_record(out)
    set_threads(threads)
    bundle = on_device(files.load(model, resize), device)
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
    }
    if runtime != "torch":
        from sapwood.goals import pictures_without_labels
        from sapwood.pipeline import on_runtime

        read = partial(pictures_without_labels, bundle, data, split=train_split, num_pictures=NUM_PICTURES)
        bundle = on_runtime(bundle, runtime, pictures=read, threads=threads)
    if compared.against is not None:
        compared.show(
            model,
            bundle,
            data,
            split,
            factory=files.model_factory,
            resize=resize,
            on_bad=on_bad,
            device=device,
            out=out,
            as_json=as_json,
            **options,
        )
        return
    dataset = _labelled(bundle, data, split, on_bad)
    with progress_bar("evaluating") as progress:
        evaluation = tasks.evaluate(
            bundle,
            dataset,
            **options,
            on_bad=on_bad.value,
            progress=progress,
            resamples=SAMPLES,
        )
    named = {"model": model, "data": dataset.name, "split": split, "runtime": runtime, "unit": _unit(dataset)}
    then, interval = after_measuring(model, bundle, data), records.estimated(evaluation.value, evaluation.resampled)
    figures = {**named, **asdict(evaluation), "interval": interval, "made": made(then)}
    record = records.make_part(records.EvaluationRecord, figures)
    write_record(out, record.plain(), lambda: render_evaluation(record, record.made, then))
    if as_json:
        print_json(record.plain())
        return
    make_console().print(evaluation_table(record))
    next_step(*then)


def _unit(dataset: Dataset) -> str:
    from sapwood.types import TextDataset

    return "texts" if isinstance(dataset, TextDataset) else "pictures"


def _labelled(bundle: ModelBundle, data: str, split: str, on_bad: OnBad) -> Dataset:
    """The data set; where its pictures have no labels, the error says what can be measured without."""
    try:
        return open_data(bundle, data, split, on_bad)
    except NoDataSetError as error:
        from sapwood.data import picture_files

        if not picture_files(data):
            raise
        raise NoDataSetError(f"{error}; without labels --against DENSE measures how far networks agree") from error
