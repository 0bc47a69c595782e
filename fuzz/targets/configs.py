"""What users write: settings, recipes, rows of a comparison, names of classes."""

from __future__ import annotations

from pathlib import Path

from mutations import of_text

from sapwood.reading import naming
from targets.target import Prepared, target


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
