"""The version is said in three places, which agree; the changelog begins with what is not released yet."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import sapwood

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]


def test_package_project_and_changelog_say_the_same_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    sections = re.findall(r"^## (.*)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased"
    assert re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", sections[1])
    assert sapwood.__version__ == project["version"] == sections[1].split()[0]
