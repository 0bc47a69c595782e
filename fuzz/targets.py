"""Every reader of the project as a target: small seeds of its own, and a call that reads one document.

A target is a function that gets an empty folder and returns its seeds and the reader. A reader may raise an error of
Sapwood's that names the file; nothing else. Everything is imported before the first document is read, so that what is
imported later was asked for by a file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.torch
import torch
from mutations import Mutation, of_bytes, of_json, of_png, of_safetensors, of_text
from PIL import Image
from torch import nn

import sapwood
from sapwood.data import open_detection
from sapwood.data.checks import OnBad
from sapwood.data.images import picture_size, read_image
from sapwood.errors import TrainingError
from sapwood.models import load_model, load_saved
from sapwood.models.state_dict import read_state
from sapwood.reading import naming, reading

Read = Callable[[bytes], object]
Prepared = tuple[Sequence[bytes], Read]


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        mutate: How its documents are damaged.
        prepare: Makes the seeds and the reader, in a folder.
    """

    mutate: Mutation
    prepare: Callable[[Path], Prepared]


TARGETS: dict[str, Target] = {}
"""Every target by name."""


def target(mutate: Mutation) -> Callable[[Callable[[Path], Prepared]], Callable[[Path], Prepared]]:
    """Registers a target under the name of its function."""

    def register(prepare: Callable[[Path], Prepared]) -> Callable[[Path], Prepared]:
        TARGETS[prepare.__name__] = Target(mutate, prepare)
        return prepare

    return register


CFG = """[net]
width=16
height=16
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[route]
layers=-1
groups=2
group_id=1

[maxpool]
size=2
stride=2

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 0,1
anchors = 1,2, 3,4, 5,6
classes=2
num=3
"""


def network() -> nn.Module:
    """A small classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 2),
    ).eval()  # fmt: skip


def picture(path: Path, side: int = 16) -> Path:
    """Writes a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)
    Image.fromarray(pixels).save(path)
    return path


def all_of(path: Path) -> None:
    """Opens a data set in both ways of meeting what is bad, and reads its first pictures."""

    def open_all(on_bad: OnBad) -> None:
        for sample in open_detection(path, on_bad=on_bad).samples[:2]:
            sample.load()

    with contextlib.suppress(sapwood.errors.SapwoodError):
        open_all("skip")
    open_all("error")


# --- what users write -------------------------------------------------------------------------------------------------


@target(of_text)
def train_config(folder: Path) -> Prepared:
    from sapwood.config import TrainConfig, read_config

    file = folder / "train.yaml"
    seeds = [
        b"epochs: 3\nbatch_size: 4\naugment: {mosaic: 0.5, hue: 0.1}\n",
        b"a: &a [1, *a]\n",
        b"? [x]\n: !!set {a, b}\n",
    ]
    return seeds, lambda data: (file.write_bytes(data), read_config(TrainConfig, file))


@target(of_text)
def recipe(folder: Path) -> Prepared:
    from typer.main import get_command

    from sapwood.cli.app import app
    from sapwood.cli.steps import commands
    from sapwood.recipe import read_recipe

    file, group = folder / "recipe.yaml", get_command(app)
    seeds = [
        b"model: net.cfg\nweights: net.weights\ndata: coco\nsteps:\n- prune: {latency: 0.5, runtime: torch}\n"
        b"- name: b\n  model: original\n  train:\n    epochs: 2\n    config: {epochs: 3}\n"
        b"- bench: {runtime: [torch]}\n",
        b"model: builtin:digits\nsteps: [{eval: {data: digits}}, {export: {format: onnx}}, {mask: {sparsity: 0.5}}]\n",
    ]

    def read(data: bytes) -> None:
        file.write_bytes(data)
        asked = read_recipe(file)
        with naming(file):
            commands(asked, folder / "out", group)  # type: ignore[arg-type]

    return seeds, read


@target(of_text)
def cases(folder: Path) -> Prepared:
    from sapwood.cases import read_cases

    file = folder / "cases.yaml"
    seeds = [
        b"- {method: ln_structured, sparsity: [0.1, 0.2], layers: conv}\n"
        b"- kind: mask\n  method: global_l1\n  sparsity: 0.5\n"
    ]
    return seeds, lambda data: (file.write_bytes(data), read_cases(file))


