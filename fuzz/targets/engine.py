"""The engine's own files: compiled networks, and the tilings that were quickest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from mutations import of_json, of_safetensors
from torch import nn

import sapwood
from targets.target import Prepared, target


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
