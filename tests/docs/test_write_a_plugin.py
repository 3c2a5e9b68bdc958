"""The plugins of the pages are built, installed, tested and trained as the pages say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_adds_a_modality(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "write-a-plugin.md", tmp_path)
    assert (tmp_path / "runs/hearts/checkpoints/step-00000160/ecg.encoder.safetensors").is_file()


@pytest.mark.slow
def test_a_reader_adds_a_head_a_task_and_a_metric(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "write-a-head.md", tmp_path)
    found = json.loads((tmp_path / "runs/trends/results.json").read_text())["tasks"]["held_out"]["metrics"][
        "error_rate"
    ]
    assert found["score"] < 0.1 < 0.3 < found["baselines"]["commonest trend"]
    assert found["text"]["model"].endswith(" %")
