"""Notebooks say what their pages say, and run from their first cell to their last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from notebooks import DOCS, PAGES, notebook, run


@pytest.mark.parametrize("name", PAGES)
def test_a_notebook_says_what_its_page_says(name: str) -> None:
    there = nbformat.read(DOCS / "notebooks" / f"{name}.ipynb", as_version=4)
    wanted = notebook(DOCS / PAGES[name])
    is_same = [(cell.cell_type, cell.source) for cell in there.cells] == [
        (cell.cell_type, cell.source) for cell in wanted.cells
    ]
    assert is_same, f"docs/notebooks/{name}.ipynb is not up to date: run `make notebooks` and commit the result"
    code = [cell for cell in there.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run from first to last"
    assert any(cell.outputs for cell in code)


def test_no_notebook_is_left_over() -> None:
    assert {path.stem for path in (DOCS / "notebooks").glob("*.ipynb")} == set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    run(notebook(DOCS / PAGES[name]), tmp_path)
