"""Evaluating a trained run: metrics, baselines and the report, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from modrwkv_core.cli.evaluate import evaluate
from modrwkv_core.errors import ManifestError
from modrwkv_core.inference.session import load
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

WAVES = {
    "source": "csv_windows",
    "path": "waves.csv",
    "columns": ["sine", "cosine"],
    "context_length": 24,
    "horizon": 6,
    "stride": 10,
}
EVALUATION = {
    "talks": {"task": {"type": "exact_match", "max_tokens": 4}, "data": {"source": "chat", "path": "talks.jsonl"}},
    "waves": {"task": {"type": "forecast", "period": 24, "batch_size": 5}, "data": WAVES, "baseline_data": WAVES},
}


@pytest.fixture
def run(tiny_manifest: Callable[..., Path], tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    loaded = load_manifest(tiny_manifest(evaluation=EVALUATION))
    train(loaded, folder, resume=False, device="cpu", progress_bar=False)
    return folder


def invoke(run: Path, *options: str) -> Result:
    return CliRunner().invoke(evaluate, [str(run), "--device", "cpu", *options], catch_exceptions=False)


def test_a_run_is_evaluated_on_all_its_tasks(run: Path) -> None:
    result = invoke(run)
    answered, _, table_and_path = result.stdout.partition("\n\n")
    assert answered.startswith("talks:\n  Say ")
    assert [line.split()[0] for line in table_and_path.splitlines()] == ["task", "talks", "waves", "mae", "report:"]
    found = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert found["run"] == "tiny"
    assert (found["tasks"]["talks"]["count"], list(found["tasks"]["waves"]["metrics"])) == (9, ["mse", "mae"])
    talks, waves = found["tasks"]["talks"]["metrics"]["exact_match"], found["tasks"]["waves"]["metrics"]["mse"]
    # nine different questions with nine different answers
    assert talks["baselines"] == {"majority answer": pytest.approx(1 / 9), "question only": 1.0}

    table = np.loadtxt(run.parent / "project" / "waves.csv", delimiter=",", skiprows=1)[:, 1:].astype(np.float32)
    starts = range(24, len(table) - 6 + 1, 10)
    ahead = np.stack([table[start : start + 6] for start in starts])
    assert found["tasks"]["waves"]["count"] == 2 * len(starts)
    last = np.stack([table[start - 1 : start] for start in starts])
    assert waves["baselines"]["repeat last"] == pytest.approx(float(np.mean((ahead - last) ** 2)), rel=1e-4)
    season = np.stack([table[start - 24 : start - 18] for start in starts])
    assert waves["baselines"]["repeat last season"] == pytest.approx(float(np.mean((ahead - season) ** 2)), rel=1e-4)
    session = load(run, device="cpu")
    forecasts = np.stack([session.forecast(table[start - 24 : start], 6) for start in starts])
    assert waves["score"] == pytest.approx(float(np.mean((ahead - forecasts) ** 2)), rel=1e-4)

    page = (run / "report.html").read_text(encoding="utf-8")
    for words in (
        "tiny",
        "rwkv7, hidden size 64",
        "repeat last season",
        "loss curves",
        "forecast of 6 points",
        "Say yes",
    ):
        assert words in page


def test_one_task_and_a_limit_can_be_chosen(run: Path) -> None:
    found = json.loads(invoke(run, "--task", "waves", "--limit", "7", "--json", "--quiet").stdout)
    assert list(found["tasks"]) == ["waves"]
    assert found["tasks"]["waves"]["count"] == 7
    with pytest.raises(ManifestError, match="has no task 'wave'") as error:
        invoke(run, "--task", "wave")
    assert error.value.hint == "did you mean 'waves'?"


def test_a_run_without_tasks_is_refused(tiny_manifest: Callable[..., Path], tmp_path: Path) -> None:
    phases = [{"name": "align", "train": ["adapter"], "lr": 1e-3, "steps": 1}]
    folder = tmp_path / "run"
    train(load_manifest(tiny_manifest(phases=phases)), folder, resume=False, device="cpu", progress_bar=False)
    with pytest.raises(ManifestError, match="names no tasks"):
        invoke(folder)
