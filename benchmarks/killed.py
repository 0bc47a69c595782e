"""A recipe killed again and again ends like one that nobody touched: ``python benchmarks/killed.py``.

A small detector is trained, sparse-trained, pruned, recovered without labels, trained beside its teacher, masked,
measured and exported by ``sapwood run``: twice without a disturbance, then once more in another folder, where SIGKILL
ends it ten times at moments that ``--seed`` chooses (a step, and a place in its time), and the same command is started
again each time. Everything that the two undisturbed runs have in common must be so in the killed one: the names of all
files, their bytes, and of records every value that is no time. Four minutes; ``--times 30`` makes each training 30
times as long, so that most kills fall into one. ``--minutes 120`` starts the three beside each other, and kills by the
clock: at moments drawn over so many minutes. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

LAYER = """[convolutional]
batch_normalize=1
filters={}
size=3
stride=2
pad=1
activation=leaky

"""
CFG = f"""[net]
width=96
height=96
channels=3

{"".join(LAYER.format(filters) for filters in (16, 32, 48))}[convolutional]
size=1
stride=1
pad=1
filters=14
activation=linear

[yolo]
mask=0,1
anchors=8,8, 24,24
classes=2
num=2
"""

RECIPE = """model: {folder}/small.cfg
data: {folder}/data
on_missed: go_on
steps:
- name: dense
  train: {{epochs: {long}, batch_size: 8}}
- name: sparse
  train: {{epochs: {short}, batch_size: 8, sparse: group_norm}}
- name: pruned
  prune: {{macs: 0.5, criterion: obs, labels: own, recover: distill, recover-steps: 30}}
- name: small
  train: {{epochs: {long}, batch_size: 8, teacher: dense}}
- name: masked
  mask: {{sparsity: 0.8}}
- eval: {{}}
- name: table
  model: dense
  compare:
    rounds: 0
    cases:
    - {{kind: mask, method: l1_unstructured, sparsity: 0.5}}
    - {{kind: prune, macs: 0.5}}
- name: network
  model: small
  export: {{format: onnx}}
"""

TELLS_HOW = ("seconds", "eval_seconds", "images_per_second", "loader_wait_share", "resume")
"""Fields that say how a run went, not what came of it: two undisturbed ones may agree in them by chance."""
RESUMED = " --resume"
"""What a command that goes on has more than the one that began."""


def make_inputs(folder: Path, times: int = 1, pictures: int = 24) -> Path:
    """Draws pictures of bright boxes with their labels, and writes the network and the recipe."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / "data" / kind / split).mkdir(parents=True)
        for number in range(pictures):
            picture = generator.integers(0, 90, (96, 96, 3), dtype=np.uint8)
            kind, (x, y) = number % 2, generator.integers(8, 64, 2)
            picture[y : y + 24, x : x + 24, kind] = 250
            Image.fromarray(picture).save(folder / "data" / "images" / split / f"{number}.png")
            label = f"{kind} {(x + 12) / 96:.6f} {(y + 12) / 96:.6f} 0.25 0.25\n"
            (folder / "data" / "labels" / split / f"{number}.txt").write_text(label)
    (folder / "small.cfg").write_text(CFG)
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=folder, long=6 * times, short=4 * times))
    return recipe


def start(recipe: Path, out: Path, log: Path) -> subprocess.Popen[bytes]:
    """The command, in its folder's parent; what it says goes to a file."""
    out.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "sapwood", "run", str(recipe), "-o", out.name]
    with log.open("ab") as said:
        return subprocess.Popen(command, cwd=out.parent, stdout=said, stderr=said)


def run_whole(recipe: Path, out: Path, log: Path) -> float:
    begun = time.perf_counter()
    if start(recipe, out, log).wait() != 0:
        raise SystemExit(f"the recipe ended with an error:\n{log.read_text()[-2000:]}")
    return time.perf_counter() - begun


def steps_of(out: Path) -> list[dict[str, Any]]:
    """The steps that a run says it began; a record is whole at any moment, for it is written in one step."""
    record = out / "run.json"
    return json.loads(record.read_text())["steps"] if record.exists() else []


def moments(kills: int, steps: list[dict[str, Any]], seed: int) -> list[tuple[int, float]]:
    """When each run dies: so many seconds after this step began; steps are drawn alike, and places in their time."""
    draw = random.Random(seed)
    drawn = [(draw.randrange(len(steps)), draw.random()) for _ in range(kills)]
    return [(number, share * steps[number]["seconds"]) for number, share in sorted(drawn)]


