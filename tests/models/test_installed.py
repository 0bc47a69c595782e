"""Frameworks that are not there, or of an old release: named by whatever asks for a model of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from sapwood.cli import main
from sapwood.errors import MissingDependencyError
from sapwood.models.installed import import_framework, numbers, too_old

Install = Callable[[str, str, dict[str, str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package before all that are installed: its name, its release and the text of its files."""
    home, kept = tmp_path / "installed", dict[str, object]()

    def before(package: str, release: str, files: dict[str, str]) -> None:
        kept.update({name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == package})
        about = home / f"{package}-{release}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {release}\n")
        for name, text in files.items():
            (home / package / name).parent.mkdir(parents=True, exist_ok=True)
            (home / package / name).write_text(text)
        monkeypatch.syspath_prepend(str(home))
        importlib.invalidate_caches()

    yield before
    for name in [*sys.modules]:
        if str(home) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.modules.update(kept)  # type: ignore[arg-type]


FAILS = "import numpy\nnumpy.float_size_of_long_ago"
"""What an old release does at its import, beside a NumPy of today."""

CASES = {
    "ultralytics that executes": (
        "ultralytics",
        "8.3.0",
        {
            "__init__.py": "__version__ = '8.3.0'",
            "nn/__init__.py": "",
            "nn/tasks.py": "def torch_safe_load(weight): ...",
        },
        "ultralytics:yolo11n.yaml",
        "ultralytics 8.3.0 is too old: it reads .pt files by executing what they hold; expected 8.4.100 or later: "
        "pip install --upgrade sapwood[ultralytics]",
    ),
    "ultralytics that fails": (
        "ultralytics",
        "8.0.20",
        {"__init__.py": FAILS},
        "best.pt",
        "ultralytics 8.0.20 is too old, and cannot be imported here (module 'numpy' has no attribute "
        "'float_size_of_long_ago'); expected 8.4.100 or later: pip install --upgrade sapwood[ultralytics]",
    ),
    "transformers": (
        "transformers",
        "4.57.1",
        {"__init__.py": "__version__ = '4.57.1'"},
        "transformers:bert",
        "transformers 4.57.1 is too old; expected 5.24 or later: pip install --upgrade sapwood[transformers]",
    ),
    "transformers that fails": (
        "transformers",
        "4.30.0",
        {"__init__.py": "raise ImportError('tokenizers<0.14 is required')"},
        "transformers:bert",
        "transformers 4.30.0 is too old, and cannot be imported here (tokenizers<0.14 is required); expected 5.24 or "
        "later: pip install --upgrade sapwood[transformers]",
    ),
    "timm": (
        "timm",
        "0.6.13",
        {"__init__.py": "__version__ = '0.6.13'", "data.py": ""},
        "timm:resnet18",
        "timm 0.6.13 is too old to say how pictures are brought to a model; expected 1.0.12 or later: "
        "pip install --upgrade sapwood[zoo]",
    ),
    "timm that fails": (
        "timm",
        "0.4.12",
        {"__init__.py": "from torch._six import container_abcs"},
        "timm:resnet18",
        "timm 0.4.12 is too old, and cannot be imported here (No module named 'torch._six'); expected 1.0.12 or later: "
        "pip install --upgrade sapwood[zoo]",
    ),
}
"""Package, release, files, what is asked for, what the command says."""


@pytest.mark.parametrize("name", CASES)
def test_a_command_names_an_old_release(
    name: str, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, release, files, spec, said = CASES[name]
    install(package, release, files)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pt").write_bytes(b"")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(SystemExit) as ended:
        main(["inspect", spec])
    assert ended.value.code == 2
    assert " ".join(capsys.readouterr().err.split()) == f"error: {said}"


def test_what_is_not_there_or_not_whole_is_named(install: Install) -> None:
    for module, why in (("no_such_package", "No module named 'no_such_package'"), ("numpy.no_such", "No module named")):
        with pytest.raises(MissingDependencyError) as raised:
            import_framework(module, needed_for="x:NAME", extra="zoo", oldest="0.1")
        package = module.partition(".")[0]
        assert str(raised.value).startswith(f"{package} is not installed or not whole ({why}")
        assert str(raised.value).endswith("expected for x:NAME, install it by: pip install sapwood[zoo]")
    install("fails_without_words", "3.0", {"__init__.py": "raise ValueError"})
    with pytest.raises(MissingDependencyError, match=r"not whole \(ValueError\)"):
        import_framework("fails_without_words", needed_for="x:NAME", extra="zoo", oldest="3.0")


def test_releases_are_compared_by_their_numbers() -> None:
    assert numbers("5.24.0.dev1") > numbers("5.3")
    assert str(too_old("numpy", version("numpy"), "", "zoo", "999.1")).startswith(
        f"numpy {version('numpy')} is too old"
    )
