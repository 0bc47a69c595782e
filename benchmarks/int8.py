"""Channels and int8 together: fp32 and int8, dense and pruned, timed in the same rounds; accuracy where there is some.

    python benchmarks/int8.py MODEL --data ../shared/data --runtime openvino --out int8.json
    python benchmarks/int8.py MobileNetV2 --grouped

The first form takes one of the models below, removes channels (latency 0.5 in float32 on the same runtime; or takes
`--small`, a network that was pruned before), and calls all four networks in interleaved rounds. int8 is calibrated on
random inputs for the time. With `--accuracy SPLIT` each network's accuracy on that part of the model's data set is
measured on its runtime; ranges are from the train split. With `--max-drop FRACTION` the int8 networks are the files
that `sapwood export --int8-max-drop` writes: so many layers in float32 as the pictures of `--chosen-on` ask for. With
`--processor` a call takes what the process had of the processor, one thread: where other work shares the core, a long
call is interrupted and a short one is not, and the clock's ratios are wrong. The second form times a dense network in
OpenVINO with its grouped layers in int8, and as they are where the file is quantised as OpenVINO reads it. Latency
targets on int8: `latency_targets.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import sapwood
from sapwood.export import quick_onnx
from sapwood.export.int8 import openvino
from sapwood.goals import pictures_without_labels
from sapwood.measure import SPIN_DOWN, machine, measure_latency
from sapwood.pipeline import Deployment, on_runtime
from sapwood.pipeline.quantising import Int8Options, export_int8
from sapwood.runtime import RUNTIMES, Session, running_on
from sapwood.runtime.int8 import opened_int8
from sapwood.tasks import evaluate, open_data
from sapwood.types import ModelBundle

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for cifar.py, where ResNet-56 is
from processor_times import processor_times

MODELS: dict[str, tuple[str, str | None, str | None]] = {
    "yolov3-tiny": ("{data}/detectors/yolov3-tiny.cfg", "{data}/detectors/yolov3-tiny.weights", "{data}/coco"),
    "yolov4-tiny, digits": ("builtin:digits", None, "digits"),
    "yolov4-tiny": ("{data}/darknet_cfgs/yolov4-tiny.cfg", None, None),
    "ResNet-50": ("torchvision:resnet50", None, None),
    "ResNet-18": ("torchvision:resnet18", None, None),
    "MobileNetV2": ("torchvision:mobilenet_v2", None, None),
    "ResNet-56": ("cifar:resnet56", "{data}/resnet_cifar10/resnet56-jpeg.pt", None),
}
"""Model -> its specification, weights, data set."""

ROUNDS, SECONDS = 60, 15.0
PROCESSOR_ROUNDS, GROUPED_ROUNDS = 300, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=list(MODELS))
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--dense", help="A saved network instead of the published one")
    parser.add_argument("--small", help="A saved network, pruned before")
    parser.add_argument("--accuracy", metavar="SPLIT")
    parser.add_argument("--pictures", help="A data set instead of the model's own")
    parser.add_argument("--max-drop", type=float, help="Of mAP@0.5 or top-1, in [0, 1)")
    parser.add_argument("--chosen-on", default="val", metavar="SPLIT", help="Of --max-drop")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor", action="store_true", help="Processor time, one thread, of a busy machine")
    parser.add_argument("--grouped", action="store_true")
    parser.add_argument("--out")
    options = parser.parse_args()
    rows = [grouped(options) if options.grouped else together(options)]
    if options.out:
        Path(options.out).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


def loaded(name: str, data: str) -> ModelBundle:
    spec, weights, _ = MODELS[name]
    return sapwood.load_model(spec.format(data=data), weights=weights and weights.format(data=data))


def together(options: Any) -> dict[str, Any]:
    """One line of the table."""
    dense = sapwood.load_model(options.dense) if options.dense else loaded(options.model, options.data)
    small = sapwood.load_model(options.small) if options.small else halved(dense, options)
    networks = {"dense": dense, "pruned": small}
    sessions: dict[str, Session] = {}
    for name, one in networks.items():
        float32 = RUNTIMES[options.runtime]
        sessions[f"{name} fp32"] = float32.load(one.model, one.example_inputs, threads=options.threads)
        sessions[f"{name} int8"] = int8(name, one, options)
    row: dict[str, Any] = {"model": options.model, "runtime": options.runtime}
    if options.processor:
        row |= {"rounds": PROCESSOR_ROUNDS, **processor_times(sessions, PROCESSOR_ROUNDS)}
    else:
        row |= clock_times(sessions, options)
    for name in sessions:
        one = row[name]
        print(
            f"{options.model} on {options.runtime}: {name:12} {one['ms']:8.2f} ms, {1.0 / one['ratio']:.2f} x "
            f"({1.0 / one['q3']:.2f} to {1.0 / one['q1']:.2f})",
            flush=True,
        )
    if options.accuracy:
        row["accuracy"] = accuracies(networks, sessions, options)
    return row


def int8(name: str, bundle: ModelBundle, options: Any) -> Session:
    """As the runtime quantises it for its time, or the file of `--max-drop`."""
    if options.max_drop is None:
        runtime = RUNTIMES[f"{options.runtime}-int8"]
        return runtime.load(bundle.model, bundle.example_inputs, threads=options.threads)
    file_format, suffix = ("onnx", ".onnx") if options.runtime == "onnxruntime" else ("openvino", ".xml")
    chosen = Int8Options(
        pictures_of(options), split=options.chosen_on, max_drop=options.max_drop, threads=options.threads
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{suffix}"
        file = export_int8(bundle, file_format, path, chosen, stage=lambda _: nullcontext())
        print(f"{name} int8: {file.num_int8} of {file.num_layers} layers; in float32 {', '.join(file.left) or 'none'}")
        print(f"{name} int8: {file.judged} on {options.chosen_on}", flush=True)
        source = quick_onnx(bundle.model, bundle.example_inputs)
        return opened_int8(path, source, bundle.example_inputs, threads=options.threads)


def grouped(options: Any) -> dict[str, Any]:
    """A dense network in OpenVINO by the processor's time: float32, int8 as its file is read, and int8."""
    dense = loaded(options.model, options.data)
    float32, int8 = (RUNTIMES[name] for name in ("openvino", "openvino-int8"))
    sessions = {"fp32": float32.load(dense.model, dense.example_inputs, threads=1)}
    with mock.patch.object(openvino, "folded", lambda model: model):
        sessions["int8 as read"] = int8.load(dense.model, dense.example_inputs, threads=1)
    sessions["int8"] = int8.load(dense.model, dense.example_inputs, threads=1)
    row: dict[str, Any] = {"model": options.model, **processor_times(sessions, GROUPED_ROUNDS)}
    for name in sessions:
        one = row[name]
        spread = f"{1.0 / one['q3']:.2f} to {1.0 / one['q1']:.2f}"
        print(f"{name:12} {one['ms']:8.2f} ms, {1.0 / one['ratio']:.2f} x ({spread})", flush=True)
    return row


