"""Pages as programs: files to write, commands and programs to run, what those print, and where they run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

__all__ = ["Block", "blocks", "environment"]


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        language: The word after the fence.
        content: What it holds.
        file: The file that it belongs into, if the paragraph before it ends with that file's name and a colon.
        line: Where it begins in the page, from 1.
        end: Where its closing fence stands.
    """

    language: str
    content: str
    file: str | None
    line: int
    end: int


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of ``page``."""
    before = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "inline":
            before = token.content
        elif token.type == "fence":
            assert token.map is not None
            named = re.search(r"`([\w./-]+\.\w+)`:$", before)
            yield Block(token.info, token.content, named[1] if named else None, token.map[0] + 1, token.map[1])
            before = ""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a reader in ``folder``.

    What ``pip install`` installs lands in the folder, without its dependencies and without a network.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("MODRWKV_")} | {
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