@target(of_text)
def class_names(folder: Path) -> Prepared:
    from sapwood.models.spec import read_names

    file = folder / "net.names"
    return [b"cat\ndog\n\n bird\n"], lambda data: (file.write_bytes(data), read_names(file, 3))


# --- data sets --------------------------------------------------------------------------------------------------------


@target(of_text)
def data_yaml(folder: Path) -> Prepared:
    picture(folder / "images" / "val" / "a.png")
    (folder / "labels" / "val").mkdir(parents=True)
    (folder / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    seeds = [
        b"path: .\ntrain: images/val\nval: images/val\nnames: [cat, dog]\n",
        b"val: [images/val]\nnc: 2\nnames: {0: a, 1: b}\n",
    ]
    return seeds, lambda data: ((folder / "data.yaml").write_bytes(data), all_of(folder / "data.yaml"))


@target(of_text)
def yolo_labels(folder: Path) -> Prepared:
    picture(folder / "images" / "val" / "a.png")
    file = folder / "labels" / "val" / "a.txt"
    file.parent.mkdir(parents=True)
    return [b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n"], lambda data: (file.write_bytes(data), all_of(folder))


@target(of_text)
def picture_list(folder: Path) -> Prepared:
    picture(folder / "images" / "a.png")
    picture(folder / "images" / "b.png")
    (folder / "labels").mkdir()
    for name in "ab":
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "my.data").write_text("classes = 1\nvalid = val.txt\nnames = my.names\n")
    (folder / "my.names").write_text("cat\n")
    return [b"images/a.png\nimages/b.png\n"], lambda data: (
        (folder / "val.txt").write_bytes(data),
        all_of(folder / "my.data"),
    )


@target(of_text)
def darknet_data(folder: Path) -> Prepared:
    picture(folder / "images" / "a.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "val.txt").write_text("images/a.png\n")
    (folder / "my.names").write_text("cat\n")
    seeds = [b"classes = 1\ntrain = val.txt\nvalid = val.txt\nnames = my.names\nbackup = b # x\n"]
    return seeds, lambda data: ((folder / "my.data").write_bytes(data), all_of(folder / "my.data"))


@target(of_json)
def coco_json(folder: Path) -> Prepared:
    picture(folder / "a.png")
    record = {
        "images": [{"id": 1, "file_name": "a.png", "height": 16, "width": 16}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3.5, 4], "iscrowd": 0, "area": 14.0},
            {"id": 2, "image_id": 1, "category_id": 4, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    file = folder / "instances_val.json"
    return [json.dumps(record).encode()], lambda data: (file.write_bytes(data), all_of(file))


@target(of_text)
def voc_xml(folder: Path) -> Prepared:
    picture(folder / "JPEGImages" / "a.jpg")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    (folder / "Annotations").mkdir()
    seed = (
        b"<annotation><filename>a.jpg</filename><size><width>16</width><height>16</height><depth>3</depth></size>"
        b"<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax>"
        b"<ymax>8</ymax></bndbox></object><object><name>dog</name><difficult>1</difficult><bndbox><xmin>1.5</xmin>"
        b"<ymin>2</ymin><xmax>12</xmax><ymax>13</ymax></bndbox></object></annotation>"
    )
    file = folder / "Annotations" / "a.xml"
    return [seed, seed.replace(b"><", b">\n<")], lambda data: (file.write_bytes(data), all_of(folder))


@target(of_text)
def voc_split(folder: Path) -> Prepared:
    picture(folder / "JPEGImages" / "a.jpg")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(
        "<annotation><size><width>16</width><height>16</height></size><object><name>cat</name><bndbox><xmin>1</xmin>"
        "<ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
    )
    file = folder / "ImageSets" / "Main" / "val.txt"
    file.parent.mkdir(parents=True)
    return [b"a\n", b"a 1\nb -1\n"], lambda data: (file.write_bytes(data), all_of(folder))


@target(of_png)
def picture_file(folder: Path) -> Prepared:
    suffixes = ("png", "jpg", "bmp", "webp", "tif", "ppm")
    seeds = [picture(folder / f"seed.{suffix}").read_bytes() for suffix in suffixes]
    gray = Image.new("LA", (9, 5))
    gray.save(folder / "gray.png")
    seeds.append((folder / "gray.png").read_bytes())
    file = folder / "a.png"
    return seeds, lambda data: (file.write_bytes(data), picture_size(file), read_image(file))


# --- networks ---------------------------------------------------------------------------------------------------------


@target(of_text)
def darknet_cfg(folder: Path) -> Prepared:
    file = folder / "net.cfg"
    seeds = [
        CFG.encode(),
        b"[net]\nwidth=8\nheight=8\nchannels=1\n[connected]\noutput=5\nactivation=relu\n[softmax]\n[cost]\n",
        b"[net]\nwidth=8\nheight=8\nchannels=4\n[convolutional]\nfilters=4\nsize=3\npad=1\ngroups=2\nactivation=mish\n"
        b"[shortcut]\nfrom=-1\nactivation=linear\n[upsample]\nstride=2\n[reorg]\nstride=2\n[avgpool]\n",
    ]

    def read(data: bytes) -> None:
        file.write_bytes(data)
        bundle = load_model(str(file))
        inputs = bundle.example_inputs
        with torch.no_grad():
            bundle.model(*(inputs if isinstance(inputs, tuple) else (inputs,)))

    return seeds, read


@target(of_bytes)
def darknet_weights(folder: Path) -> Prepared:
    (folder / "net.cfg").write_text(CFG)
    size = 4 * 4 + 4 * 3 * 9 + 14 * 2 + 14
    values = np.linspace(0.1, 1, size, dtype=np.float32).tobytes()
    headers = [np.array([0, 2, 5, 7, 0], np.int32).tobytes(), np.array([0, 1, 0, 7], np.int32).tobytes()]
    file = folder / "net.weights"
    seeds = [header + values for header in headers]
    return seeds, lambda data: (file.write_bytes(data), load_model(str(folder / "net.cfg"), weights=file))


def _pruned(folder: Path, *, masked: bool = False) -> Path:
    model = network()
    if masked:
        torch.nn.utils.prune.l1_unstructured(model[3], "weight", 0.5)  # type: ignore[no-untyped-call]
    pruned = sapwood.prune(model, torch.zeros(1, 3, 8, 8), target=sapwood.Target(sparsity=0.5))
    return sapwood.save(pruned, folder / "saved")


def _by_factory(saved: Path) -> Any:
    return load_saved(saved, factory=lambda: (network(), torch.zeros(1, 3, 8, 8)))


@target(of_json)
def plan_json(folder: Path) -> Prepared:
    saved = _pruned(folder)
    file = saved / "plan.json"
    seed = file.read_bytes()
    named = json.loads(seed)
    named["source"] = {"spec": "canary:factory", "kind": "factory", "weights": None, "files": []}

    def read(data: bytes) -> None:
        file.write_bytes(data)
        with contextlib.suppress(sapwood.errors.SapwoodError):
            load_saved(saved)
        _by_factory(saved)

    return [seed, json.dumps(named).encode()], read


@target(of_safetensors)
def saved_tensors(folder: Path) -> Prepared:
    saved = _pruned(folder)
    file = saved / "model.safetensors"
    return [file.read_bytes()], lambda data: (file.write_bytes(data), _by_factory(saved))


@target(of_text)
def saved_cfg(folder: Path) -> Prepared:
    (folder / "net.cfg").write_text(CFG)
    bundle = load_model(str(folder / "net.cfg"))
    saved = sapwood.save_model(bundle, folder / "saved")
    file = saved / "model.cfg"
    return [file.read_bytes()], lambda data: (file.write_bytes(data), load_saved(saved))


def _state() -> dict[str, Any]:
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2), "n": torch.tensor(3)}


@target(of_safetensors)
def state_safetensors(folder: Path) -> Prepared:
    file = folder / "a.safetensors"
    return [safetensors.torch.save(_state())], lambda data: (file.write_bytes(data), read_state(file))


@target(of_bytes)
def state_zip(folder: Path) -> Prepared:
    """The pickle inside of a file of ``torch.save``, put back into the archive."""
    buffer, file = io.BytesIO(), folder / "a.pth"
    torch.save({"state_dict": _state(), "epoch": 3}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (inner,) = (name for name in parts if name.endswith("data.pkl"))

    def read(data: bytes) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, data if name == inner else part)
        read_state(file)

    harmful = pickle.dumps(partial(print, "never printed"))
    return [parts[inner], harmful], read


@target(of_bytes)
def state_legacy(folder: Path) -> Prepared:
    buffer, file = io.BytesIO(), folder / "a.pt"
    torch.save(_state(), buffer, _use_new_zipfile_serialization=False)
    return [buffer.getvalue()], lambda data: (file.write_bytes(data), read_state(file))


@target(of_bytes)
def masks_npz(folder: Path) -> Prepared:
    from sapwood.masks.custom import read_masks

    buffer, file = io.BytesIO(), folder / "a.npz"
    np.savez(buffer, **{"a.weight": np.ones((2, 3), bool), "b": np.zeros(4, np.float32)})
    return [buffer.getvalue()], lambda data: (file.write_bytes(data), read_masks(file))


@target(of_safetensors)
def masks_safetensors(folder: Path) -> Prepared:
    from sapwood.masks.custom import read_masks

    file = folder / "a.safetensors"
    masks = {"a": torch.ones(3, 2, dtype=torch.bool), "b": torch.zeros(4)}
    return [safetensors.torch.save(masks)], lambda data: (file.write_bytes(data), read_masks(file))


# --- what Sapwood keeps for itself ------------------------------------------------------------------------------------


@target(of_safetensors)
def checkpoint(folder: Path) -> Prepared:
    from sapwood.training.checkpoint import (
        Checkpoint,
        optimizer_tensors,
        prefixed,
        read_checkpoint,
        restore_model,
        restore_optimizer,
        write_checkpoint,
    )

    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tensors = {**prefixed("model", model.state_dict()), **prefixed("optimizer", optimizer_tensors(optimizer))}
    file = folder / "checkpoint.safetensors"
    write_checkpoint(file, Checkpoint(tensors, {"epoch": 1, "config": {"a": [1.5, None]}}).copied())

    def read(data: bytes) -> None:
        file.write_bytes(data)
        found = read_checkpoint(file)
        restore_model(model, found.part("model"), file)
        with reading(file, "a checkpoint", TrainingError):  # as a run that goes on does
            restore_optimizer(optimizer, found.part("optimizer"))

    return [file.read_bytes()], read


@target(of_json)
def stored_case(folder: Path) -> Prepared:
    from sapwood.cases import parse_cases
    from sapwood.comparing.store import CaseStore

    (row,) = parse_cases("[{method: ln_structured, sparsity: 0.1}]", "cases.yaml")
    store = CaseStore(folder, {"settings": {}})
    file = store._path(row)
    seeds = [json.dumps(case).encode() for case in _tests_of_pages("report/conftest").make_record()["cases"][:2]]
    return seeds, lambda data: (file.write_bytes(data), store.read(row))


@target(of_json)
def run_record(folder: Path) -> Prepared:
    from sapwood.cli.runner import _read

    file = folder / "run.json"
    seeds = [_run()]

    def read(data: bytes) -> None:
        file.write_bytes(data)
        _read(file)

    return seeds, read


@target(of_json)
def report_record(folder: Path) -> Prepared:
    from sapwood.cli.report import report

    made = _records()

    def read(data: bytes) -> None:
        name = next((name for name, (mark, _) in made.items() if mark in data), "report.json")
        for other in made:
            (folder / other).unlink(missing_ok=True)
        (folder / name).write_bytes(data)
        report(folder)

    return [record for _, record in made.values()], read


def _run() -> bytes:
    """The record of a run of one step."""
    from sapwood.report.run_record import RUN_SCHEMA

    step = {
        "directory": "01-a",
        "fingerprint": "x",
        "state": "done",
        "name": "a",
        "verb": "eval",
        "command": "sapwood eval a",
    }
    size = {"params": 9, "nonzeros": 8, "macs": 100, "nonzero_macs": 90}
    steps = [{**step, "command": "sapwood eval a", "seconds": 1.5, "missed": None, "size": size, "result": {}}]
    return json.dumps({"schema": RUN_SCHEMA, "model": "a", "num_steps": 1, "steps": steps, "earlier": []}).encode()


def _tests_of_pages(name: str) -> Any:
    """A module of the tests which makes records."""
    file = Path(__file__).resolve().parents[1] / "tests" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"records_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _records() -> dict[str, tuple[bytes, bytes]]:
    """Each kind of record that has a page: its file, a mark of its schema, and one from the tests of pages."""
    compared = _tests_of_pages("report/conftest").make_record()
    compared["cases"] = compared["cases"][:3]
    return {
        "report.json": (b"sapwood.prune", json.dumps(_tests_of_pages("support/pruned").prune_record()).encode()),
        "compare.json": (b"sapwood.compare", json.dumps(compared).encode()),
        "run.json": (b"sapwood.run", _run()),
    }


# --- the engine -------------------------------------------------------------------------------------------------------


def _compiled(folder: Path) -> Path:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2),
        nn.SiLU(), nn.Upsample(scale_factor=2), nn.Flatten(), nn.LayerNorm(96), nn.Linear(96, 2), nn.Softmax(1),
    ).eval()  # fmt: skip
    with torch.no_grad():
        model[0].weight[0] = 0.0
    return sapwood.runtime.compile(model, torch.zeros(1, 3, 11, 11), threads=1, tune=False).save(folder / "fast")


