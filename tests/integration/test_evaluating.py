"""Evaluating a trained run: metrics, baselines and the report, from the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from modrwkv_core.cli.compare import compare
from modrwkv_core.cli.evaluate import evaluate
from modrwkv_core.cli.forecast import forecast
from modrwkv_core.errors import ManifestError
from modrwkv_core.inference.loading import load
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


@pytest.fixture(scope="module")
def run(write_manifest: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    loaded = load_manifest(write_manifest(folder / "project", evaluation=EVALUATION))
    train(loaded, folder / "run", resume=False, device="cpu", progress_bar=False)
    return folder / "run"


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

    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["task"] for line in lines] == ["talks"] * 9 + ["waves"] * 2 * len(starts)
    sums = np.sum([line["statistics"]["mse"] for line in lines[9:]], axis=0)
    assert waves["score"] == pytest.approx(sums[0] / sums[1])
    np.testing.assert_allclose(lines[9]["truth"], ahead[0][:, :1], rtol=1e-5)
    np.testing.assert_allclose(lines[9]["prediction"]["points"], forecasts[0][:, :1], rtol=1e-4)
    low, high = waves["interval"]
    assert low < waves["score"] < high

    page = (run / "report.html").read_text(encoding="utf-8")
    for words in (
        "tiny",
        "<h3>Errors</h3>",
        "wrong predictions, drawn at random",
        "worst predictions",
        "rwkv7, hidden size 64",
        "repeat last season",
        "loss curves",
        "forecast of 6 points",
        "Say yes",
    ):
        assert words in page


def test_texts_and_choices_are_scored_by_their_likelihood(tiny_manifest: Callable[..., Path], tmp_path: Path) -> None:
    choices = [{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": "yes"}]
    evaluation = {
        "texts": {"task": {"type": "perplexity"}, "data": {"source": "text", "path": "texts.txt"}},
        "last": {
            "task": {"type": "perplexity", "target": "last_word", "metrics": [{"type": "greedy_match"}]},
            "data": {"source": "text", "path": "texts.txt"},
        },
        "choices": {"task": {"type": "multiple_choice"}, "data": {"source": "chat", "path": "choices.jsonl"}},
    }
    manifest = tiny_manifest(evaluation=evaluation)
    (manifest.parent / "texts.txt").write_text("yes yes\nno, no, no\n")
    line = json.dumps({"messages": choices, "choices": ["yes", "no", "maybe"]})
    (manifest.parent / "choices.jsonl").write_text(f"{line}\n{line}\n")
    train(load_manifest(manifest), tmp_path / "run", resume=False, device="cpu", progress_bar=False)
    invoke(tmp_path / "run", "--quiet")
    found = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["tasks"]
    session = load(tmp_path / "run", device="cpu")
    texts = ["yes yes", "no, no, no"]
    likelihoods = session.log_likelihoods([(), ()], texts, chat=False)
    bits = -sum(one.total for one in likelihoods) / np.log(2) / sum(map(len, texts))
    assert found["texts"]["metrics"]["bits_per_byte"]["score"] == pytest.approx(bits, rel=1e-4)
    perplexity = np.exp(-sum(one.total for one in likelihoods) / 5)
    assert found["texts"]["metrics"]["word_perplexity"]["score"] == pytest.approx(perplexity, rel=1e-4)
    assert found["last"]["metrics"]["greedy_match"]["score"] in (0.0, 0.5, 1.0)
    assert found["choices"]["count"] == 2
    assert "log-likelihood" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")

    runs = [str(tmp_path / "run")] * 2
    [*same] = json.loads(CliRunner().invoke(compare, [*runs, "--json"], catch_exceptions=False).stdout)
    assert [(one["task"], one["metric"], one["p"]) for one in same] == [
        ("texts", "bits_per_byte", 1.0),
        ("texts", "word_perplexity", 1.0),
        ("last", "greedy_match", 1.0),
        ("choices", "exact_match", 1.0),
    ]


@pytest.mark.usefixtures("undrawn")
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


def test_a_head_with_quantiles_is_scored_drawn_and_asked_for_them(
    tiny_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    heads = {"lm": {"type": "lm"}, "forecast": {"type": "forecast", "horizon": 6, "loss": "quantile"}}
    loaded = load_manifest(tiny_manifest(heads=heads, evaluation={"waves": EVALUATION["waves"]}))
    train(loaded, tmp_path / "run", resume=False, device="cpu", progress_bar=False)
    found = json.loads(invoke(tmp_path / "run", "--json", "--quiet").stdout)["tasks"]["waves"]["metrics"]
    assert list(found) == ["mse", "mae", "wql", "coverage_80"]
    assert found["wql"]["score"] > 0
    # the baseline is a distribution without width, whose loss is the absolute error
    table = np.loadtxt(tmp_path / "project" / "waves.csv", delimiter=",", skiprows=1)[:, 1:]
    ahead = np.stack([table[start : start + 6] for start in range(24, len(table) - 6 + 1, 10)])
    for name, error in found["mae"]["baselines"].items():
        assert found["wql"]["baselines"][name] == pytest.approx(error / np.abs(ahead).mean(), rel=1e-4)
    assert 0 <= found["coverage_80"]["score"] <= 1
    assert (found["coverage_80"]["higher_is_better"], found["coverage_80"]["margin"]) == (None, None)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "forecast of 6 points with 9 quantiles" in page
    assert "% of 80 %" in page

    asked = [str(tmp_path / "run"), "--series", str(tmp_path / "project" / "waves.csv"), "--horizon", "4"]
    asked += ["--column", "sine", "--column", "cosine", "--device", "cpu"]
    told = json.loads(CliRunner().invoke(forecast, [*asked, "--json"], catch_exceptions=False).stdout)
    assert list(told["quantiles"]) == [f"0.{tenths}" for tenths in range(1, 10)]
    assert told["quantiles"]["0.5"] == told["forecast"]
    head, *rows = csv.reader(CliRunner().invoke(forecast, asked, catch_exceptions=False).stdout.splitlines())
    titles = [name + suffix for name in ("sine", "cosine") for suffix in ("", *(f"_q0.{i}" for i in range(1, 10)))]
    assert head[-20:] == titles
    values = np.array([row[-20:] for row in rows], dtype=np.float64)
    np.testing.assert_allclose(values[:, [0, 10]], told["forecast"], rtol=1e-6)
    for tenths in range(1, 10):
        np.testing.assert_allclose(values[:, [tenths, 10 + tenths]], told["quantiles"][f"0.{tenths}"], rtol=1e-6)
