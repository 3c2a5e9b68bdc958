"""The tutorial, followed to the letter, and the pages that go on in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_trains_asks_evaluates_and_resumes(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "tutorial" / "first-model.md", tmp_path)
    tasks = json.loads((tmp_path / "runs/first/results.json").read_text())["tasks"]
    talks, forecasts = tasks["talks"]["metrics"]["exact_match"], tasks["forecasts"]["metrics"]["mse"]
    assert talks["score"] >= 0.9 > 0.7 > talks["baselines"]["majority answer"]
    assert forecasts["score"] < 0.5 * forecasts["baselines"]["repeat last"]

    follow(DOCS / "explanation" / "data-flow.md", tmp_path)
    follow(DOCS / "how-to" / "checkpoints.md", tmp_path)
    follow(DOCS / "how-to" / "export.md", tmp_path)
    follow(DOCS / "how-to" / "resume.md", tmp_path)
    here, there = (tmp_path / run / "checkpoints/step-00000032" for run in ("runs/long", "elsewhere/moved"))
    weights = [path.name for path in here.glob("*.safetensors")]
    assert weights
    for name in weights:
        assert not (there / name).samefile(here / name)
        assert (there / name).read_bytes() == (here / name).read_bytes(), f"{name} differs where training went on"
    follow(DOCS / "how-to" / "many-devices.md", tmp_path)
