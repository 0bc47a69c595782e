"""The verbs, each on inputs so small that a run takes seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from support.cfgs import plain_detector

CASES = """- {kind: mask, method: l1_unstructured, sparsity: 0.5}
- {kind: mask, method: ln_structured, sparsity: 0.5}
"""
RECIPE = """model: {cfg}
data: {data}
steps:
- name: dense
  train: {{epochs: 1, batch_size: 4}}
- name: small
  prune: {{sparsity: 0.5}}
- eval: {{}}
- name: file
  export: {{format: onnx}}
"""


@dataclass(frozen=True)
class Verb:
    """A verb and what it writes.

    Attributes:
        name: As the table has it.
        old: What is run to have something in the place; none if nothing may stand there.
        new: What is run then.
        place: The name of what it writes, in a folder of the case's own; None if it writes caches only.
        checkpoint: The file in ``place`` of a run that was stopped and can be gone on with; None if there is none.
        again: Added to ``new`` where that is there.
        at_once: Whether all that it writes changes in one step; else each file does.
        share: How many of the kills it gets, beside the others.
    """

    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    place: str | None
    checkpoint: str | None = None
    again: tuple[str, ...] = ()
    at_once: bool = True
    share: int = 3


def make_inputs(folder: Path) -> dict[str, Path]:
    """Draws pictures with labels, and writes a network, a table of cases and a recipe."""
    cfg, cases, recipe, data = (folder / name for name in ("small.cfg", "cases.yaml", "recipe.yaml", "data"))
    cfg.write_text(plain_detector(32, 64))
    cases.write_text(CASES)
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (data / kind / split).mkdir(parents=True)
        for number in range(8):
            picture = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(picture).save(data / "images" / split / f"{number}.png")
            (data / "labels" / split / f"{number}.txt").write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    recipe.write_text(RECIPE.format(cfg=json.dumps(str(cfg)), data=json.dumps(str(data))))
    return {"cfg": cfg, "cases": cases, "recipe": recipe, "data": data, "folder": folder}


def make_verbs(inputs: dict[str, Path]) -> list[Verb]:
    """All verbs; ``net`` is a saved network with weights of its own, ``masked`` one that is masked."""
    net, masked = str(inputs["folder"] / "net"), str(inputs["folder"] / "masked")
    data, pictures = ("--data", str(inputs["data"])), str(inputs["data"] / "images" / "val")
    one = ("--threads", "1")
    compare = ("compare", net, *data, "--rounds", "0", "--cases", str(inputs["cases"]), *one)
    exports = (("onnx", "onnx", 2), ("openvino", "xml", 1), ("torch-export", "pt2", 3), ("darknet", "cfg", 3))
    return [
        Verb("eval", (), ("eval", net, *data, "--runtime", "sapwood", *one), None),
        Verb("detect", ("detect", masked, pictures), ("detect", net, pictures), "found", at_once=False),
        Verb("compare", ("compare", masked, *compare[2:]), compare, "table", at_once=False, share=2),
        *_pair("prune", (net, "--sparsity"), ("0.25",), ("0.5",)),
        *_pair("mask", (net, "--sparsity"), ("0.25",), ("0.5",)),
        *_pair("compact", (), (net,), (masked,)),
        *_pair("compile", (), (net,), (masked,)),
        Verb("inspect", ("inspect", net), ("inspect", masked), "page.html"),
        *(
            Verb(
                f"export {name}",
                ("export", masked, "--format", name),
                ("export", net, "--format", name),
                f"network.{suffix}",
                share=share,
            )
            for name, suffix, share in exports
        ),
        Verb("bench", (), ("bench", net, masked, "--runtime", "torch,sapwood", "--rounds", "2", *one), None, share=1),
        Verb(
            "train",
            (),
            ("train", net, *data, "--epochs", "2", "--batch-size", "4"),
            "run",
            checkpoint="checkpoint.safetensors",
            again=("--resume",),
            at_once=False,
        ),
        Verb("run", (), ("run", str(inputs["recipe"])), "steps", at_once=False, share=2),
        Verb("demo", (), ("demo", "--images", "2", "--rounds", "3", "--no-open", *one), "demo", at_once=False, share=1),
        Verb("report", ("prune", net, "--sparsity", "0.5"), ("report",), "pruned", at_once=False),
    ]


def command(arguments: Sequence[str], place: Path | None) -> tuple[str, ...]:
    """A verb's arguments with its place."""
    if place is None:
        return tuple(arguments)
    return (*arguments, str(place)) if arguments[0] == "report" else (*arguments, "-o", str(place))


def _pair(verb: str, first: tuple[str, ...], old: tuple[str, ...], new: tuple[str, ...]) -> list[Verb]:
    return [Verb(verb, (verb, *first, *old), (verb, *first, *new), "model")]
