from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import ExactMatchConfig
from modrwkv_core.evaluation.exact_match import ExactMatchTask
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.task import Predictor, Result


class Oracle:
    """Says the given answers one after the other and remembers what it was asked."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.batches: list[list[tuple[Turn, ...]]] = []
        self.max_tokens: set[int] = set()

    def answer(self, conversations: Sequence[Sequence[Turn]], max_tokens: int) -> list[str]:
        self.batches.append([tuple(turns) for turns in conversations])
        self.max_tokens.add(max_tokens)
        said, self.answers = self.answers[: len(conversations)], self.answers[len(conversations) :]
        return said

    def forecast_all(self, series: object, horizon: int) -> list[object]:
        raise AssertionError("an exact-match task asks for words")


def question(words: str, answer: str, key: str = "a.jsonl:1") -> Record:
    return Record(key, (Turn("user", (Media("image", b""), Text(words))), Turn("assistant", (Text(answer),))))


def evaluate(
    data: list[Record], answers: Sequence[str], baseline_data: list[Record] | None = None, **options: int
) -> Result:
    model: Predictor = Oracle(answers)  # type: ignore[assignment]
    return ExactMatchTask("vqa", ExactMatchConfig(**options), data, baseline_data).run(model, lambda done, of: None)


def test_the_score_is_the_share_of_right_answers() -> None:
    data = [question("color?", "red"), question("color?", "blue"), question("shape?", "circle"), question("n?", "2")]
    result = evaluate(data, ["red", "red", "circle", "two"])
    assert (result.task, result.metric, result.score, result.count) == ("vqa", "accuracy", 0.5, 4)
    assert result.higher_is_better


@pytest.mark.parametrize(
    ("said", "true", "right"),
    [
        (" Yes\n", "yes", True),
        ("STRASSE", "straße", True),
        ("yes.", "yes", False),
        ("yes yes", "yes", False),
        ("dark  red", "dark red", False),
        ("", "yes", False),
    ],
)
def test_only_case_and_surrounding_space_are_forgiven(said: str, true: str, right: bool) -> None:
    assert evaluate([question("?", true)], [said]).score == float(right)


def test_baselines_learn_from_the_reference_and_are_scored_on_the_data() -> None:
    baseline_data = [
        question("color?", "red"),
        question("color?", "red"),
        question("color?", "blue"),
        question("shape?", "circle"),
        question("shape?", "square"),
        question("shape?", "square"),
        question("size?", "red"),
    ]
    data = [
        question("color?", "red"),
        question("color?", "blue"),
        question("shape?", "square"),
        question("shape?", "square"),
        question("never heard?", "red"),
    ]
    baselines = evaluate(data, [""] * 5, baseline_data).baselines
    # always "red" is right twice; "red" to color?, "square" to shape? and "red" to the unknown is right four times
    assert baselines == {"majority answer": 2 / 5, "question only": 4 / 5}


def test_without_a_reference_the_baselines_learn_from_the_data_itself() -> None:
    data = [question("color?", "red"), question("color?", "blue"), question("shape?", "blue")]
    assert evaluate(data, [""] * 3).baselines == {"majority answer": 2 / 3, "question only": 2 / 3}


def test_yes_no_questions_are_scored_apart() -> None:
    data = [question("is it?", "yes"), question("is it?", "No"), question("is it?", "yes"), question("what?", "circle")]
    details = evaluate(data, ["yes", "yes", "yes", "circle"]).details
    assert details == {
        "model, yes/no questions": 2 / 3,
        "majority answer, yes/no questions": 2 / 3,
        "question only, yes/no questions": 2 / 3,
        "model, other questions": 1.0,
        "majority answer, other questions": 0.0,
        "question only, other questions": 1.0,
    }
    assert evaluate(data[3:], ["circle"]).details == {}


def test_the_prompt_is_all_but_the_last_turn() -> None:
    first = (Turn("system", (Text("Be brief."),)), Turn("user", (Text("red?"),)), Turn("assistant", (Text("no"),)))
    record = Record("r", (*first, Turn("user", (Text("blue?"),)), Turn("assistant", (Text("y"), Text("es")))))
    model = Oracle(["yes"])
    result = ExactMatchTask("t", ExactMatchConfig(max_tokens=5), [record]).run(model, lambda done, of: None)  # type: ignore[arg-type]
    assert result.score == 1.0
    assert model.batches == [[record.turns[:-1]]]
    assert model.max_tokens == {5}


@pytest.mark.parametrize(
    "turns",
    [
        (),
        (Turn("user", (Text("?"),)),),
        (Turn("user", (Text("?"),)), Turn("assistant", (Target("forecast", [1.0]),))),
    ],
)
def test_a_record_without_a_true_answer_is_named(turns: tuple[Turn, ...]) -> None:
    with pytest.raises(DataError, match=r"test\.jsonl:7.*last turn"):
        evaluate([Record("test.jsonl:7", turns)], [""])


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 50))
def test_every_record_is_asked_once_in_order(count: int, batch: int, examples: int) -> None:
    data = [question(f"question {index}", str(index)) for index in range(count)]
    model = Oracle([str(index) for index in range(count)])
    seen: list[tuple[int, int]] = []
    config = ExactMatchConfig(batch=batch, examples=examples)
    result = ExactMatchTask("t", config, data).run(model, lambda done, of: seen.append((done, of)))  # type: ignore[arg-type]
    assert result.score == 1.0
    assert [turns for asked in model.batches for turns in asked] == [record.turns[:-1] for record in data]
    assert all(len(asked) == batch for asked in model.batches[:-1])
    assert seen[-1] == (count, count)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(result.examples) == min(examples, count)
    for example in result.examples:
        assert example.correct
        assert example.record.turns[-1].parts == (Text(example.prediction),)
