"""The bootstrap: how far a score may lie from the score on all data that the samples were drawn from.

Samples count as drawn independently of each other. Where they are not, as windows of a series that overlap or questions
about one image, intervals are too narrow.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993; paired for two systems on the same samples: Koehn,
Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.interfaces.metric import AdditiveMetric

__all__ = ["CONFIDENCE", "Interval", "confidence_interval", "percentile_interval", "resample", "two_sided_p"]

CONFIDENCE: Final = 0.95
"""Share of experiments whose interval holds the true score."""

Interval = tuple[float, float]
"""The ends of a confidence interval."""

_CHUNK: Final = 2**22
"""Draws held in memory at a time."""


def resample(
    rows: NDArray[np.float64], score: Callable[[NDArray[np.float64]], Any], count: int, seed: int = 0
) -> NDArray[np.float64]:
    """Score ``count`` data sets of as many samples as there are, drawn from them with replacement.

    Args:
        rows: Statistics of each sample, ``[samples, values]``. Calls with equally many samples and one seed draw the
            same samples.
        score: Takes the sums ``[values]`` over a drawn data set and returns a number or several.
        count: Number of data sets.
        seed: What draws depend on.

    Returns:
        ``[count]``, or ``[count, numbers]``.
    """
    rng = np.random.default_rng(seed)
    size = len(rows)
    scores: list[Any] = []
    at_once = max(1, _CHUNK // size)
    while len(scores) < count:
        drawn = rng.integers(size, size=(min(at_once, count - len(scores)), size))
        weights = np.stack([np.bincount(row, minlength=size) for row in drawn])
        scores.extend(score(sums) for sums in weights @ rows)
    return np.array(scores, dtype=np.float64)


def confidence_interval(metric: AdditiveMetric[Any], rows: NDArray[np.float64]) -> Interval | None:
    """Return the 95 % percentile interval of a score; None for fewer than two samples or a score that is not finite.

    Args:
        metric: Scores sums of the rows.
        rows: Statistics of each sample, ``[samples, values]``.
    """
    if len(rows) < 2:
        return None
    scores = resample(rows, metric.score, 1000)
    return percentile_interval(scores) if np.isfinite(scores).all() else None


def percentile_interval(scores: NDArray[np.float64]) -> Interval:
    """Return the 95 % percentile interval of resampled scores."""
    low, high = np.quantile(scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def two_sided_p(differences: NDArray[np.float64]) -> float:
    """Return twice the share of resampled differences on the rarer side of 0, with one more, so that it is never 0."""
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
