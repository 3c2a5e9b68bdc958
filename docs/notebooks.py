"""Makes notebooks of pages and runs them: ``python docs/notebooks.py [FOLDER]``, by default docs/notebooks.

A page and its notebook say the same: text becomes text, a block that belongs into a file writes it, and commands and
programs run. What the page shows of their output is left out, for the notebook has its own.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from page_blocks import blocks, environment

DOCS: Final = Path(__file__).resolve().parent
PAGES: Final = {
    "first-model": "tutorial/first-model.md",
    "your-own-plugin": "how-to/write-a-plugin.md",
    "forecasting": "how-to/forecasting.md",
}
"""Notebooks, and the pages that they are made of."""
LINK: Final = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?\)")


def notebook(page: Path) -> NotebookNode:
    """Return ``page`` as a notebook that has not been run."""
    cells = list(_cells(page))
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index}"  # not by chance, so that the same page gives the same file
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def run(found: NotebookNode, folder: Path) -> None:
    """Run a notebook in ``folder``, and keep what it prints, without times and without the place of the folder.

    Raises:
        CellExecutionError: A cell fails.
    """
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(found, timeout=None, record_timing=False, coalesce_streams=True, resources=resources)
    client.execute(env=environment(folder))
    for cell in found.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = output.text.replace(str(folder), ".")


def _cells(page: Path) -> Iterator[NotebookNode]:
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    for block in blocks(page):
        yield from _text(page, lines[at : block.line - 1])
        at = block.end
        if block.file is not None:
            yield new_code_cell(f"%%writefile {block.file}\n{block.content.rstrip()}")
        elif block.language == "sh":
            yield new_code_cell(f"%%bash -e\n{block.content.rstrip()}")
        elif block.language == "python":
            yield new_code_cell(block.content.rstrip())
    yield from _text(page, lines[at:])


def _text(page: Path, lines: list[str]) -> Iterator[NotebookNode]:
    def moved(match: re.Match[str]) -> str:
        target = os.path.relpath(page.parent / match[2], DOCS / "notebooks")
        return f"{match[1]}{target}{match[3] or ''})"

    text = LINK.sub(moved, "\n".join(lines)).strip()
    if text:
        yield new_markdown_cell(text)


def main(target: Path) -> None:
    """Write all notebooks, with what they print, into ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        found = notebook(DOCS / page)
        with tempfile.TemporaryDirectory() as folder:
            run(found, Path(folder))
        nbformat.write(found, target / f"{name}.ipynb")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "notebooks")
