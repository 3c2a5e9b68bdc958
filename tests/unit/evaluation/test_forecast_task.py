from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import (
    CoverageConfig,
    ForecastTaskConfig,
    MeanAbsoluteErrorConfig,
    MeanSquaredErrorConfig,
    WeightedQuantileLossConfig,
)
from modrwkv_core.evaluation.evaluator import run_task
from modrwkv_core.evaluation.forecast import ForecastTask
from modrwkv_core.evaluation.metrics import MeanAbsoluteError, MeanSquaredError
from modrwkv_core.evaluation.quantile_metrics import Coverage
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.result import Result
from modrwkv_core.testing import TaskContract


class Constant:
    """Forecasts one number for ever."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.batches: list[int] = []
        self.asked: list[Any] = []

    def answer(self, conversations: object, max_tokens: int, head: str | None = None) -> list[str]:
        raise AssertionError("a forecast task asks for numbers")

    def predict(self, conversations: object, head: str | None = None) -> list[Any]:
        raise AssertionError("a forecast task asks for continuations")

    def forecast_all(
        self, conversations: Sequence[Sequence[Turn]], horizon: int, head: str | None = None
    ) -> list[Forecast]:
        self.batches.append(len(conversations))
        self.asked.append((conversations, head))
        pasts = [turns[-1].parts[0].media for turns in conversations]  # type: ignore[union-attr]
        return [Forecast(np.full((horizon, past.shape[1]), self.value, np.float32)) for past in pasts]


def window(past: Any, truth: Any, key: str = "w", head: str | None = "forecast") -> Record:
    asked = Turn("user", (Media("series", np.asarray(past, np.float32)), Text("Go on.")))
    return Record(key, (asked, Turn("assistant", (Target(head, np.asarray(truth, np.float32)),))))


class TestContract(TaskContract):
    plugin = "modrwkv_core.builtin"
    name = "forecast"
    configs = ({}, {"period": 2})

    def records(self, config: ForecastTaskConfig) -> list[Record]:
        return WINDOWS

    def bad_records(self, config: ForecastTaskConfig) -> list[Record]:
        return [Record("bad", (Turn("user", (Text("?"),)),)), window([[1, 1]], [[1, 1]], "bad")]


def evaluate(
    data: list[Record], value: float = 0.0, baseline_data: list[Record] | None = None, **options: Any
) -> Result:
    return ask(ForecastTask(ForecastTaskConfig(**options), data, baseline_data), Constant(value))


def ask(task: ForecastTask, model: Constant) -> Result:
    metrics = [MeanSquaredError(MeanSquaredErrorConfig()), MeanAbsoluteError(MeanAbsoluteErrorConfig())]
    return run_task("ett", task, metrics, model)


WINDOWS = [
    window([[1, 0], [2, 0], [3, 10]], [[4, 10], [5, 12]]),
    window([[0, 0], [0, 1], [1, 2]], [[1, 1], [0, 2]]),
]


def test_errors_are_averaged_over_windows_steps_and_columns() -> None:
    result = evaluate(WINDOWS, value=1.0)
    mse, mae = result.scores
    # squared: 9, 81, 16, 121 and 0, 0, 1, 1; absolute: 3, 9, 4, 11 and 0, 0, 1, 1
    assert (mse.model, mae.model) == (pytest.approx(229 / 8), pytest.approx(29 / 8))
    assert result.count == 2


def test_repeat_last_is_a_baseline() -> None:
    mse, mae = evaluate(WINDOWS).scores
    # errors against (3, 10): 1, 0, 2, 2; against (1, 2): 0, -1, -1, 0
    assert mse.baselines == {"repeat last": pytest.approx(11 / 8)}
    assert mae.baselines == {"repeat last": pytest.approx(7 / 8)}


def test_the_last_season_is_repeated_cyclically() -> None:
    record = window([[9, 9], [1, 10], [2, 20]], [[1, 10], [2, 20], [1, 10], [2, 20], [4, 10]])
    assert evaluate([record], period=2).scores[0].baselines["repeat last season"] == pytest.approx(9 / 10)


def test_the_training_mean_is_that_of_the_points_of_the_baseline_data() -> None:
    baseline_data = [window([[1, 10], [3, 30]], [[99, 99], [99, 99]]), window([[5, 20]] * 2, [[99, 99], [99, 99]])]
    # the mean of the contexts is (3.5, 20)
    expected = (0.5**2 + 10**2 + 1.5**2 + 8**2 + 2.5**2 + 19**2 + 3.5**2 + 18**2) / 8
    score = evaluate(WINDOWS, baseline_data=baseline_data).scores[0]
    assert score.baselines["training mean"] == pytest.approx(expected)


def test_the_conversation_before_the_target_is_asked_of_the_head_that_it_names() -> None:
    for named, configured, head in ((None, None, None), ("a", None, "a"), ("a", "b", "b")):
        model = Constant(0.0)
        record = window([[1]], [[2]], head=named)
        ask(ForecastTask(ForecastTaskConfig(head=configured), [record]), model)
        assert model.asked == [([record.turns[:-1]], head)]


@given(st.integers(1, 30), st.integers(1, 12))
def test_the_last_incomplete_batch_counts(count: int, batch: int) -> None:
    rng = np.random.default_rng(count)
    pasts, truths = rng.normal(size=(count, 5, 2)), rng.normal(size=(count, 3, 2))
    data = [window(past, truth) for past, truth in zip(pasts, truths, strict=True)]
    model = Constant(0.5)
    mse = ask(ForecastTask(ForecastTaskConfig(batch_size=batch), data), model).scores[0]
    assert mse.model == pytest.approx(float(np.mean((truths - 0.5) ** 2)), rel=1e-5)
    assert mse.baselines["repeat last"] == pytest.approx(float(np.mean((truths - pasts[:, -1:]) ** 2)), rel=1e-5)
    assert sum(model.batches) == count


def test_a_task_can_keep_what_metrics_make_of_predictions_alone() -> None:
    kept, dropped = evaluate(WINDOWS, value=7.0), evaluate(WINDOWS, value=7.0, save_predictions=False)
    assert [score.model for score in dropped.scores] == [score.model for score in kept.scores]
    assert [sample.statistics for sample in dropped.samples] == [sample.statistics for sample in kept.samples]
    assert all(sample.prediction is sample.truth is None for sample in dropped.samples)
    assert dropped.examples[0].prediction is not None


def test_examples_hold_the_forecasts() -> None:
    result = evaluate(WINDOWS, value=7.0, examples=1)
    [example] = result.examples
    assert any(example.record is record for record in WINDOWS)
    assert example.correct is None
    np.testing.assert_array_equal(example.prediction, np.full((2, 2), 7.0))


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (Record("bad", (Turn("user", (Text("?"),)), Turn("assistant", (Text("!"),)))), "no series"),
        (Record("bad", (Turn("assistant", (Target("forecast", [1.0]),)),)), "no series"),
        (Record("bad", (Turn("user", (Media("series", [1.0]), Target("forecast", None))),)), "no series"),
        (window([[1, 1]] * 3, [[1, 1], [2, 2]], "bad", "other"), "asks the head other, the first record asks forecast"),
        (window([[1, 1]], [[1], [2]], "bad"), "2 columns and a continuation of 1"),
        (window([[1, 1]], [[1, 1]], "bad"), "asks for 1 points of 2 columns"),
        (window([[1]], [[1], [2]], "bad"), "asks for 2 points of 1 columns"),
    ],
)
def test_a_record_that_does_not_fit_is_named(record: Record, complaint: str) -> None:
    with pytest.raises(DataError, match=f"^bad .*{complaint}"):
        evaluate([WINDOWS[0], record])


def test_a_look_back_shorter_than_the_period_is_named() -> None:
    with pytest.raises(DataError, match=r"^w has a context of 3 points; the task's period is 4"):
        evaluate(WINDOWS, period=4)


def test_a_diverged_model_scores_nan() -> None:
    mse = evaluate(WINDOWS, value=float("nan")).scores[0]
    assert np.isnan(mse.model)
    assert np.isfinite(mse.baselines["repeat last"])


class Uncertain(Constant):
    """Forecasts one number for ever, and quantiles around it."""

    def forecast_all(
        self, conversations: Sequence[Sequence[Turn]], horizon: int, head: str | None = None
    ) -> list[Forecast]:
        points = [forecast.points for forecast in super().forecast_all(conversations, horizon, head)]
        return [Forecast(one, {0.25: one - 1, 0.5: one, 0.75: one + 1}) for one in points]


def test_forecasts_with_quantiles_are_scored_by_them_too() -> None:
    task = ForecastTask(ForecastTaskConfig(), WINDOWS)
    assert [metric.type for metric in task.metrics(Constant(1.0))] == ["mse", "mae"]
    metrics = task.metrics(Uncertain(1.0))
    assert [metric.type for metric in metrics] == ["mse", "mae", "wql", "coverage"]
    assert metrics[-1] == CoverageConfig(lower=0.25, upper=0.75)
    result = run_task("ett", task, [Coverage(metrics[-1])], Uncertain(1.0))
    [score] = result.scores
    # of 4, 10, 5, 12 and 1, 1, 0, 2 the last four lie from 0 to 2; three equal the last points 3, 10 and 1, 2
    assert (score.model, score.baselines["repeat last"]) == (0.5, 3 / 8)
    assert (score.best_baseline, score.margin) == (None, None)


def test_metrics_of_quantiles_may_be_configured() -> None:
    chosen = CoverageConfig(lower=0.25, upper=0.5)
    task = ForecastTask(ForecastTaskConfig(metrics=(chosen,)), WINDOWS)
    assert task.metrics(Uncertain(1.0)) == (chosen, WeightedQuantileLossConfig())