def run_killed(recipe: Path, out: Path, log: Path, when: list[tuple[int, float]]) -> list[str]:
    """Kills a run at each of these moments, then lets it end; returns where each kill met it."""
    met = []
    for number, seconds in when:
        process, begun = start(recipe, out, log), None
        while process.poll() is None:
            under_way = len(steps_of(out)) - 1
            if under_way == number and begun is None:
                begun = time.perf_counter()
            if under_way > number or (begun is not None and time.perf_counter() - begun >= seconds):
                process.kill()
                break
            time.sleep(0.01)
        process.wait()
        met.append(f"{steps_of(out)[-1]['name']} after {seconds:.1f} s" if process.returncode == -9 else "too late")
    run_whole(recipe, out, log)
    return met


def run_killed_by_clock(recipe: Path, out: Path, log: Path, when: list[float]) -> list[str]:
    """Kills a run so many seconds after the first start, each time, and lets it end; returns where each kill met it."""
    met, first = [], time.perf_counter()
    for moment in when:
        process = start(recipe, out, log)
        while process.poll() is None and time.perf_counter() - first < moment:
            time.sleep(0.05)
        process.kill()
        process.wait()
        place = steps_of(out)[-1]["name"] if steps_of(out) else "its start"
        met.append(f"{place}, minute {moment / 60:.0f}" if process.returncode == -9 else "too late")
    run_whole(recipe, out, log)
    return met


def values(path: Path) -> Iterator[tuple[str, Any]]:
    """What a file says: each value of a record, each tensor, else all bytes; pages hold times and are only there."""
    if path.suffix in (".json", ".jsonl"):
        texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for number, text in enumerate(texts):
            yield from leaves(json.loads(text), f"{number}")
    elif path.suffix == ".safetensors":  # the header of a checkpoint holds seconds
        for name, tensor in load_file(path).items():
            yield name, (tensor.dtype, tensor.shape, tensor.tobytes())
    else:
        yield "", path.read_bytes() if path.suffix != ".html" else b""


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from leaves(inner, f"{name}.{key}")
    else:
        yield name, value.replace(RESUMED, "") if name.endswith(".command") else value


def contents(out: Path) -> dict[str, Any]:
    """Everything below a folder."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {f"{path.relative_to(out)}:{name}": value for path in files for name, value in values(path)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=1, help="Epochs of each training, as a multiple of 4 or 6.")
    parser.add_argument("--minutes", type=float, help="Runs all three at once, and draws the kills over this time.")
    parser.add_argument("--work", type=Path, help="Keeps everything here.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        recipe, log = make_inputs(folder, options.times), folder / "said.txt"
        places = [folder / name / "run" for name in ("first", "second", "killed")]
        if options.minutes is None:
            seconds = [run_whole(recipe, place, log) for place in places[:2]]
            begun = time.perf_counter()
            met = run_killed(recipe, places[2], log, moments(options.kills, steps_of(places[0]), options.seed))
            took = time.perf_counter() - begun
        else:
            draw = random.Random(options.seed)
            when = sorted(draw.uniform(0, 60 * options.minutes) for _ in range(options.kills))
            with ThreadPoolExecutor() as pool:
                whole = [
                    pool.submit(run_whole, recipe, place, log.with_name(f"{place.parent.name}.txt"))
                    for place in places[:2]
                ]
                begun = time.perf_counter()
                met = run_killed_by_clock(recipe, places[2], log, when)
                took = time.perf_counter() - begun
            seconds = [run.result() for run in whole]
        first, second, killed = map(contents, places)
    common = {name for name in first if name in second and first[name] == second[name]}
    common = {name for name in common if name.rpartition(".")[2] not in TELLS_HOW}
    differs = sorted(name for name in common if name not in killed or killed[name] != first[name])
    beyond = sorted(name for name in set(killed) - set(first) if name.rpartition(".")[2] not in TELLS_HOW)
    print("undisturbed s | killed s | kills | values and files compared | vary by themselves | differ | beyond")
    print(f"{seconds[0]:.0f}, {seconds[1]:.0f} | {took:.0f} | {len(met)} | {len(common)} | ", end="")
    print(f"{len(first) - len(common)} | {len(differs)} | {len(beyond)}")
    print("killed in: " + "; ".join(met))
    for name in [*differs, *beyond][:40]:
        print(f"{name}: {str(killed.get(name))[:120]!r}, undisturbed {str(first.get(name))[:120]!r}")
    if differs or beyond or "too late" in met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
