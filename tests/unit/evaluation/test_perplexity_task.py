from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import PerplexityTaskConfig
from modrwkv_core.evaluation.perplexity import PerplexityTask
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.testing import TaskContract


def plain(text: str, key: str = "line 1") -> Record:
    return Record(key, (Turn("assistant", (Text(text),)),))


def talk(question: str, answer: str) -> Record:
    return Record("talk", (Turn("user", (Text(question),)), Turn("assistant", (Text(answer),))))


class TestPerplexity(TaskContract):
    plugin = "modrwkv_core.builtin"
    name = "perplexity"
    configs = ({}, {"target": "last_word"})

    def records(self, config: Any) -> Sequence[Record]:
        return [plain("one two three"), plain("uno dos tres")]

    def bad_records(self, config: Any) -> Sequence[Record]:
        bad = [Record("line 1", (Turn("user", (Text("?"),)),)), plain("")]
        return bad if config.target == "text" else [*bad, plain("word"), talk("What?", "one two")]

    def answer(self, sample: Any) -> str:
        return sample.truth


class Recorder:
    """Remembers what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []

    def log_likelihoods(self, conversations: Any, texts: Any, head: str | None = None, *, chat: bool = True) -> Any:
        for turns, text in zip(conversations, texts, strict=True):
            self.asked.append(("".join(part.text for turn in turns for part in turn.parts), text, chat))
        return [LogLikelihood(-float(len(text)), len(text), False) for text in texts]


def ask(task: PerplexityTask) -> tuple[list[LogLikelihood], list[tuple[str, str, bool]]]:
    model = Recorder()
    samples = [task.sample(task.data[index]) for index in range(len(task.data))]
    return task.predict(model, samples), model.asked  # type: ignore[arg-type]


def test_plain_texts_are_read_without_the_template_and_answers_with_it() -> None:
    found, asked = ask(PerplexityTask(PerplexityTaskConfig(), [talk("Hm?", "yes"), plain("a text"), talk("So?", "no")]))
    assert sorted(asked) == [("", "a text", False), ("Hm?", "yes", True), ("So?", "no", True)]
    assert [likelihood.tokens for likelihood in found] == [3, 6, 2], "in the order of the samples"


def test_the_last_word_follows_all_others_with_its_space() -> None:
    _, asked = ask(PerplexityTask(PerplexityTaskConfig(target="last_word"), [plain("in my  palm , gabriel\n")]))
    assert asked == [("in my  palm ,", " gabriel", False)]


def test_the_baseline_counts_bytes() -> None:
    task = PerplexityTask(PerplexityTaskConfig(), [plain("ab")], [plain("aaa")])
    [guess] = task.baselines().values()
    likelihood = guess(task.sample(task.data[0]))
    assert likelihood.total == pytest.approx(math.log(4 / 259) + math.log(1 / 259))


def test_a_text_of_one_word_has_no_last_word() -> None:
    task = PerplexityTask(PerplexityTaskConfig(target="last_word"), [plain("word")])
    with pytest.raises(DataError, match="line 1: a last word needs a plain text of two words or more"):
        ask(task)
