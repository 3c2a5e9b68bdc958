"""The sweep of the page runs, goes on, and finds the better learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modrwkv_core.training.loggers import read_metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_compares_learning_rates(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "compare-settings.md", tmp_path)
    found = json.loads((tmp_path / "runs/rates/comparison.json").read_text(encoding="utf-8"))
    assert [trial["parameters"]["phases.pretrain.lr"] for trial in found["trials"]] == [1e-2, 1e-4]
    last = read_metrics(tmp_path / "runs/rates/trial-001/seed-0")[-1]
    assert found["trials"][0]["seeds"]["0"]["valid/lm"] == last["valid/lm"]
