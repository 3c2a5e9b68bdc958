from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.config import ExactMatchConfig, ExactMatchMetricConfig
from modrwkv_core.evaluation.evaluator import run_task
from modrwkv_core.evaluation.exact_match import ExactMatchTask
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.result import Result
from modrwkv_core.testing import TaskContract


class Oracle:
    """Says the given answers one after the other and remembers what it was asked."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.batches: list[list[tuple[Turn, ...]]] = []
        self.max_tokens: set[int] = set()
        self.heads: set[str | None] = set()

    def answer(self, conversations: Sequence[Sequence[Turn]], max_tokens: int, head: str | None = None) -> list[str]:
        self.heads.add(head)
        self.batches.append([tuple(turns) for turns in conversations])
        self.max_tokens.add(max_tokens)
        said, self.answers = self.answers[: len(conversations)], self.answers[len(conversations) :]
        return said

    def predict(self, conversations: object, head: str | None = None) -> list[object]:
        raise AssertionError("an exact-match task asks for words")

    def forecast_all(self, conversations: object, horizon: int, head: str | None = None) -> list[object]:
        raise AssertionError("an exact-match task asks for words")


class TestContract(TaskContract):
    plugin = "modrwkv_core.builtin"
    name = "exact_match"

    def records(self, config: ExactMatchConfig) -> list[Record]:
        return [question("color?", "red"), question("color?", "Blue"), question("is it?", "yes")]

    def bad_records(self, config: ExactMatchConfig) -> list[Record]:
        return [Record("bad", ()), Record("bad", (Turn("user", (Text("?"),)),))]


def question(words: str, answer: str, key: str = "a.jsonl:1") -> Record:
    return Record(key, (Turn("user", (Media("image", b""), Text(words))), Turn("assistant", (Text(answer),))))


def evaluate(
    data: list[Record], answers: Sequence[str], baseline_data: list[Record] | None = None, **options: Any
) -> Result:
    return ask(ExactMatchTask(ExactMatchConfig(**options), data, baseline_data), Oracle(answers))


def ask(task: ExactMatchTask, model: Oracle, progress: Callable[[int], None] = lambda count: None) -> Result:
    return run_task("vqa", task, [ExactMatch(ExactMatchMetricConfig())], model, progress)  # type: ignore[arg-type]


def test_the_score_is_the_share_of_right_answers() -> None:
    data = [question("color?", "red"), question("color?", "blue"), question("shape?", "circle"), question("n?", "2")]
    result = evaluate(data, ["red", "red", "circle", "two"])
    assert (result.task, result.scores[0].model, result.count) == ("vqa", 0.5, 4)


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
    baselines = evaluate(data, [""] * 5, baseline_data).scores[0].baselines
    # always "red" is right twice; "red" to color?, "square" to shape? and "red" to the unknown is right four times
    assert baselines == {"majority answer": 2 / 5, "question only": 4 / 5}


def test_without_a_reference_the_baselines_learn_from_the_data_itself() -> None:
    data = [question("color?", "red"), question("color?", "blue"), question("shape?", "blue")]
    assert evaluate(data, [""] * 3).scores[0].baselines == {"majority answer": 2 / 3, "question only": 2 / 3}


def test_yes_no_questions_are_scored_apart() -> None:
    data = [question("is it?", "yes"), question("is it?", "No"), question("is it?", "yes"), question("what?", "circle")]
    groups = evaluate(data, ["yes", "yes", "yes", "circle"]).groups
    assert {group: [score.methods for score in scores] for group, scores in groups.items()} == {
        "yes/no questions": [{"model": 2 / 3, "majority answer": 2 / 3, "question only": 2 / 3}],
        "other questions": [{"model": 1.0, "majority answer": 0.0, "question only": 1.0}],
    }
    assert evaluate(data[3:], ["circle"]).groups == {}


def test_the_prompt_is_all_but_the_last_turn() -> None:
    first = (Turn("system", (Text("Be brief."),)), Turn("user", (Text("red?"),)), Turn("assistant", (Text("no"),)))
    record = Record("r", (*first, Turn("user", (Text("blue?"),)), Turn("assistant", (Text("y"), Text("es")))))
    model = Oracle(["yes"])
    result = ask(ExactMatchTask(ExactMatchConfig(max_tokens=5, head="talk"), [record]), model)
    assert result.scores[0].model == 1.0
    assert model.batches == [[record.turns[:-1]]]
    assert (model.max_tokens, model.heads) == ({5}, {"talk"})


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
    done: list[int] = []
    result = ask(ExactMatchTask(ExactMatchConfig(batch_size=batch, examples=examples), data), model, done.append)
    assert result.scores[0].model == 1.0
    assert [turns for asked in model.batches for turns in asked] == [record.turns[:-1] for record in data]
    assert all(len(asked) == batch for asked in model.batches[:-1])
    assert sum(done) == count
    assert done == [len(asked) for asked in model.batches]
    assert len(result.examples) == min(examples, count)
    for example in result.examples:
        assert example.correct
        assert example.record.turns[-1].parts == (Text(example.prediction),)
