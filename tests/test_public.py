"""The public surface: what `import sapwood` promises is there, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sapwood


@pytest.mark.parametrize("name", sapwood.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(sapwood, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sapwood' has no attribute 'nothing'"):
        _ = sapwood.nothing


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, sapwood, sapwood.cli.app; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


@pytest.mark.parametrize("module", ["report", "config", "recipe", "files", "reading", "registry", "layer_times"])
def test_what_never_sees_a_model_does_not_load_torch(module: str) -> None:
    code = f"import sys, sapwood.{module}; print(sorted({{'torch', 'scipy', 'numpy'}} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_the_report_loads_its_own_modules_and_few_others() -> None:
    code = "import sys, sapwood.report; print(*(name for name in sys.modules if name.startswith('sapwood.')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in printed.stdout.split()}
    assert rooms == {"report", "errors", "layer_times"}
