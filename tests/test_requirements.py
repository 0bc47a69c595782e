"""The lower bounds in pyproject.toml are what `make oldest` runs with, and what `make newest` runs with is allowed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


TOOLS = {"browser", "docs", "fuzz", "wheels"}
"""Extras that no test needs, and that are in neither environment."""


APART = {"int8", "transformers", "ultralytics"}
"""Extras that are tested in an environment of their own, `make frameworks`."""


def requirements() -> list[Requirement]:
    """All that pyproject.toml asks for: to run, by extra and to build; without the extras of Sapwood itself."""
    project = PYPROJECT["project"]
    groups = [
        project["dependencies"],
        *(lines for extra, lines in project["optional-dependencies"].items() if extra not in TOOLS | APART),
        PYPROJECT["build-system"]["requires"],
    ]
    found = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in found if requirement.name != "sapwood"]


def pins(name: str) -> dict[str, Version]:
    lines = (REPOSITORY / "requirements" / f"{name}.txt").read_text().splitlines()
    given = [line.split("==") for line in lines if not line.startswith("#")]
    return {package: Version(version) for package, version in given}


def lower_bound(requirement: Requirement) -> Version:
    """What stands behind ``>=``."""
    bounds = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    assert len(bounds) == 1, f"{requirement}: expected one lower bound"
    return bounds[0]


REQUIREMENTS = requirements()


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_oldest_environment_has_the_lower_bound(requirement: Requirement) -> None:
    pinned = pins("oldest")[canonicalize_name(requirement.name)]
    assert pinned == lower_bound(requirement), "mend the bound, or run `make pins`"


@pytest.mark.parametrize(
    "requirement",
    [one for one in REQUIREMENTS if one.marker is None or one.marker.evaluate({"python_version": "3.13"})],
    ids=str,
)
def test_the_newest_environment_is_allowed(requirement: Requirement) -> None:
    assert pins("newest")[canonicalize_name(requirement.name)] in requirement.specifier


def test_all_extras_are_in_both_environments() -> None:
    asked = set(
        re.findall(r"sapwood\[(.*)\]", " ".join(PYPROJECT["project"]["optional-dependencies"]["dev"]))[0].split(",")
    )
    assert asked | {"dev", "zoo"} | TOOLS | APART == set(PYPROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize(
    ("extra", "environment"), [*((extra, "frameworks") for extra in sorted(APART)), ("docs", "docs")]
)
def test_what_is_tested_apart_is_allowed(extra: str, environment: str) -> None:
    for line in PYPROJECT["project"]["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == "sapwood":
            continue
        assert pins(environment)[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_oldest_environment_runs_on_the_oldest_python() -> None:
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    first = (REPOSITORY / "requirements" / "oldest.txt").read_text().splitlines()[0]
    assert first.endswith(f"--python-version {oldest}")


def test_a_bound_that_moved_is_found() -> None:
    with pytest.raises(AssertionError, match="mend the bound, or run `make pins`"):
        test_the_oldest_environment_has_the_lower_bound(Requirement("torch>=2.3"))
    with pytest.raises(AssertionError, match="expected one lower bound"):
        test_the_oldest_environment_has_the_lower_bound(Requirement("torch<3"))
