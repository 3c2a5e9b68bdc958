from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import MultipleChoiceConfig
from modrwkv_core.evaluation.multiple_choice import MultipleChoiceTask
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.testing import TaskContract

CHOICES = ("cat", "dog", "elephant")


def question(truth: str, annotations: dict[str, Any], key: str = "q") -> Record:
    turns = (Turn("user", (Text(f"Which animal? {key}"),)), Turn("assistant", (Text(truth),)))
    return Record(key, turns, annotations)


class TestMultipleChoice(TaskContract):
    plugin = "modrwkv_core.builtin"
    name = "multiple_choice"
    configs = ({}, {"length_normalization": "bytes"}, {"choices": ["cat", "dog"]})

    def records(self, config: Any) -> Sequence[Record]:
        annotations = {} if config.choices else {"choices": list(CHOICES)}
        return [question(truth, annotations, str(index)) for index, truth in enumerate(("cat", "dog", "dog"))]

    def bad_records(self, config: Any) -> Sequence[Record]:
        return [
            question("cow", {"choices": ["cat", "dog"]}),
            question("cat", {"choices": ["cat"]}),
            question("cat", {"choices": ["cat", "cat"]}),
            question("cat", {"choices": "cat"}),
            Record("q", (Turn("user", (Text("?"),)),)),
        ]


class Likely:
    """Holds each text as likely as it is told."""

    def __init__(self, totals: dict[str, float]) -> None:
        self.totals = totals
        self.asked: list[Any] = []

    def log_likelihoods(self, conversations: Any, texts: Any, head: str | None = None, *, chat: bool = True) -> Any:
        assert chat
        self.asked += zip(conversations, texts, strict=True)
        return [LogLikelihood(self.totals[text], 1, False) for text in texts]


def test_the_likeliest_choice_is_the_prediction() -> None:
    records = [question("cat", {"choices": list(CHOICES)}, str(index)) for index in range(2)]
    model = Likely({"cat": -4.0, "dog": -3.9, "elephant": -5.0})
    task = MultipleChoiceTask(MultipleChoiceConfig(), records)
    samples = [task.sample(record) for record in records]
    assert task.predict(model, samples) == ["dog", "dog"]  # type: ignore[arg-type]
    assert [text for _, text in model.asked] == [*CHOICES, *CHOICES]
    by_length = MultipleChoiceTask(MultipleChoiceConfig(length_normalization="bytes"), records)
    assert by_length.predict(model, samples) == ["elephant", "elephant"]  # type: ignore[arg-type]


def test_baselines_know_how_often_and_how_long() -> None:
    records = [question(truth, {"choices": list(CHOICES)}) for truth in ("dog", "dog", "cat")]
    task = MultipleChoiceTask(MultipleChoiceConfig(), records)
    guesses = {name: guess(task.sample(records[2])) for name, guess in task.baselines().items()}
    assert guesses == {"majority answer": "dog", "longest choice": "elephant"}


def test_a_truth_that_is_no_choice_is_refused() -> None:
    record = question("cow", {"choices": list(CHOICES)})
    with pytest.raises(DataError, match="q: the true answer 'cow' is not one of the choices"):
        MultipleChoiceTask(MultipleChoiceConfig(), [record]).sample(record)
