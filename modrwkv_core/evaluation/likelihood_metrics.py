"""Metrics of how likely a model holds the true texts."""

from __future__ import annotations

from math import exp, inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.answer_metrics import ShareMetric
from modrwkv_core.evaluation.config import BitsPerByteConfig, GreedyMatchConfig, PerplexityConfig
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.metric import AdditiveMetric

__all__ = ["BitsPerByte", "GreedyMatch", "Perplexity"]


class Perplexity(AdditiveMetric[PerplexityConfig]):
    """The exponential of the mean negative log-likelihood of a word, or of a token.

    Source: lm-evaluation-harness, ``word_perplexity`` and, of one token or word a text, ``perplexity``.
    """

    higher_is_better = False

    @property
    def name(self) -> str:
        """Name the unit."""
        return f"{self.config.unit}_perplexity"

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, int]:
        """Return the negative log-likelihood of a text, and the number of its words or tokens."""
        likelihood, text = _checked(prediction, truth, self.config.type)
        return -likelihood.total, likelihood.tokens if self.config.unit == "token" else len(text.split())

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the perplexity."""
        mean = float(sums[0] / sums[1]) if sums[1] else inf
        return exp(mean) if mean < 700 else inf  # beyond the largest float


class BitsPerByte(AdditiveMetric[BitsPerByteConfig]):
    """Bits that an ideal compressor with the model takes for a byte of UTF-8; any two tokenizers compare."""

    higher_is_better = False

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, int]:
        """Return the bits of a text, and the number of its bytes."""
        likelihood, text = _checked(prediction, truth, self.config.type)
        return -likelihood.total / log(2), len(text.encode())

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the bits of a byte."""
        return float(sums[0] / sums[1])


class GreedyMatch(ShareMetric[GreedyMatchConfig]):
    """Share of texts that greedy decoding gives token by token, as LAMBADA's accuracy is taken."""

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, float]:
        """Return whether the text is the greedy one, and 1."""
        return float(self.correct(prediction, truth)), 1.0

    def correct(self, prediction: Any, truth: Any) -> bool:
        """Say whether the text is the greedy one."""
        return _checked(prediction, truth, self.config.type)[0].greedy


def _checked(prediction: Any, truth: Any, metric: str) -> tuple[LogLikelihood, str]:
    if not isinstance(prediction, LogLikelihood) or not isinstance(truth, str):
        raise ComponentError(
            f"{metric} takes the log-likelihood of a text, not {type(prediction).__name__} and {type(truth).__name__}",
            component=f"metric/{metric}",
            hint="use it with the task `perplexity`, or choose other `metrics` for the task",
        )
    return prediction, truth