def clock_times(sessions: dict[str, Session], options: Any) -> dict[str, Any]:
    """By the clock: the median of each, and of its ratio to the dense network in float32 with its quartiles."""
    table = measure_latency(
        sessions, baseline="dense fp32", rounds=ROUNDS, seconds=SECONDS, threads=options.threads, pause=SPIN_DOWN
    )
    rows = {
        one.name: {"ms": one.median_ms, "ratio": one.ratio, "q1": one.ratio_q1, "q3": one.ratio_q3}
        for one in table.rows
    }
    return {"rounds": table.conditions["rounds"], **rows}


def halved(dense: ModelBundle, options: Any) -> ModelBundle:
    """Channels removed to half of the latency in float32, by their norms: for the time only."""
    pruned = sapwood.prune(
        dense.model,
        dense.example_inputs,
        target=sapwood.Target(latency=0.5),
        deployment=Deployment(options.runtime, options.threads),
    )
    return replace(dense, model=pruned.model)


def accuracies(networks: dict[str, ModelBundle], sessions: dict[str, Session], options: Any) -> dict[str, float]:
    """In float32 by PyTorch, in int8 on its runtime."""
    data, found = pictures_of(options), {}
    for name, bundle in networks.items():
        dataset = open_data(bundle, data, split=options.accuracy)
        if options.max_drop is None:
            read = partial(pictures_without_labels, bundle, data, num_pictures=128)
            quantised = on_runtime(bundle, f"{options.runtime}-int8", pictures=read, threads=options.threads)
        else:
            twin = running_on(sessions[f"{name} int8"], bundle.model, bundle.example_inputs)
            quantised = replace(bundle, model=twin)
        for kind, one in (("fp32", bundle), ("int8", quantised)):
            evaluation = evaluate(one, dataset)
            found[f"{name} {kind}"] = evaluation.metrics[evaluation.primary]
            print(f"{name} {kind}: {evaluation.primary} {found[f'{name} {kind}']:.4f}", flush=True)
    return found


def pictures_of(options: Any) -> str:
    return str(options.pictures or str(MODELS[options.model][2]).format(data=options.data))


if __name__ == "__main__":
    main()
