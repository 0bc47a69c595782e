"""``sapwood eval``: the accuracy of a model on a data set."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

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
from sapwood.cli.groups import grouped
from sapwood.cli.int8 import NUM_PICTURES


@grouped
def evaluate(
    *,
    model: ModelArgument,
    data: DataOption,
    files: LoadOptions,
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
    as_json: JsonOption = False,
) -> None:
    """Accuracy on a data set: mAP@0.5, mAP@[.5:.95] and AP a class, or top-1 and top-5.

    Example: `sapwood eval yolov3-tiny.cfg --weights yolov3-tiny.weights --data coco`
    """
    from sapwood import tasks
    from sapwood.report import evaluation_table, records

    set_threads(threads)
    bundle = files.load(model, resize)
    dataset = open_data(bundle, data, split, on_bad)
    if runtime != "torch":
        from sapwood.goals import pictures_without_labels
        from sapwood.pipeline import on_runtime

        read = partial(pictures_without_labels, bundle, data, split=train_split, num_pictures=NUM_PICTURES)
        bundle = on_runtime(bundle, runtime, pictures=read, threads=threads)
    with progress_bar("evaluating") as progress:
        evaluation = tasks.evaluate(
            bundle,
            dataset,
            batch_size=batch_size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            on_bad=on_bad.value,
            progress=progress,
        )
    if as_json:
        named = {"model": model, "data": dataset.name, "split": split, "runtime": runtime}
        print_json(records.make_part(records.EvaluationRecord, {**named, **asdict(evaluation)}).plain())
    else:
        make_console().print(evaluation_table(evaluation))
