"""The engine's insides, tested in C++ (``native/``): threads, kernels, planes and checks; with sanitizers, too."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
ENGINE, NATIVE = REPOSITORY / "csrc", Path(__file__).parent / "native"
ISAS = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512dq"]}
FLAGS = ["-std=c++17", "-pthread", "-Wall", "-Wextra", "-Werror", "-Wno-maybe-uninitialized", "-Wno-uninitialized"]
SANITIZERS = {"memory": "address,undefined", "threads": "thread"}
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "exitcode=66:die_after_fork=0"}
"""The crew that a child of ``fork`` leaves behind is a leak on purpose."""

TESTS = (
    "crew",
    "forked_crew",
    "activations",
    "row_kernels",
    "convolutions",
    "dense_blocks",
    "depthwise",
    "chains",
    "planes",
    "checks",
    "facts",
    "products",
    "norms",
    "token_planes",
    "token_checks",
)


@cache
def built(sanitizer: str | None) -> Path:
    """The test program, compiled once for what the sources hold."""
    compiler = shutil.which("g++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs g++ on Linux")
    sources = sorted(path for folder in (ENGINE, NATIVE) for path in folder.rglob("*.*"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*sources, Path(__file__)))).hexdigest()[:16]
    folder = REPOSITORY / "build" / "native" / f"{sanitizer or 'plain'}-{digest}"
    program = folder / "tests"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    kept = ["-O1", "-g", f"-fsanitize={SANITIZERS[sanitizer]}", "-fno-sanitize-recover=all"] if sanitizer else ["-O0"]
    flags = [compiler, *FLAGS, *kept, f"-I{ENGINE}", f"-I{NATIVE}"]
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    objects = {source: folder / f"{os.getpid()}-{source.stem}.o" for source in sources if source.suffix == ".cpp"}

    def compile_one(source: Path) -> None:
        extra = ISAS.get(source.stem, []) if x86 else []
        subprocess.run([*flags, *extra, "-c", str(source), "-o", str(objects[source])], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        list(compilers.map(compile_one, objects))
    unfinished = folder / f"{os.getpid()}-tests"
    subprocess.run([*flags, *map(str, objects.values()), "-o", str(unfinished)], check=True)
    for path in objects.values():
        path.unlink()
    os.replace(unfinished, program)
    return program


def run(sanitizer: str | None, name: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.run(
        [built(sanitizer), name], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("name", TESTS)
def test_native(name: str) -> None:
    found = run(None, name)
    assert (found.returncode, found.stdout) == (0, f"{name} passed\n"), found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_native_with_sanitizers(sanitizer: str, name: str) -> None:
    found = run(sanitizer, name)
    assert (found.returncode, found.stdout) == (0, f"{name} passed\n"), found.stderr[-3000:]


def test_every_native_test_is_run() -> None:
    """The program knows the names above and no others; another one is an error."""
    listed = (NATIVE / "main.cpp").read_text().partition("known[] = {")[2].partition("};")[0]
    assert [line.split('"')[1] for line in listed.splitlines() if '"' in line] == list(TESTS)
    assert run(None, "another").returncode == 2
