"""The page on memory works as it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.manifest.load import load_manifest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "long-context.md"


@pytest.mark.slow
def test_a_reader_measures_what_a_model_remembers(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(PAGE, tmp_path)
    assert "near" in (tmp_path / "scores.txt").read_text()


def test_its_manifest_is_valid(tmp_path: Path, blocks_of: Callable[[Path], list[Any]]) -> None:
    (content,) = [block.content for block in blocks_of(PAGE) if block.file == "manifest.yaml"]
    (tmp_path / "manifest.yaml").write_text(content, encoding="utf-8")
    assert load_manifest(tmp_path / "manifest.yaml").manifest.evaluation["near"].task.type == "recall"
