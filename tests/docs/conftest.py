"""Pages as programs: their blocks are written to files or run, in order, as a reader would."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from markdown_it import MarkdownIt


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        language: The word after the fence.
        content: What it holds.
        file: The file that it belongs into, if the paragraph before it ends with that file's name and a colon.
        line: Where it begins in the page, from 1.
    """

    language: str
    content: str
    file: str | None
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of ``page``."""
    before = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "inline":
            before = token.content
        elif token.type == "fence":
            assert token.map is not None
            named = re.search(r"`([\w./-]+\.\w+)`:$", before)
            yield Block(token.info, token.content, named[1] if named else None, token.map[0] + 1)
            before = ""


class Reader:
    """Follows pages in a folder.

    ``sh`` blocks run in a shell in which every command must succeed, ``python`` blocks in one namespace. A ``text``
    block after one of them is what it prints, with ``...`` for anything. What ``pip install`` installs lands in the
    folder, without its dependencies and without a network.

    Args:
        folder: Where the reader stands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("MODRWKV_")}
        self.environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "installed"),
            "PIP_TARGET": str(folder / "installed"),
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's spelling of: do not isolate
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }

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
