"""The version is said in four places, which agree; the changelog begins with what is not released yet."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

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


def test_who_cites_it_names_the_same_version_day_and_licence() -> None:
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    released = re.search(r"^## ([\d.]+) - ([\d-]+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released is not None
    assert (cited["version"], str(cited["date-released"])) == released.groups()
    assert (cited["license"], cited["url"]) == (project["license"], project["urls"]["Homepage"])
    assert [one["name"] for one in cited["authors"]] == [one["name"] for one in project["authors"]]


def test_releases_stand_in_order_and_say_each_kind_of_change_once() -> None:
    releases = re.split(r"^## ", (REPOSITORY / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    days = [one.splitlines()[0].partition(" - ")[2] for one in releases][1:]
    assert days == sorted(days, reverse=True)
    for one in releases:
        kinds = re.findall(r"^### (.*)$", one, re.MULTILINE)
        assert len(kinds) == len(set(kinds)), one.splitlines()[0]