@target(of_json)
def engine_network(folder: Path) -> Prepared:
    from sapwood.runtime.engine import saved

    place = _compiled(folder)
    weights, file = (place / saved.WEIGHTS_NAME).read_bytes(), place / saved.NETWORK_NAME

    def read(data: bytes) -> None:
        text = data.decode(errors="replace")
        head = {
            "format": saved.FORMAT,
            "version": saved.VERSION,
            "sha256": saved._digest(text, weights),
            "content": text,
        }
        file.write_text(json.dumps(head))
        sapwood.runtime.load(place, threads=1, tune=False).explain()  # runs it once

    return [json.loads(file.read_text())["content"].encode()], read


@target(of_safetensors)
def engine_weights(folder: Path) -> Prepared:
    from sapwood.runtime.engine import saved

    place = _compiled(folder)
    text = json.loads((place / saved.NETWORK_NAME).read_text())["content"]

    def read(data: bytes) -> None:
        head = {"format": saved.FORMAT, "version": saved.VERSION, "sha256": saved._digest(text, data), "content": text}
        (place / saved.NETWORK_NAME).write_text(json.dumps(head))
        (place / saved.WEIGHTS_NAME).write_bytes(data)
        sapwood.runtime.load(place, threads=1, tune=False).explain()  # runs it once

    return [(place / saved.WEIGHTS_NAME).read_bytes()], read


