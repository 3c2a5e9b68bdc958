"""Error rates of transcripts, by jiwer and whisper-normalizer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.answer_metrics import check_texts
from modrwkv_core.evaluation.config import CharacterErrorRateConfig, TranscriptMetricConfig, WordErrorRateConfig
from modrwkv_core.interfaces.metric import AdditiveMetric

try:
    import jiwer
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer
except ImportError as error:
    raise ComponentError(
        f"error rates need jiwer and whisper-normalizer, which cannot be imported: {error}",
        component="metric/wer and metric/cer",
        hint="pip install 'modrwkv[evaluation]'",
    ) from error

__all__ = ["CharacterErrorRate", "WordErrorRate"]

TranscriptConfigT = TypeVar("TranscriptConfigT", bound=TranscriptMetricConfig)

_NORMALIZERS: dict[str, Callable[[], Callable[[str], str]]] = {
    "none": lambda: str,
    "basic": BasicTextNormalizer,
    "english": EnglishTextNormalizer,
}


class _ErrorRate(AdditiveMetric[TranscriptConfigT], Generic[TranscriptConfigT]):
    """Insertions, deletions and substitutions by the length of the true transcripts, over all samples together."""

    higher_is_better = False

    def __init__(self, config: TranscriptConfigT) -> None:
        super().__init__(config)
        self._normalize = _NORMALIZERS[config.normalization]()

    @abstractmethod
    def _compare(self, truth: str, prediction: str) -> jiwer.WordOutput | jiwer.CharacterOutput:
        """Align two texts."""

    @property
    def name(self) -> str:
        """Name the normalization, if there is one."""
        return self.config.type + ("" if self.config.normalization == "none" else f"_{self.config.normalization}")

    def statistics(self, prediction: Any, truth: Any) -> tuple[int, int]:
        """Return the errors of a transcript, and the length of the nearest of the true ones.

        A true transcript of no words has no errors to count by: each word said counts as one error.
        """
        text, truths = check_texts(prediction, truth, self.config.type)
        said = self._normalize(text)
        counted = [self._count(self._normalize(true), said) for true in truths]
        return min(counted, key=lambda one: one[0] / max(one[1], 1))

    def _count(self, truth: str, prediction: str) -> tuple[int, int]:
        aligned = self._compare(truth, prediction)
        errors = aligned.substitutions + aligned.deletions + aligned.insertions
        return errors, aligned.hits + aligned.substitutions + aligned.deletions

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the rate; it may be above 1. Infinite if there are only errors to count, none to count by."""
        errors, length = map(float, sums)
        if length == 0:
            return 0.0 if errors == 0 else float("inf")
        return errors / length

    def correct(self, prediction: Any, truth: Any) -> bool:
        """Say whether a transcript has no errors."""
        return self.statistics(prediction, truth)[0] == 0

    def format(self, score: float) -> str:
        """Write the rate in per cent."""
        return f"{100 * score:.2f} %"

    def format_difference(self, difference: float) -> str:
        """Write a difference in percentage points."""
        return f"{100 * difference:+.2f} points"


class WordErrorRate(_ErrorRate[WordErrorRateConfig]):
    """Errors by words."""

    def _compare(self, truth: str, prediction: str) -> jiwer.WordOutput:
        return jiwer.process_words(truth, prediction)


class CharacterErrorRate(_ErrorRate[CharacterErrorRateConfig]):
    """Errors by characters."""

    def _compare(self, truth: str, prediction: str) -> jiwer.CharacterOutput:
        if self.config.ignore_spaces:
            truth, prediction = ("".join(text.split()) for text in (truth, prediction))
        return jiwer.process_characters(truth, prediction)
