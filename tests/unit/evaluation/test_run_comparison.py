from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.cli.compare import compare as command
from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.comparison import EvaluatedRun, compare
from modrwkv_core.evaluation.config import ExactMatchMetricConfig, MeanSquaredErrorConfig
from modrwkv_core.evaluation.metrics import MeanSquaredError
from modrwkv_core.evaluation.predictions import _plain, read_predictions, write_predictions
from modrwkv_core.evaluation.results import write_results
from modrwkv_core.interfaces.forecast import Continuation, Forecast
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.result import Result, SampleResult, Score
from modrwkv_core.registry import discover

MATCH, MSE = ExactMatch(ExactMatchMetricConfig()), MeanSquaredError(MeanSquaredErrorConfig())


def evaluated(folder: Path, hits: list[bool], *, task: str = "vqa", prefix: str = "q", truth: str = "yes") -> Path:
    """Leave what an evaluation leaves."""
    samples = tuple(
        SampleResult(f"{prefix}{i}", None, "x", truth, hit, {"exact_match": (float(hit), 1.0)})
        for i, hit in enumerate(hits)
    )
    results = [Result(task, len(hits), (Score(MATCH, float(np.mean(hits)), {}),), samples=samples)]
    folder.mkdir()
    write_results(folder / "results.json", "demo", results)
    write_predictions(folder / "predictions.jsonl", results)
    return folder


def found(*runs: Path, tasks: tuple[str, ...] = ()) -> Any:
    return compare([EvaluatedRun.read(run) for run in runs], discover(), tasks)


def test_a_large_difference_is_significant_and_a_small_one_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poor = rng.random(300) < 0.6
    good, close = poor | (rng.random(300) < 0.5), poor.copy()
    close[:2] = ~close[:2]
    names = ("poor", "good", "close")
    runs = [evaluated(tmp_path / n, hits.tolist()) for n, hits in zip(names, (poor, good, close), strict=True)]
    first, second, third = found(*runs)
    assert first.runs == (str(runs[0]), str(runs[1]))
    assert first.difference == pytest.approx(good.mean() - poor.mean())
    assert first.interval[0] < first.difference < first.interval[1]
    assert first.interval[0] > 0
    assert (first.significant, first.better) == (True, str(runs[1]))
    assert (second.significant, second.better) == (False, None)
    assert (third.significant, third.better) == (True, str(runs[1]))
    assert second.p > 0.2
    # Three pairs: each p-value is at least what it is for one pair.
    [alone] = found(runs[0], runs[1])
    assert alone.p <= first.p <= 3 * alone.p


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    runs = [str(evaluated(tmp_path / "a", [True] * 40)), str(evaluated(tmp_path / "b", [True, False] * 20))]
    shown = CliRunner().invoke(command, runs, catch_exceptions=False).stdout.splitlines()
    assert shown[0].split() == ["task", "metric", "runs", "scores", "difference", "95", "%", "interval", "p", "verdict"]
    assert "100.0 % / 50.0 %" in shown[1]
    assert shown[1].endswith(f"{runs[0]} is better")
    [listed] = json.loads(CliRunner().invoke(command, [*runs, "--json"], catch_exceptions=False).stdout)
    assert (listed["difference"], listed["significant"], listed["better"]) == (-0.5, True, runs[0])
    assert CliRunner().invoke(command, runs[:1]).exit_code == 2


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / name, [True, False] * 20) for name in "ab"]
    [same] = found(*runs)
    assert (same.p, same.interval, same.significant) == (1.0, (0.0, 0.0), False)


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"hits": [True] * 9}, "10 and 9 samples"),
        ({"hits": [True] * 10, "prefix": "z"}, "sample 1 is q0 and z0"),
        ({"hits": [True] * 10, "truth": "no"}, "the true value of q0 is yes and no"),
    ],
)
def test_other_samples_are_refused(other: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    runs = evaluated(tmp_path / "a", [True] * 10), evaluated(tmp_path / "b", **other)
    with pytest.raises(DataError, match=f"were evaluated on different samples of vqa: {complaint}"):
        found(*runs)


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    runs = evaluated(tmp_path / "a", [True] * 10), evaluated(tmp_path / "b", [True] * 10, task="other")
    with pytest.raises(DataError, match="share no metric"):
        found(*runs)
    with pytest.raises(DataError, match="not every run was evaluated on the task 'other'"):
        found(*runs, tasks=("other",))


def test_a_run_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it has not been evaluated"):
        EvaluatedRun.read(tmp_path)
    run = evaluated(tmp_path / "a", [True] * 3)
    (run / "predictions.jsonl").write_text('{"task": "vqa"}\n')
    with pytest.raises(CheckpointError, match=r"predictions\.jsonl:1 is damaged"):
        EvaluatedRun.read(run)
    run = evaluated(tmp_path / "b", [True] * 3)
    (run / "results.json").unlink()
    with pytest.raises(CheckpointError, match=r"results\.json is missing or damaged"):
        EvaluatedRun.read(run)


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_arrays_are_written_with_six_digits(numbers: list[float]) -> None:
    written = _plain(np.array([numbers], np.float32))[0]
    for number, value in zip(numbers, written, strict=True):
        usual = 1e-16 < abs(number) < 1e26
        np.testing.assert_equal(value, float(f"{number:.6g}") if usual else number)


def test_predictions_of_every_kind_are_written(tmp_path: Path) -> None:
    points = np.array([[1.23456789], [2.0]], np.float32)
    truth = Continuation(np.ones((2, 1), np.float32), np.zeros((4, 1), np.float32))
    samples = (
        SampleResult("w", "g", Forecast(points, {0.5: points}), truth, None, {"mse": (float("nan"), 2.0)}),
        SampleResult("l", None, LogLikelihood(-1.5, 3, True), "text", True, {}),
        SampleResult("a", None, "red", ("red", "pink"), False, {}),
    )
    path = tmp_path / "predictions.jsonl"
    write_predictions(path, [Result("t", 3, (Score(MSE, 1.0, {}),), samples=samples)])
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "task": "t",
        "key": "w",
        "group": "g",
        "prediction": {"points": [[1.23457], [2.0]], "quantiles": {"0.5": [[1.23457], [2.0]]}},
        "truth": [[1.0], [1.0]],
        "correct": None,
        "statistics": {"mse": ["NaN", 2.0]},
    }
    assert lines[1]["prediction"] == {"total": -1.5, "tokens": 3, "greedy": True}
    assert (lines[2]["truth"], lines[2]["correct"]) == (["red", "pink"], False)
    back = read_predictions(path)["t"]
    assert np.isnan(back[0].statistics["mse"][0])


def test_a_diverged_run_is_not_called_different(tmp_path: Path) -> None:
    runs = []
    for name, error in (("a", 1.0), ("b", float("nan"))):
        samples = tuple(SampleResult(f"w{i}", None, 0.0, 0.0, None, {"mse": (error, 1.0)}) for i in range(5))
        results = [Result("ett", 5, (Score(MSE, error, {}),), samples=samples)]
        (tmp_path / name).mkdir()
        write_results(tmp_path / name / "results.json", "demo", results)
        write_predictions(tmp_path / name / "predictions.jsonl", results)
        runs.append(tmp_path / name)
    [one] = found(*runs)
    assert (one.p, one.interval, one.significant, one.better) == (None, None, False, None)
