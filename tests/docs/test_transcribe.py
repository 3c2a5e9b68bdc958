"""The page on transcription works as it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_transcribes_files_and_pipes(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "transcribe.md", tmp_path)
    assert (tmp_path / "minute.jsonl").stat().st_size > 0
