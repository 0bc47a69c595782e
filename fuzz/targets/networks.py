"""Networks: Darknet's files, saved models, state dicts and masks."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pickle
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from mutations import of_bytes, of_json, of_safetensors, of_text
from torch import nn

import sapwood
from sapwood.models import load_model, load_saved
from sapwood.models.state_dict import read_state
from support.cfgs import BRANCHED
from targets.target import Prepared, target


def network() -> nn.Module:
    """A small classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 2),
    ).eval()  # fmt: skip


@target(of_text)
def darknet_cfg(folder: Path) -> Prepared:
    file = folder / "net.cfg"
    seeds = [
        BRANCHED.encode(),
        b"[net]\nwidth=8\nheight=8\nchannels=1\n[connected]\noutput=5\nactivation=relu\n[softmax]\n[cost]\n",
        b"[net]\nwidth=8\nheight=8\nchannels=4\n[convolutional]\nfilters=4\nsize=3\npad=1\ngroups=2\nactivation=mish\n"
        b"[shortcut]\nfrom=-1\nactivation=linear\n[maxpool]\nsize=2\nstride=2\n[upsample]\nstride=2\n[reorg]\nstride=2\n[avgpool]\n",
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
    (folder / "net.cfg").write_text(BRANCHED)
    size = (8 * 4 + 8 * 3 * 9) + (4 * 4 + 4 * 4 * 9) + (14 + 14 * 8)  # layer by layer
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
    (folder / "net.cfg").write_text(BRANCHED)
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
    file = folder / "a.pth"
    parts = _parts({"state_dict": _state(), "epoch": 3})
    (inner,) = (name for name in parts if name.endswith("data.pkl"))

    def read(data: bytes) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, data if name == inner else part)
        read_state(file)

    harmful = pickle.dumps(partial(print, "never printed"))
    with_options = _parts({"model": _state(), "args": argparse.Namespace(lr=0.1), "at": folder})[inner]
    return [parts[inner], harmful, with_options], read


def _parts(content: object) -> dict[str, bytes]:
    """The files inside of what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


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
