"""The exact-match task: questions whose true answers are texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import ExactMatchConfig
from modrwkv_core.interfaces.record import Record, Text
from modrwkv_core.interfaces.task import Predictor, Task, TaskSample

__all__ = ["ExactMatchTask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(TaskSample):
    """A question with its true answer.

    Attributes:
        words: The words of the question, without its media.
    """

    words: str


class ExactMatchTask(Task[ExactMatchConfig, Question]):
    """Asks all but the last turn of each record; the text of the last turn is the true answer.

    Baselines, which neither see nor hear: the most common answer in the baseline data, and the commonest answer of
    the baseline data to the same words. Questions whose true answer is yes or no are also scored apart, because half of
    them are right by chance.
    """

    def sample(self, record: Record) -> Question:
        """Take a record apart.

        Raises:
            DataError: Its last turn is not the assistant's, or has no text.
        """
        last = record.turns[-1] if record.turns else None
        truth = _words(last.parts) if last is not None and last.role == "assistant" else ""
        if not truth:
            raise DataError(
                f"{record.key}: an exact-match task needs a record whose last turn is the assistant's and has a text",
                component="task/exact_match",
            )
        prompt = record.turns[:-1]
        words = "\n".join(_words(turn.parts) for turn in prompt)
        group = "yes/no questions" if _normalized(truth) in ("yes", "no") else "other questions"
        return Question(record=record, prompt=prompt, truth=truth, group=group, words=words)

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
            answers[_normalized(question.truth)] += 1
            answers_to[question.words][_normalized(question.truth)] += 1
        majority = _commonest(answers)
        best = {words: _commonest(counter) for words, counter in answers_to.items()}
        return {
            "majority answer": lambda question: majority,
            "question only": lambda question: best.get(question.words, majority),
        }


def _words(parts: Sequence[object]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def _normalized(answer: str) -> str:
    return answer.strip().casefold()


def _commonest(answers: Counter[str]) -> str:
    return answers.most_common(1)[0][0]
