"""The page on chats does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_chats(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "chat.md", tmp_path)