@target(of_json)
def tuning_cache(folder: Path) -> Prepared:
    from sapwood.runtime.engine.tuning import cache_file

    os.environ["SAPWOOD_CACHE"] = str(folder / "cache")
    place, file = _compiled(folder), cache_file()
    sapwood.runtime.load(place, threads=1)  # tries tilings, and remembers them

    def read(data: bytes) -> None:
        file.write_bytes(data)
        sapwood.runtime.load(place, threads=1).explain()

    return [file.read_bytes()], read


@target(of_json)
def layer_times_cache(folder: Path) -> Prepared:
    from sapwood.allocation.work import KINDS
    from sapwood.goals.layer_samples import NUM_SAMPLES, STEPS, _read

    file = folder / "times.json"
    work = {str(step): {"a": [1.0] * len(KINDS)} for step in STEPS}
    rows = [{"layer_ms": {"a": 1.5, "b.c": 0.25}, "work": work}] * NUM_SAMPLES
    return [json.dumps(rows).encode()], lambda data: (file.write_bytes(data), _read(file))


def seeds_of(name: str, folder: Path) -> tuple[list[bytes], Read, Mutation]:
    """Prepares a target."""
    seeds, read = TARGETS[name].prepare(folder)
    return list(seeds), read, TARGETS[name].mutate


def mutated(data: bytes, mutate: Mutation, random: Random) -> bytes:
    """A document after one to three mutations."""
    for _ in range(random.choice((1, 1, 2, 3))):
        data = mutate(data, random)
    return data
