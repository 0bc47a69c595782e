"""The engine built with sanitizers: random convolutions and whole networks find no fault of memory or of threads.

``ENGINE_CASES=10000`` runs more of them. And the code for another processor compiles, where there is a compiler for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sapwood.runtime.engine.library import LIBRARY

REPOSITORY = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
CASES = int(os.environ.get("ENGINE_CASES", "750"))


def sources() -> list[str]:
    return sorted(str(path.relative_to(REPOSITORY / "csrc")) for path in (REPOSITORY / "csrc").rglob("*.cpp"))


CODE = """
import importlib.util, json, os, sys, tempfile, warnings
from pathlib import Path
import torch
from sapwood.errors import EngineError
from sapwood.runtime import load
from sapwood.runtime.engine import library, set_instruction_set, tuning
from sapwood.runtime.engine import compile as compile_model
from sapwood.runtime.engine.library import places

def module(name):
    spec = importlib.util.spec_from_file_location(name, Path(sys.argv[1]) / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found

torch.set_num_threads(1)
cases, networks = module("test_convolution"), module("test_compiled")
isas = [name for name in ("avx512", "avx2", "neon", "scalar") if library.library().sw_has_isa(name.encode())]
for seed in range(int(sys.argv[2])):
    set_instruction_set(isas[seed % len(isas)])
    cases.check(100_000 + seed, threads=1 + seed % 3)
for isa in isas:
    set_instruction_set(isa)
    networks.check(networks.sparse(networks.Wired()), torch.randn(1, 3, 20, 28), threads=2)
    networks.check(networks.sparse(networks.Shuffled()), torch.randn(1, 3, 8, 12), threads=2)
    for make in (networks.resnet18, networks.mobilenet_v3, networks.densenet):
        networks.check(networks.sparse(make()), torch.randn(1, 3, 64, 64), threads=2)

# files that somebody else wrote, and calls with every type
hostile, calls, folder = module("test_hostile"), module("test_calls"), Path(tempfile.mkdtemp())
picture = torch.randn(1, 3, 8, 10)
written = compile_model(hostile.Everything().eval(), picture, threads=2, tune=False).save(folder / "saved")
refused = 0
for number, (change, _) in enumerate(hostile.DISAGREEING):
    try:
        load(hostile.forged(written, folder / str(number), change), threads=2, tune=False)(picture)
    except EngineError:
        refused += 1
assert refused == len(hostile.DISAGREEING)
loaded = load(written, threads=2, tune=False)
for dtype in (*calls.WHOLE, *calls.FLOATS, torch.float32):
    try:
        assert loaded(picture.to(dtype))["a"][0].isfinite().all() and dtype.is_floating_point
    except EngineError:
        assert not dtype.is_floating_point

# a cache that is damaged, and children of fork
os.environ["SAPWOOD_CACHE"] = str(folder)
warnings.simplefilter("ignore")
wanted = load(written, threads=2)(picture)["a"][0]
known = json.loads(tuning.cache_file().read_text())
for found in ([1, 1, 0], [2**31 - 1, 2**31 - 1, 1], [2**32 + 1, 6500, 2], [1, 1]):
    tuning.cache_file().write_text(json.dumps(dict.fromkeys(known, found)))
    assert torch.allclose(load(written, threads=2)(picture)["a"][0], wanted, atol=1e-5)
if sys.argv[3] == "memory":
    for argument in ("idle", "busy"):
        sys.argv[1] = argument
        exec(calls.FORK, {})
print("done", places()[0])
"""


KINDS = {
    "memory": ("address,undefined", ("libasan.so", "libubsan.so"), b"__asan_report_load", CASES),
    "threads": ("thread", ("libtsan.so",), b"__tsan_func_entry", CASES // 3),
}
"""Sanitizers, what they need to run, what instrumented code calls, and how many cases."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_is_found(kind: str, tmp_path: Path) -> None:
    sanitizers, runtimes, mark, cases = KINDS[kind]
    compiler = shutil.which("g++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs g++ on Linux")
    found = [_output([compiler, f"-print-file-name={name}"]) for name in runtimes]
    if not all(Path(path).is_absolute() for path in found):
        pytest.skip(f"no {', '.join(runtimes)}")
    flags = f"-fsanitize={sanitizers} -fno-sanitize-recover=all -g -O1"
    build = [sys.executable, "setup.py", "build_ext", "--build-lib", str(tmp_path), "--build-temp", str(tmp_path / "o")]
    given = {**os.environ, **dict.fromkeys(("CFLAGS", "CXXFLAGS", "LDFLAGS"), flags)}
    subprocess.run(build, cwd=REPOSITORY, env=given, check=True, capture_output=True)
    library = tmp_path / "sapwood" / "runtime" / "engine" / LIBRARY
    assert mark in library.read_bytes()  # else the sanitizer sees nothing
    environment = {
        **os.environ,
        "SAPWOOD_ENGINE": str(library),
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "TSAN_OPTIONS": "exitcode=66 ignore_noninstrumented_modules=1",  # those of PyTorch's threads
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parents[1]), os.environ.get("PYTHONPATH")))),
    }
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(HERE), str(cases), kind],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.splitlines()[-1] == f"done {library}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in sources() if "avx" not in name])
def test_it_compiles_for_arm(name: str) -> None:
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        pytest.skip("needs aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu)")
    folder = REPOSITORY / "csrc"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-maybe-uninitialized", f"-I{folder}"]
    command = [compiler, *flags, "-c", "-o", os.devnull, str(folder / name)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
