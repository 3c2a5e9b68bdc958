"""Pages as programs: their blocks are written to files or run, in order, as a reader would."""

from __future__ import annotations

import contextlib
import doctest
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_blocks import Block, blocks, environment


class Reader:
    """Follows pages in a folder.

    ``sh`` blocks run in a shell in which every command must succeed, ``python`` blocks in one namespace. A ``text``
    block after one of them is what it prints, with ``...`` for anything.

    Args:
        folder: Where the reader stands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment(folder)

    def follow(self, page: Path) -> None:
        """Do all that ``page`` says."""
        namespace: dict[str, Any] = {}
        printed = ""
        for block in blocks(page):
            where = f"{page}:{block.line}"
            if block.file is not None:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.content, encoding="utf-8")
            elif block.language == "sh":
                printed = self._shell(block.content, where)
            elif block.language == "python":
                printed = self._python(block.content, namespace, where)
            elif block.language == "text":
                same = doctest.OutputChecker().check_output(block.content, printed, doctest.ELLIPSIS)
                assert same, f"{where} does not show what is printed:\n{printed}"
            else:
                raise AssertionError(f"{where}: a block of {block.language!r} is neither a file nor something to run")

    def _shell(self, script: str, where: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{where} fails:\n{done.stdout}{done.stderr}"
        return done.stdout

    def _python(self, script: str, namespace: dict[str, Any], where: str) -> str:
        output = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(output):
            exec(compile(script, where, "exec"), namespace)
        return output.getvalue()


@pytest.fixture
def follow() -> Callable[[Path, Path], None]:
    """Follow a page in a folder, as a reader would."""
    return lambda page, folder: Reader(folder).follow(page)


@pytest.fixture
def blocks_of() -> Callable[[Path], list[Block]]:
    """List the blocks of a page."""
    return lambda page: list(blocks(page))
