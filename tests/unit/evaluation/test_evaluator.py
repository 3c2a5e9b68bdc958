from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import pytest

from modrwkv_core.errors import ComponentError, DataError, ManifestError
from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.config import ExactMatchConfig, ExactMatchMetricConfig, MeanAbsoluteErrorConfig
from modrwkv_core.evaluation.evaluator import evaluate
from modrwkv_core.evaluation.exact_match import ExactMatchTask
from modrwkv_core.evaluation.metrics import MeanAbsoluteError
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.interfaces.source import Source


class PairsConfig(SourceConfig):
    source: Literal["pairs"] = "pairs"

    pairs: tuple[tuple[str, str], ...]


class PairsSource(Source[PairsConfig]):
    def __len__(self) -> int:
        return len(self.config.pairs)

    def __getitem__(self, index: int) -> Record:
        question, answer = self.config.pairs[index]
        return Record(str(index), (Turn("user", (Text(question),)), Turn("assistant", (Text(answer),))))


class Registry:
    def implementation(self, kind: str, name: str) -> Any:
        return {
            ("source", "pairs"): PairsSource,
            ("task", "exact_match"): ExactMatchTask,
            ("metric", "exact_match"): ExactMatch,
            ("metric", "mae"): MeanAbsoluteError,
        }[kind, name]

    def component(self, kind: str, name: str) -> Any:
        return SimpleNamespace(origin=Origin(f"{kind}/{name}", "modrwkv"))


class Echo:
    """Answers every question with its own words."""

    def __init__(
        self, data: list[tuple[str, str]], baseline_data: list[tuple[str, str]] | None = None, **task: Any
    ) -> None:
        section = SimpleNamespace(
            task=ExactMatchConfig(batch_size=2, **task),
            data=PairsConfig(pairs=tuple(data)),
            baseline_data=None if baseline_data is None else PairsConfig(pairs=tuple(baseline_data)),
        )
        self.loaded: Any = SimpleNamespace(manifest=SimpleNamespace(evaluation={"echo": section}), registry=Registry())

    def answer(self, conversations: Any, max_tokens: int, head: str | None = None) -> list[str]:
        return [turns[-1].parts[0].text for turns in conversations]

    def predict(self, conversations: Any, head: str | None = None) -> list[Any]:
        raise AssertionError("nobody asks a query head")

    def forecast_all(self, conversations: Any, horizon: int, head: str | None = None) -> list[Any]:
        raise AssertionError("nobody asks for a forecast")


DATA = [("a", "a"), ("b", "c"), ("c", "c"), ("d", "c")]


def test_the_tasks_data_are_asked() -> None:
    result = evaluate(Echo(DATA), "echo")
    [score] = result.scores
    assert (result.task, score.metric.name, score.model, result.count) == ("echo", "exact_match", 0.5, 4)
    assert score.baselines["majority answer"] == 0.75


def test_baselines_learn_from_the_reference() -> None:
    assert evaluate(Echo(DATA, [("a", "a")]), "echo").scores[0].baselines["majority answer"] == 0.25


def test_a_limit_draws_records() -> None:
    many = [(str(index), str(index)) for index in range(100)]
    result = evaluate(Echo(many), "echo", limit=10)
    assert (result.count, result.scores[0].model) == (10, 1.0)
    asked = [example.record.key for example in result.examples]
    assert asked == [example.record.key for example in evaluate(Echo(many), "echo", limit=10).examples]
    assert max(map(int, asked)) >= 10
    assert evaluate(Echo(DATA), "echo", limit=10).count == 4


@pytest.mark.parametrize(("data", "baseline_data", "where"), [([], DATA, "data"), (DATA, [], "baseline_data")])
def test_empty_data_are_refused(data: Any, baseline_data: Any, where: str) -> None:
    with pytest.raises(DataError, match=rf"evaluation\.echo\.{where} holds no records"):
        evaluate(Echo(data, baseline_data), "echo")


def test_metrics_of_one_name_are_refused() -> None:
    twice = (ExactMatchMetricConfig(), ExactMatchMetricConfig())
    with pytest.raises(ManifestError, match=r"evaluation\.echo\.task\.metrics: two metrics are called 'exact_match'"):
        evaluate(Echo(DATA, metrics=twice), "echo")


def test_a_metric_that_cannot_compare_is_named() -> None:
    with pytest.raises(ComponentError, match=r"numbers of one shape.*\(metric/mae\)"):
        evaluate(Echo(DATA, metrics=(MeanAbsoluteErrorConfig(),)), "echo")


def test_a_task_that_loses_predictions_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExactMatchTask, "predict", lambda self, model, samples: ["a"])
    with pytest.raises(ComponentError, match=r"1 predictions for 2 samples \(task/exact_match\)"):
        evaluate(Echo(DATA), "echo")


def test_the_progress_bar_ends_at_the_last_record(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(Echo(DATA), "echo", progress_bar=True)
    assert "echo: 100%" in (shown := capsys.readouterr().err)
    assert "4/4" in shown
    evaluate(Echo(DATA), "echo")
    assert capsys.readouterr().err == ""
