from __future__ import annotations

import json
from pathlib import Path

import pytest

from modrwkv_core.evaluation.results import (
    as_json,
    best_floor,
    in_words,
    margin,
    margin_in_words,
    questions,
    table,
    write_results,
)
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.task import Example, Result

VQA = Result("vqa", "accuracy", 0.912, True, {"majority answer": 0.373, "question only": 0.67}, 9673, {"other": 0.5})
ETT = Result("ett", "mse", 0.39, False, {"repeat last": 1.294, "training mean": 1.1}, 2785)
BARE = Result("bare", "accuracy", 0.5, True, {}, 2)


def test_the_best_floor_is_the_nearest_to_perfection() -> None:
    assert [best_floor(result) for result in (VQA, ETT, BARE)] == ["question only", "training mean", None]


def test_the_margin_is_positive_where_the_model_is_better() -> None:
    assert margin(VQA) == pytest.approx(0.242)
    assert margin(ETT) == pytest.approx(0.71)
    assert margin(Result("t", "mse", 2.0, False, {"repeat last": 1.5}, 1)) == pytest.approx(-0.5)
    assert margin(BARE) is None
    assert [margin_in_words(result) for result in (VQA, ETT, BARE)] == ["+24.2 points", "+0.71", ""]


def test_accuracies_are_written_in_per_cent() -> None:
    assert in_words("accuracy", 0.9996) == "100.0 %"
    assert in_words("mse", 0.38337) == "0.3834"
    assert in_words("mse", float("nan")) == "nan"


def test_the_table_aligns_its_columns() -> None:
    assert table([VQA, ETT, BARE]).splitlines() == [
        "task  records  metric                 model   margin        baselines",
        "vqa   9673     accuracy               91.2 %  +24.2 points  majority answer 37.3 %, question only 67.0 %",
        "ett   2785     mse (lower is better)  0.39    +0.71         repeat last 1.294, training mean 1.1",
        "bare  2        accuracy               50.0 %",
    ]


def test_programs_read_the_scores(tmp_path: Path) -> None:
    diverged = Result("bad", "mse", float("nan"), False, {"repeat last": 1.0}, 1)
    write_results(tmp_path / "results.json", "demo", [VQA, diverged])
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert text == as_json("demo", [VQA, diverged]) + "\n"
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["run"] == "demo"
    assert found["tasks"]["vqa"] == {
        "metric": "accuracy",
        "score": 0.912,
        "higher_is_better": True,
        "count": 9673,
        "baselines": {"majority answer": 0.373, "question only": 0.67},
        "best_floor": "question only",
        "margin": pytest.approx(0.242),
        "details": {"other": 0.5},
    }
    assert found["tasks"]["bad"]["score"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_questions_show_the_answer_and_the_truth_where_it_was_missed() -> None:
    def example(prediction: str, *, correct: bool) -> Example:
        turns = (Turn("user", (Media("image", b""), Text("Which digit?"))), Turn("assistant", (Text("seven"),)))
        return Example(Record("k", turns), prediction, correct)

    result = Result(
        "digits", "accuracy", 0.5, True, {}, 2, {}, [example("seven", correct=True), example("one", correct=False)]
    )
    assert questions(result).splitlines() == [
        "digits:",
        "  [image] Which digit? -> seven",
        "  [image] Which digit? -> one   (true: seven)",
    ]


def test_forecasts_are_not_written_as_questions() -> None:
    turns = (Turn("user", (Media("series", b""),)), Turn("assistant", (Target("forecast", [1.0]),)))
    assert questions(Result("ett", "mse", 0.1, False, {}, 1, {}, [Example(Record("k", turns), [1.0], None)])) == ""
