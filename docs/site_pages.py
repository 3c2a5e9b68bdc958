"""What MkDocs adds to the pages of this folder: their order, the files that they link to, and the Python API.

The order is that of README.md. Files of the repository outside this folder become pages, or downloads, below
``repository/``, and the modules that programs and plugins import get pages below ``reference/api/``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
PUBLIC: Final = (
    *("errors", "hookspecs", "inference", "interfaces", "interop", "manifest", "model", "plugin", "registry"),
    *("serving", "testing", "training/loop"),
)
"""Modules and packages of the core that programs and plugins import."""
LINK: Final = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?\)")
ENTRY: Final = re.compile(r"^- \[([^]]+)\]\(([^)]+)\)", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the navigation from README.md, section by section."""
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    nav: list[dict[str, Any]] = [{"Documentation": "README.md"}]
    for section in text.split("\n## ")[1:]:
        pages: list[Any] = [{title: path} for title, path in ENTRY.findall(section) if (DOCS / path).is_file()]
        title = section.partition("\n")[0].strip()
        if title == "Reference":
            pages.append({"Python API": [{name.removeprefix("modrwkv_core."): _api_page(name)} for name in modules()]})
        nav.append({title: pages})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to, and a page for each module."""
    for path in sorted(_linked()):
        uri = f"repository/{path.relative_to(ROOT)}"
        files.append(File.generated(config, uri, content=path.read_bytes()))
    for name in modules():
        files.append(File.generated(config, _api_page(name), content=f"::: {name}\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files of the repository at their copies."""
    source = _source(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = (source.parent / match[2]).resolve()
        if not target.is_relative_to(ROOT) or not target.is_file():
            return match[0]
        inside = target.is_relative_to(DOCS)
        uri = target.relative_to(DOCS).as_posix() if inside else f"repository/{target.relative_to(ROOT)}"
        relative = os.path.relpath(uri, Path(page.file.src_uri).parent)
        return f"{match[1]}{relative}{match[3] or ''})"

    return LINK.sub(moved, markdown)


def modules() -> Iterator[str]:
    """Yield the public modules that say what they offer."""
    core = ROOT / "modrwkv_core"
    for public in PUBLIC:
        for path in [(core / public).with_suffix(".py"), *sorted((core / public).rglob("*.py"))]:
            if path.is_file() and "__all__" in path.read_text(encoding="utf-8"):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _api_page(module: str) -> str:
    return f"reference/api/{module}.md"


def _source(uri: str) -> Path:
    return ROOT / uri.removeprefix("repository/") if uri.startswith("repository/") else DOCS / uri


def _linked() -> set[Path]:
    """Return the files outside this folder that its pages link to, and those that these link to."""
    found: set[Path] = set()
    waiting = list(DOCS.rglob("*.md"))
    while waiting:
        page = waiting.pop()
        for _, link, _ in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            is_new = target.is_file() and target.is_relative_to(ROOT) and target not in found
            if is_new and not target.is_relative_to(DOCS):
                found.add(target)
                if target.suffix == ".md":
                    waiting.append(target)
    return found
