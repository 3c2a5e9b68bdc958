"""The exact-match task: questions whose true answers are texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from modrwkv_core.evaluation.config import AnswerTaskConfig, ExactMatchConfig
from modrwkv_core.evaluation.normalization import normalize_case
from modrwkv_core.evaluation.texts import last_answer, texts_of, words_of
from modrwkv_core.interfaces.record import Record
from modrwkv_core.interfaces.task import Predictor, Task, TaskSample

__all__ = ["AnswerTask", "ExactMatchTask", "Question"]

ConfigT = TypeVar("ConfigT", bound=AnswerTaskConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(TaskSample):
    """A question with its true answer.

    Attributes:
        words: The words of the question, without its media.
        answer: The answer of the record's last turn.
    """

    words: str
    answer: str


class AnswerTask(Task[ConfigT, Question], Generic[ConfigT]):
    """Asks all but the last turn of each record; the text of the last turn is the true answer.

    The truth of a record that is annotated with ``answers`` is the tuple of them. Baselines, which neither see nor
    hear: the most common answer in the baseline data, and the commonest answer of the baseline data to the same words.
    """

    def group(self, record: Record, answer: str) -> str | None:
        """Return the name of the samples that are also scored apart with this one; None for none.

        Raises:
            DataError: The record lacks what groups are made of; the message begins with its key.
        """
        return None

    def sample(self, record: Record) -> Question:
        """Take a record apart.

        Raises:
            DataError: Its last turn is not the assistant's, or has no text; ``answers`` is not a list of texts.
        """
        answer = last_answer(record, self.config.type)
        prompt = record.turns[:-1]
        words = "\n".join(words_of(turn.parts) for turn in prompt)
        group = self.group(record, answer)
        truth = texts_of(record, "answers", self.config.type) or answer
        return Question(record=record, prompt=prompt, truth=truth, group=group, words=words, answer=answer)

    def predict(self, model: Predictor, samples: Sequence[Question]) -> list[str]:
        """Let the model answer."""
        return model.answer([question.prompt for question in samples], self.config.max_tokens, self.config.head)

    def baselines(self) -> Mapping[str, Callable[[Question], str]]:
        """Learn the methods that look at nothing but words."""
        learned_from = self.data if self.baseline_data is None else self.baseline_data
        answers: Counter[str] = Counter()
        answers_to: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for index in range(len(learned_from)):
            question = self.sample(learned_from[index])
            answers[normalize_case(question.answer)] += 1
            answers_to[question.words][normalize_case(question.answer)] += 1
        majority = _commonest(answers)
        best = {words: _commonest(counter) for words, counter in answers_to.items()}
        return {
            "majority answer": lambda question: majority,
            "question only": lambda question: best.get(question.words, majority),
        }


class ExactMatchTask(AnswerTask[ExactMatchConfig]):
    """Scores questions whose true answer is yes or no also apart, because half of them are right by chance."""

    def group(self, record: Record, answer: str) -> str:
        """Tell the two kinds of questions apart."""
        return "yes/no questions" if normalize_case(answer) in ("yes", "no") else "other questions"


def _commonest(answers: Counter[str]) -> str:
    return answers.most_common(1)[0][0]
