"""Relative links lead to files that exist, and to headings that they have."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "kernels" / "README.md",
        *ROOT.glob("plugins/*/*/README.md"),
    ]
)


@cache
def parsed(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))


@cache
def links(page: Path) -> list[str]:
    return [
        str(child.attrGet("href") or child.attrGet("src"))
        for token in parsed(page)
        for child in token.children or ()
        if child.type in ("link_open", "image")
    ]


@cache
def anchors(page: Path) -> set[str]:
    headings = [after.content for token, after in pairwise(parsed(page)) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken, f"{page} links to what is not there: {', '.join(broken)}"


def test_every_page_can_be_found_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    missing = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md") if page not in {*linked, index})
    assert not missing, f"docs/README.md does not link to {', '.join(missing)}"
