"""The plugin of the page is built, installed, tested and trained as the page says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_a_reader_adds_a_modality(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "write-a-plugin.md", tmp_path)
    assert (tmp_path / "runs/hearts/checkpoints/step-00000080/ecg.encoder.safetensors").is_file()
