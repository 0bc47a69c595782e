"""Throws random programs at the engine's C interface, built with sanitizers: ``--seconds 60 --seed 1``.

Each program, sensible or with numbers changed, must be refused with a reason, or run: without a fault of memory, with
the same numbers on one thread and on several, before and after ``fork``; sensible ones with those of a slow reference.
``--sanitizer threads`` looks for races instead of faults of memory. The last line counts the inputs; a fault ends with
the number of the input, which ``--first NUMBER --count 1`` tries again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ENGINE, DRIVER = REPOSITORY / "csrc", REPOSITORY / "fuzz" / "engine"
ISAS = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512dq"]}
SANITIZERS = {"memory": ["-fsanitize=address,undefined"], "threads": ["-fsanitize=thread"], "none": []}
BASE = [
    "-std=c++17",
    "-O1",
    "-g",
    "-pthread",
    "-Wall",
    "-Wextra",
    "-Wno-maybe-uninitialized",
    "-Wno-uninitialized",
    "-Werror=switch",  # a kind or an activation that the driver does not know
    f"-I{ENGINE}",
    f"-I{DRIVER}",
]
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "exitcode=66:halt_on_error=1:die_after_fork=0",
}


def build(sanitizer: str, compiler: str = "g++") -> Path:
    """Compiles the engine and the driver, each file once for what it and the headers hold; returns the program."""
    sources = sorted((*ENGINE.rglob("*.*"), *DRIVER.glob("*.*")))
    common = hashlib.sha256(b"".join(path.read_bytes() for path in sources if path.suffix != ".cpp"))
    flags = [*BASE, *SANITIZERS[sanitizer], *(["-fno-sanitize-recover=all"] if SANITIZERS[sanitizer] else [])]
    common.update(" ".join([compiler, *flags]).encode())
    folder = REPOSITORY / "build" / "fuzz" / sanitizer
    folder.mkdir(parents=True, exist_ok=True)
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    objects = []
    for source in (path for path in sources if path.suffix == ".cpp"):
        extra = ISAS.get(source.stem, []) if x86 else []
        digest = hashlib.sha256(common.digest() + " ".join(extra).encode() + source.read_bytes()).hexdigest()
        objects.append(folder / f"{source.stem}-{digest[:16]}.o")
        _once(objects[-1], [compiler, *flags, *extra, "-c", str(source)])
    names = hashlib.sha256(" ".join(map(str, objects)).encode()).hexdigest()
    program = folder / f"engine_fuzz-{names[:16]}"
    _once(program, [compiler, *flags, *map(str, objects)])
    return program


def _once(made: Path, command: Sequence[str]) -> None:
    if made.exists():
        return
    unfinished = made.with_suffix(".unfinished")
    subprocess.run([*command, "-o", str(unfinished)], check=True)
    os.replace(unfinished, made)


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the driver and runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, help="at most so many inputs")
    parser.add_argument("--isa", help="one instruction set; all in turns otherwise")
    parser.add_argument("--sanitizer", choices=SANITIZERS, default="memory")
    parser.add_argument("--compiler", default=os.environ.get("CXX", "g++"))
    given = parser.parse_args(arguments)
    command = [str(build(given.sanitizer, given.compiler))]
    for name in ("seconds", "seed", "first", "count", "isa"):
        if getattr(given, name) is not None:
            command += [f"--{name}", str(getattr(given, name))]
    if given.sanitizer == "threads":
        command += ["--child-threads", "1"]  # ThreadSanitizer cannot follow threads that a child of fork starts
    return subprocess.run(command, env={**os.environ, **ENVIRONMENT}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
