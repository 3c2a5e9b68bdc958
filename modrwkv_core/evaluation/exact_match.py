"""The exact-match task: answers that equal the true ones, up to letter case and surrounding space."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import ExactMatchConfig
from modrwkv_core.evaluation.sampling import batches, draw
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.interfaces.task import Example, Predictor, Records, Result, Task

__all__ = ["ExactMatchTask"]


@dataclass(frozen=True, slots=True)
class _Question:
    """A record taken apart: what is asked, its words, and the normalized true answer."""

    prompt: tuple[Turn, ...]
    words: str
    truth: str

    @property
    def kind(self) -> str:
        """Which part of the score it counts for."""
        return "yes/no" if self.truth in ("yes", "no") else "other"


class ExactMatchTask(Task[ExactMatchConfig]):
    """Asks all but the last turn of each record and compares the answer with the last one.

    Baselines, which neither see nor hear: the most common answer in the baseline data, and the commonest answer of
    the baseline data to the same words. Where some true answers are yes or no and others are not, the details give the
    scores of both parts, because a half of the yes/no questions is right by chance.
    """

    def run(self, model: Predictor, progress: Callable[[int, int], None]) -> Result:
        """Ask every record."""
        shown = set(draw(len(self.data), self.config.examples))
        questions: list[_Question] = []
        right: list[bool] = []
        examples: list[Example] = []
        for records in batches(self.data, self.config.batch):
            asked = [_question(record) for record in records]
            answers = model.answer([question.prompt for question in asked], self.config.max_tokens)
            for record, question, answer in zip(records, asked, answers, strict=True):
                correct = _normalized(answer) == question.truth
                if len(questions) in shown:
                    examples.append(Example(record, answer, correct))
                questions.append(question)
                right.append(correct)
            progress(len(questions), len(self.data))

        baselines = {
            name: [guess(question) == question.truth for question in questions]
            for name, guess in _baselines(self.data if self.baseline_data is None else self.baseline_data).items()
        }
        return Result(
            task=self.name,
            metric="accuracy",
            score=_share(right),
            higher_is_better=True,
            baselines={name: _share(hits) for name, hits in baselines.items()},
            count=len(questions),
            details=_by_kind(questions, {"model": right, **baselines}),
            examples=examples,
        )


def _question(record: Record) -> _Question:
    last = record.turns[-1] if record.turns else None
    truth = _words(last.parts) if last is not None and last.role == "assistant" else ""
    if not truth:
        raise DataError(
            f"{record.key}: an exact-match task needs a record whose last turn is the assistant's and has a text",
            component="task/exact_match",
        )
    prompt = record.turns[:-1]
    return _Question(prompt, "\n".join(_words(turn.parts) for turn in prompt), _normalized(truth))


def _words(parts: Sequence[object]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def _normalized(answer: str) -> str:
    return answer.strip().casefold()


def _baselines(baseline_data: Records) -> dict[str, Callable[[_Question], str]]:
    """Learn the methods that look at nothing but words; name to answer of a question."""
    answers: Counter[str] = Counter()
    answers_to: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for index in range(len(baseline_data)):
        question = _question(baseline_data[index])
        answers[question.truth] += 1
        answers_to[question.words][question.truth] += 1
    majority = _commonest(answers)
    best = {words: _commonest(counter) for words, counter in answers_to.items()}
    return {
        "majority answer": lambda question: majority,
        "question only": lambda question: best.get(question.words, majority),
    }


def _commonest(answers: Counter[str]) -> str:
    return answers.most_common(1)[0][0]


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


def _by_kind(questions: Sequence[_Question], methods: dict[str, list[bool]]) -> dict[str, float]:
    kinds = [question.kind for question in questions]
    if len(set(kinds)) == 1:
        return {}
    return {
        f"{method}, {kind} questions": _share([hit for hit, of in zip(hits, kinds, strict=True) if of == kind])
        for kind in ("yes/no", "other")
        for method, hits in methods.items()
    }
