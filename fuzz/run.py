"""Feeds damaged documents to every reader of the project, and prints what came of it.

    python fuzz/run.py --seconds 60                 # all targets, a share of the time each
    python fuzz/run.py --seconds 600 cfg coco_json  # some

Each target runs in a process of its own. A document is accepted, or refused by an error of Sapwood's that names the
file; anything else is a violation, is written to ``--out``, and ends the command with 1: another exception, a hang,
memory beyond 2 GB, a file written elsewhere, a program or a socket, the import of a module that the document names.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENGINE = "engine_c"
"""The one target that is not Python: ``fuzz_engine_c.py``."""

COUNTS = re.compile(r"(\d+) inputs, (\d+) refused, (\d+) run")
GRACE = 90
"""Seconds that a target may take beyond its share, to import what it needs."""

LOW_LIMITS = {"SAPWOOD_MAX_NETWORK_BYTES": str(1 << 28), "SAPWOOD_MAX_PICTURE_PIXELS": str(1 << 22)}
"""Small machines run this: what a limit lets through costs time, and is tried in the tests."""


def names() -> list[str]:
    """The targets, without importing what they read with."""
    readers = [
        following.removeprefix("def ").partition("(")[0]
        for file in sorted((HERE / "targets").glob("*.py"))
        for line, following in pairwise(file.read_text().split("\n"))
        if line.startswith("@target(")
    ]
    return [*readers, ENGINE]


def run_target(name: str, seconds: float, seed: int, engine: str, out: Path) -> dict[str, Any]:
    """Runs one target; a process that dies is a violation."""
    result = out / f"{name}.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "one.py"), name, "--seconds", str(seconds), "--seed", str(seed)]
    log = out / f"{name}.log"
    with log.open("w") as file, tempfile.TemporaryDirectory(prefix="fuzz-cache-") as cache:
        environment = {**os.environ, "SAPWOOD_CACHE": cache, "XDG_CACHE_HOME": cache, **LOW_LIMITS}
        process = subprocess.Popen(
            [*command, "--engine", engine, "--out", str(out)], stdout=file, stderr=file, env=environment, cwd=cache
        )
        try:
            code: int | str = process.wait(seconds + GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = "hangs"
    if result.is_file():
        return dict(json.loads(result.read_text()))
    last = log.read_text(errors="replace").strip().splitlines()[-3:]
    died = {"process": f"ended with {code}: {' / '.join(last)}"}
    return {"target": name, "inputs": 0, "accepted": 0, "refused": 0, "violations": 1, "found": died}


def run_engine(seconds: float, seed: int, out: Path) -> dict[str, Any]:
    """Runs the C interface's target, which is a program of its own under sanitizers."""
    command = [sys.executable, str(HERE / "fuzz_engine_c.py"), "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (out / f"{ENGINE}.log").write_text(done.stdout + done.stderr)
    counted = COUNTS.search(done.stdout)
    if done.returncode or counted is None:
        last = (done.stdout + done.stderr).strip().splitlines()[-3:]
        found, counts = {"process": f"ended with {done.returncode}: {' / '.join(last)}"}, (0, 0, 0)
    else:
        found, counts = {}, tuple(int(number) for number in counted.groups())
    inputs, refused, ran = counts
    return {
        "target": ENGINE, "inputs": inputs, "accepted": ran, "refused": refused, "violations": len(found),
        "seeds": 1, "seeds_refused": 0, "found": found,
    }  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of: {', '.join(names())}")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--engine", choices=("auto", "atheris", "hypothesis"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args()
    unknown = sorted(set(options.targets) - set(names()))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(names())}")
    engine = options.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") else "hypothesis"
    chosen, out = options.targets or names(), options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    print(f"{len(chosen)} targets, {options.seconds:g} s in all, {engine}, seed {options.seed}")
    print(f"{'target':22}{'inputs':>10}{'accepted':>10}{'refused':>10}{'violations':>12}", flush=True)
    results = []
    for name in chosen:
        share = options.seconds / len(chosen)
        in_python = name != ENGINE
        result = (
            run_target(name, share, options.seed, engine, out) if in_python else run_engine(share, options.seed, out)
        )
        results.append(result)
        row = (result[key] for key in ("inputs", "accepted", "refused", "violations"))
        print(f"{name:22}" + "".join(f"{n:>{w},}" for n, w in zip(row, (10, 10, 10, 12), strict=True)), flush=True)
        for key, text in result["found"].items():
            print(f"    {key}: {text}"[:240], flush=True)
    total = {key: sum(result[key] for result in results) for key in ("inputs", "violations")}
    print(f"{total['inputs']:,} inputs, {total['violations']:,} violations")
    (out / "summary.json").write_text(json.dumps(results, indent=1))
    return 1 if total["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
