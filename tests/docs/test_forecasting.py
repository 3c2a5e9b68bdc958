"""The page on intervals works as it says, and its intervals hold about what they should."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modrwkv_core.training.loggers import read_metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_forecasts_with_intervals(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "forecasting.md", tmp_path)
    losses = [float(line["loss/forecast"]) for line in read_metrics(tmp_path / "runs/power")]
    assert max(losses) < 5, "contexts that stand still do not outweigh the others"
    found = json.loads((tmp_path / "runs/power/results.json").read_text())["tasks"]["power"]["metrics"]
    assert found["wql"]["margin"] > 0, "better than the last season"
    assert found["mse"]["score"] < 0.2 * found["mse"]["baselines"]["repeat last"]
    assert 0.5 < found["coverage_80"]["score"] < 0.97
