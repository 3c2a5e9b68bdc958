"""The multiple-choice task: which of several answers a model holds most likely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import MultipleChoiceConfig
from modrwkv_core.evaluation.texts import last_answer, texts_of
from modrwkv_core.interfaces.record import Record
from modrwkv_core.interfaces.task import Predictor, Task, TaskSample

__all__ = ["MultipleChoiceTask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(TaskSample):
    """A question with its true answer.

    Attributes:
        choices: All answers that there are to choose from, the true one among them.
    """

    choices: tuple[str, ...]


class MultipleChoiceTask(Task[MultipleChoiceConfig, Choice]):
    """Asks how likely each choice is as the assistant's whole turn, its end included; the likeliest is the prediction.

    Baselines: the choice that is the commonest true answer of the baseline data, or without them of the held-out data;
    the longest choice.
    """

    def sample(self, record: Record) -> Choice:
        """Take a record apart.

        Raises:
            DataError: Its last turn is not the assistant's, or has no text; it has no two choices; the text is not one
                of them.
        """
        truth = last_answer(record, self.config.type)
        choices = texts_of(record, "choices", self.config.type) or self.config.choices or ()
        if len(set(choices)) < 2 or len(set(choices)) < len(choices):
            raise self._error(record, f"two or more different choices are needed, not {list(choices)}")
        if truth not in choices:
            raise self._error(record, f"the true answer {truth!r} is not one of the choices {list(choices)}")
        return Choice(record=record, prompt=record.turns[:-1], truth=truth, choices=choices)

    def predict(self, model: Predictor, samples: Sequence[Choice]) -> list[str]:
        """Return the likeliest choice of each sample."""
        pairs = [(sample.prompt, choice) for sample in samples for choice in sample.choices]
        prompts, choices = zip(*pairs, strict=True)
        found = iter(model.log_likelihoods(prompts, choices, self.config.head))
        predictions = []
        for sample in samples:
            totals = {choice: next(found).total / self._length(choice) for choice in sample.choices}
            predictions.append(max(totals, key=totals.__getitem__))
        return predictions

    def baselines(self) -> Mapping[str, Callable[[Choice], str]]:
        """Return the methods that do not ask a model."""
        learned_from = self.data if self.baseline_data is None else self.baseline_data
        answers = Counter(self.sample(learned_from[index]).truth for index in range(len(learned_from)))
        return {
            "majority answer": lambda sample: max(sample.choices, key=answers.__getitem__),
            "longest choice": lambda sample: max(sample.choices, key=len),
        }

    def _length(self, choice: str) -> int:
        return len(choice.encode()) if self.config.length_normalization == "bytes" else 1

    def _error(self, record: Record, complaint: str) -> DataError:
        return DataError(
            f"{record.key}: {complaint}",
            component=f"task/{self.config.type}",
            hint="give each record a list `choices` beside its messages, or the task `choices`",
        )
