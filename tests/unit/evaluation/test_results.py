from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.config import CoverageConfig, ExactMatchMetricConfig, MeanSquaredErrorConfig
from modrwkv_core.evaluation.metrics import MeanSquaredError
from modrwkv_core.evaluation.quantile_metrics import Coverage
from modrwkv_core.evaluation.results import as_json, format_margin, questions, table, write_results
from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.metric import Metric
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.result import Example, Result, Score


class LatencyConfig(MetricConfig):
    type: Literal["latency"] = "latency"


class Latency(Metric[LatencyConfig]):
    """A metric of somebody else's."""

    higher_is_better = False
    unit = "ms"

    def update(self, prediction: object, truth: object) -> None: ...

    def compute(self) -> float:
        return 0.0


MATCH, MSE, LATENCY = (
    ExactMatch(ExactMatchMetricConfig()),
    MeanSquaredError(MeanSquaredErrorConfig()),
    Latency(LatencyConfig()),
)
VQA = Score(MATCH, 0.912, {"majority answer": 0.373, "question only": 0.67}, (0.906, 0.918))
ETT = Score(MSE, 0.39, {"repeat last": 1.294, "training mean": 1.1})
BARE = Score(LATENCY, 12.5, {})
RESULTS = [Result("vqa", 9673, (VQA, BARE), {"other": (Score(MATCH, 0.5, {}),)}), Result("ett", 2785, (ETT,))]


def test_the_best_baseline_is_the_nearest_to_perfection() -> None:
    assert [score.best_baseline for score in (VQA, ETT, BARE)] == ["question only", "training mean", None]


def test_the_margin_is_positive_where_the_model_is_better() -> None:
    assert VQA.margin == pytest.approx(0.242)
    assert ETT.margin == pytest.approx(0.71)
    assert Score(MSE, 2.0, {"repeat last": 1.5}).margin == pytest.approx(-0.5)
    assert BARE.margin is None


def test_a_metric_without_a_direction_has_no_best_baseline() -> None:
    score = Score(Coverage(CoverageConfig()), 0.75, {"repeat last": 0.1})
    assert (score.best_baseline, score.margin) == (None, None)
    line = table([Result("ett", 1, (score,))]).splitlines()[1]
    assert line.split("  ")[-1].strip() == "repeat last 10.0 % of 80 %"
    assert "coverage_80 " in line
    assert "better" not in line
    assert [format_margin(score) for score in (VQA, ETT, BARE)] == ["+24.2 points", "+0.71", ""]
    assert format_margin(Score(LATENCY, 10.0, {"idle": 12.5})) == "+2.5 ms"


def test_the_table_has_a_line_for_each_metric() -> None:
    assert table(RESULTS).splitlines() == [
        "task  samples  metric                     model    95 % interval     margin        baselines",
        "vqa   9673     exact_match                91.2 %   90.6 % to 91.8 %  +24.2 points  majority answer 37.3 %, "
        "question only 67.0 %",
        "               latency (lower is better)  12.5 ms",
        "ett   2785     mse (lower is better)      0.39                       +0.71         repeat last 1.294, "
        "training mean 1.1",
    ]


def test_programs_read_the_scores(tmp_path: Path) -> None:
    diverged = Result("bad", 1, (Score(MSE, float("nan"), {"repeat last": 1.0}),))
    write_results(tmp_path / "results.json", "demo", [*RESULTS, diverged])
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert text == as_json("demo", [*RESULTS, diverged]) + "\n"
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["run"] == "demo"
    vqa = found["tasks"]["vqa"]
    assert vqa["count"] == 9673
    assert vqa["metrics"]["exact_match"] == {
        "score": 0.912,
        "interval": [0.906, 0.918],
        "config": {"type": "exact_match", "normalization": "case"},
        "higher_is_better": True,
        "unit": "",
        "baselines": {"majority answer": 0.373, "question only": 0.67},
        "best_baseline": "question only",
        "margin": pytest.approx(0.242),
        "text": {"model": "91.2 %", "majority answer": "37.3 %", "question only": "67.0 %"},
    }
    assert vqa["metrics"]["latency"]["text"] == {"model": "12.5 ms"}
    assert vqa["groups"]["other"]["exact_match"]["score"] == 0.5
    assert found["tasks"]["bad"]["metrics"]["mse"]["score"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_questions_show_the_answer_and_the_truth_where_it_was_missed() -> None:
    turns = (Turn("user", (Media("image", b""), Text("Which digit?"))), Turn("assistant", (Text("seven"),)))
    examples = (
        Example(Record("k", turns), "seven", "seven", True),
        Example(Record("k", turns), "one", "seven", False),
        Example(Record("k", turns), 6, 7, None),
    )
    assert questions(Result("digits", 3, (VQA,), examples=examples)).splitlines() == [
        "digits:",
        "  [image] Which digit? -> seven",
        "  [image] Which digit? -> one   (true: seven)",
        "  [image] Which digit? -> 6   (true: 7)",
    ]


def test_forecasts_are_not_written_as_questions() -> None:
    turns = (Turn("user", (Media("series", b""),)), Turn("assistant", (Target("forecast", [1.0]),)))
    example = Example(Record("k", turns), np.ones((1, 1)), np.ones((1, 1)), None)
    assert questions(Result("ett", 1, (ETT,), examples=(example,))) == ""
