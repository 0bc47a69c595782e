"""Sapwood's own licence, and that those of everything it asks for allow it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
STANDARD = Path("/usr/share/common-licenses/Apache-2.0")
"""The text as Debian and its kin have it."""

ALLOWING = (
    "0BSD", "3-Clause BSD", "Apache", "BSD", "BSL-1.0", "CC0-1.0", "Historical Permission Notice", "ISC",
    "LLVM-exception", "MIT", "MPL", "Mozilla", "PSF", "Python Software Foundation", "Unlicense", "Zlib",
)  # fmt: skip
"""What names of licences begin with that let a program under Apache-2.0 import them: permissive ones, and the MPL,
which holds its own files only."""
AGAINST = re.compile(r"\bA?GPL|GNU (Affero|General)|Proprietary", re.IGNORECASE)
APART = {"ultralytics": "AGPL-3.0"}
"""Extras with another licence, which nothing but themselves may ask for."""
NEVER_IMPORTED = {"docs"}
"""Extras of programs that work on the sources, as Sphinx does: Sapwood imports none of them."""
OF_TORCH = re.compile(r"^(nvidia|cuda)-")
"""Nvidia's libraries, which PyTorch's builds for Linux bring along under Nvidia's terms; Sapwood never names them."""


def licences_of(package: metadata.Distribution) -> list[str]:
    """What a package says of its licence, in the first place that says it: expression, classifiers, field, text."""
    said = package.metadata
    if said["License-Expression"]:
        return re.split(r"\s+(?:AND|OR|WITH)\s+", said["License-Expression"].replace("(", "").replace(")", ""))
    classified = [one.rsplit(" :: ", 1)[-1] for one in said.get_all("Classifier", []) if one.startswith("License ::")]
    if classified and classified != ["OSI Approved"]:
        return classified
    if said["License"]:
        first = said["License"].removeprefix("OSI Approved :: ").strip().splitlines()[0]
        return re.split(r"\s+(?:AND|OR|WITH)\s+", first)
    texts = [file.read_text() for file in package.files or () if "licen" in file.name.lower()]
    return [text.split("\n\n")[0].strip().splitlines()[0] for text in texts]


def allows(licence: str) -> bool:
    """Whether a program under Apache-2.0 may need a package under a licence of this name."""
    return licence.strip().startswith(ALLOWING) and not AGAINST.search(licence)


def asked_for(extra: str = "") -> list[Requirement]:
    """What pyproject.toml asks for, or one of its extras does."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return [one for one in map(Requirement, lines) if one.name != "sapwood"]


def installed() -> dict[str, metadata.Distribution]:
    """Everything that Sapwood and its extras bring along, where it is installed; those apart left out."""
    extras = [""] + [extra for extra in PROJECT["optional-dependencies"] if extra not in {*APART, *NEVER_IMPORTED}]
    waiting = [one for extra in extras for one in asked_for(extra)]
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        if name in found or (asked.marker is not None and not asked.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = metadata.distribution(asked.name)
        except metadata.PackageNotFoundError:
            continue
        waiting += map(Requirement, found[name].requires or ())
    return found


INSTALLED = installed()


def test_the_licence_is_said_once_in_the_metadata_and_stands_beside_it() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert "Apache-2.0" in (REPOSITORY / "CONTRIBUTING.md").read_text()


@pytest.mark.skipif(not STANDARD.is_file(), reason="the system has no common licences")
def test_the_text_is_the_unmodified_standard_one() -> None:
    assert (REPOSITORY / "LICENSE").read_bytes() == STANDARD.read_bytes()


def test_what_sapwood_needs_to_run_was_looked_at() -> None:
    assert {canonicalize_name(one.name) for one in asked_for()} <= set(INSTALLED)


@pytest.mark.parametrize("name", sorted(name for name in INSTALLED if not OF_TORCH.match(name)))
def test_a_dependency_may_be_used(name: str) -> None:
    licences = licences_of(INSTALLED[name])
    assert licences
    assert [one for one in licences if not allows(one)] == []


@pytest.mark.parametrize("licence", ["AGPL-3.0", "GPL-3.0-or-later", "GNU Affero General Public License v3", "Unknown"])
def test_a_licence_that_does_not_allow_it_is_seen(licence: str) -> None:
    assert not allows(licence)


def test_what_is_apart_is_asked_for_by_its_own_extra_only() -> None:
    for extra in PROJECT["optional-dependencies"]:
        names = {canonicalize_name(one.name) for one in asked_for(extra)}
        assert names & set(APART) == ({extra} & set(APART))
    assert {canonicalize_name(one.name) for one in asked_for()}.isdisjoint(APART)
    everything = " ".join(line for lines in PROJECT["optional-dependencies"].values() for line in lines)
    assert not re.search(rf"sapwood\[[^\]]*\b({'|'.join(APART)})\b", everything)


@pytest.mark.parametrize("extra", APART)
def test_pages_say_its_licence(extra: str) -> None:
    assert APART[extra] in (REPOSITORY / "docs" / f"{extra}.md").read_text()


@pytest.mark.slow
def test_it_is_imported_only_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "ultralytics.py").write_text("raise SystemExit('ultralytics was imported')")
    code = """
import importlib, pkgutil, sapwood
for module in pkgutil.walk_packages(sapwood.__path__, "sapwood."):
    if not module.name.endswith(("__main__", "sapwood_engine")):  # runs the command; is the engine's library, no module
        importlib.import_module(module.name)
bundle = sapwood.load_model("builtin:digits")
print(type(bundle.model).__name__)
"""
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout.strip(), ran.stderr[-2000:]) == ("DarknetNetwork", "")
