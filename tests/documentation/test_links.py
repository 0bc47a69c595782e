"""Every link of the documentation leads somewhere, to its heading too, and every page is in the navigation."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
import reference_pages

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
GENERATED = {DOCS / reference_pages.FOLDER / name: text for name, text in reference_pages.pages().items()}
WRITTEN = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(path for path in sorted(DOCS.rglob("*.md")) if path not in GENERATED and "reference_pages" not in path.parts),
    *sorted((DOCS / "notebooks").glob("*.ipynb")),
]
APART = {"changelog.md", "contributing.md", "index.md"}
"""Pages that include another file, and the one that has the navigation."""


@cache
def text_of(path: Path) -> str:
    """A page's Markdown, its blocks of code left out."""
    if path in GENERATED:
        text = GENERATED[path]
    elif path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(path: Path) -> set[str]:
    """What headings are called in links, as GitHub and MyST call them."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", text_of(path))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


@pytest.mark.parametrize(
    "page", [*WRITTEN, *GENERATED], ids=lambda page: str(page.relative_to(REPOSITORY)).replace("/", "-")
)
def test_links_lead_to_a_page_and_its_heading(page: Path) -> None:
    missing = []
    for link in links(page):
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not (target.exists() or target in GENERATED) or (heading and heading not in anchors(target)):
            missing.append(link)
    assert missing == []


def test_every_page_is_in_the_navigation_once() -> None:
    trees = {DOCS: DOCS / "index.md", DOCS / "howto": DOCS / "howto" / "index.md"}
    named = [
        folder / line
        for folder, page in trees.items()
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in tree.splitlines()
        if line and not line.startswith(":")
    ]
    assert len(named) == len(set(named))
    there = {path.with_suffix("") for path in WRITTEN if DOCS in path.parents and "logs" not in path.parts}
    made = {
        DOCS / reference_pages.FOLDER / name for name in ("api", "commands", "configuration", "records", "registries")
    }
    assert set(named) == (there | made) - {DOCS / "index"}


def test_what_a_reader_finds_first_is_how_to_install() -> None:
    pages = (DOCS / "index.md", REPOSITORY / "README.md")
    assert all("pip install" in "\n".join(page.read_text(encoding="utf-8").splitlines()[:25]) for page in pages)


@pytest.mark.parametrize("page", [page for page in WRITTEN if page.name not in APART], ids=lambda page: page.name)
def test_pages_begin_with_one_title(page: Path) -> None:
    assert len(re.findall(r"^# ", text_of(page), re.MULTILINE)) == 1
    assert text_of(page).startswith("# ")


HOUSE = re.compile(r"\bharm(s|ful)?\b|\bsilenced\b|outputs' way")
"""Words of the house, for which the field has others; the glossary names those that stand in the code."""


def test_pages_for_users_speak_the_words_of_the_field() -> None:
    internal = {"design.md", "glossary.md", "CHANGELOG.md", "newcomer.md"}
    pages = [page for page in WRITTEN if page.name not in internal]
    pages += [
        page
        for page in GENERATED
        if "commands" in str(page) or page.name in {"configuration.md", "records.md", "registries.md"}
    ]
    assert {page.name: HOUSE.findall(text_of(page)) for page in pages if HOUSE.search(text_of(page))} == {}
