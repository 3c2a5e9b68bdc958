"""The page on memory works as it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "long-context.md"


def test_a_reader_measures_what_a_model_remembers(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(PAGE, tmp_path)
    assert "recall" not in (tmp_path / "scores.txt").read_text()
    assert "near" in (tmp_path / "scores.txt").read_text()
