"""Every format of the page is read, and every modality reaches the loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modrwkv_core.manifest import load_manifest
from modrwkv_core.model.assemble import open_source
from modrwkv_core.training.loggers import read_metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_trains_on_all_formats(
    tmp_path: Path, follow: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))
    follow(DOCS / "how-to" / "own-data.md", tmp_path)
    loaded = load_manifest(tmp_path / "manifest.yaml")
    counts = [len(open_source(loaded, source)) for source in loaded.manifest.data.train]
    # windows of 4 rows that begin at rows 16, 26, ..., 86
    assert counts == [4, 1, 2, 8, 2, 2, 3]
    *steps, validation = read_metrics(tmp_path / "runs/mine")
    assert len(steps) == -(-(4 + 2 * 1 + 2 + 8 + 2 + 1 + 3) // 4)
    assert all(step["loss"] > 0 for step in steps)
    assert validation["valid/forecast"] > 0
