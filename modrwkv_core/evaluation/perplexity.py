"""The perplexity task: how likely a model holds true texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import PerplexityTaskConfig
from modrwkv_core.evaluation.texts import last_answer, words_of
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.interfaces.task import Predictor, Task, TaskSample

__all__ = ["PerplexityTask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage(TaskSample):
    """A text to score, with what the model reads before it.

    Attributes:
        plain: Whether both are plain text, read without the chat template.
    """

    plain: bool


class PerplexityTask(Task[PerplexityTaskConfig, Passage]):
    """Asks how likely the last turn of each record is.

    Baseline: the shares of bytes in the texts of the baseline data, or without them of the held-out data, each byte
    for itself.
    """

    def sample(self, record: Record) -> Passage:
        """Take a record apart.

        Raises:
            DataError: Its last turn is not the assistant's, or has no text; a last word is asked for, and the text has
                less than two.
        """
        text = last_answer(record, self.config.type)
        prompt = record.turns[:-1]
        plain = not prompt
        if self.config.target == "last_word":
            before, _, word = text.rstrip().rpartition(" ")
            if not plain or not before.strip():
                raise DataError(
                    f"{record.key}: a last word needs a plain text of two words or more",
                    component=f"task/{self.config.type}",
                    hint="read the texts with the source `text`",
                )
            # The space belongs to the word, as tokenizers have it.
            prompt, text = (Turn("user", (Text(before),)),), f" {word}"
        return Passage(record=record, prompt=prompt, truth=text, plain=plain)

    def predict(self, model: Predictor, samples: Sequence[Passage]) -> list[LogLikelihood]:
        """Return how likely each text is."""
        found: dict[int, LogLikelihood] = {}
        for plain in (True, False):
            alike = [index for index, sample in enumerate(samples) if sample.plain is plain]
            prompts, texts = [samples[index].prompt for index in alike], [samples[index].truth for index in alike]
            if alike:
                scored = model.log_likelihoods(prompts, texts, self.config.head, chat=not plain)
                found |= dict(zip(alike, scored, strict=True))
        return [found[index] for index in range(len(samples))]

    def baselines(self) -> Mapping[str, Callable[[Passage], LogLikelihood]]:
        """Count the bytes."""
        learned_from = self.data if self.baseline_data is None else self.baseline_data
        counts: Counter[int] = Counter(range(256))  # each byte once more, so that none is impossible
        for index in range(len(learned_from)):
            counts.update(words_of(learned_from[index].turns[-1].parts).encode())
        total = counts.total()

        def of_bytes(sample: Passage) -> LogLikelihood:
            content = sample.truth.encode()
            return LogLikelihood(sum(log(counts[byte] / total) for byte in content), len(content), greedy=False)

        return {"byte frequencies": of_bytes}
