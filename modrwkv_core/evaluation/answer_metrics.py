"""Metrics of answers in words: exact match, the accuracy of VQA, and POPE's of yes-or-no questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import ExactMatchMetricConfig, PopeConfig, VqaAccuracyConfig
from modrwkv_core.evaluation.normalization import NORMALIZERS, normalize_vqa
from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.metric import AdditiveMetric

__all__ = ["ExactMatch", "Pope", "ShareMetric", "VqaAccuracy", "check_texts"]

ShareConfigT = TypeVar("ShareConfigT", bound=MetricConfig)

_ANNOTATORS = 4
"""Answers from which on one of VQA's leave-one-out sets can hold the three that full accuracy takes."""


def check_texts(prediction: Any, truth: Any, metric: str) -> tuple[str, tuple[str, ...]]:
    """Return a prediction, and the texts of which each is a true one.

    Raises:
        ComponentError: They are no texts; it names the metric.
    """
    truths = (truth,) if isinstance(truth, str) else truth
    if not isinstance(prediction, str) or not isinstance(truths, tuple) or not all(isinstance(t, str) for t in truths):
        raise ComponentError(
            f"{metric} compares texts, not {type(prediction).__name__} and {type(truth).__name__}",
            component=f"metric/{metric}",
            hint="choose other `metrics` for the task",
        )
    return prediction, truths


class ShareMetric(AdditiveMetric[ShareConfigT], Generic[ShareConfigT]):
    """A share of the samples: ``statistics`` gives what a sample counts, from 0 to 1, and 1."""

    higher_is_better: bool | None = True

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the share, from 0 to 1."""
        return float(sums[0] / sums[1]) if sums[1] else 0.0

    def format(self, score: float) -> str:
        """Write the share in per cent."""
        return f"{100 * score:.1f} %"

    def format_difference(self, difference: float) -> str:
        """Write a difference in percentage points."""
        return f"{100 * difference:+.1f} points"

    def bar(self, score: float, scores: Sequence[float]) -> float:
        """Let a full bar stand for all samples."""
        return score


class ExactMatch(ShareMetric[ExactMatchMetricConfig]):
    """Share of texts that equal the true ones, or one of them, after a normalization of both."""

    @property
    def name(self) -> str:
        """Name the normalization, unless it only forgives letter case and surrounding space."""
        normalization = self.config.normalization
        return "exact_match" if normalization == "case" else f"exact_match_{normalization}"

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, float]:
        """Return whether a text equals one of the true ones, and 1."""
        return float(self.correct(prediction, truth)), 1.0

    def correct(self, prediction: Any, truth: Any) -> bool:
        """Say whether a text equals one of the true ones."""
        text, truths = check_texts(prediction, truth, self.config.type)
        normalize = NORMALIZERS[self.config.normalization]
        return normalize(text) in map(normalize, truths)


class VqaAccuracy(ShareMetric[VqaAccuracyConfig]):
    """The soft accuracy of VQA v2: full for an answer that three of the other annotators gave.

    It is averaged over all ways to leave one annotator out. Answers are normalized always; the published program leaves
    them as they are where all annotators agree.

    Source: Antol et al., VQA, ICCV 2015; https://visualqa.org/evaluation.html.
    """

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, float]:
        """Return the accuracy of an answer, and 1.

        Raises:
            ComponentError: There are fewer than four true answers.
        """
        text, truths = check_texts(prediction, truth, self.config.type)
        if len(truths) < _ANNOTATORS:
            raise ComponentError(
                f"VQA's accuracy takes the answers of at least {_ANNOTATORS} annotators, not {len(truths)}",
                component="metric/vqa_accuracy",
                hint="give each record a list `answers`, or choose the metric exact_match with `normalization: vqa`",
            )
        said = normalize_vqa(text)
        matches = [normalize_vqa(other) == said for other in truths]
        agreed = sum(matches)
        return sum(min(1.0, (agreed - own) / 3) for own in matches) / len(matches), 1.0


class Pope(ShareMetric[PopeConfig]):
    """What POPE reports of yes-or-no questions; "yes" is the positive class.

    An answer is "no" if its first sentence has one of the words "No", "no" and "not", else "yes".

    Source: Li et al., Evaluating Object Hallucination in Large Vision-Language Models, EMNLP 2023.
    """

    def __init__(self, config: PopeConfig) -> None:
        super().__init__(config)
        self.higher_is_better = None if config.measure == "yes_ratio" else True

    @property
    def name(self) -> str:
        """Name the measure."""
        return f"pope_{self.config.measure}"

    def statistics(self, prediction: Any, truth: Any) -> tuple[bool, bool, bool, bool]:
        """Return whether an answer is a true positive, a false positive, a false negative, and a true negative.

        Raises:
            ComponentError: The true answer is not yes or no.
        """
        said, true = self._classes(prediction, truth)
        return said and true, said and not true, not said and true, not said and not true

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the measure, from 0 to 1; 0 where it is not defined."""
        true_positives, false_positives, false_negatives, true_negatives = map(float, sums)
        parts = {
            "accuracy": (true_positives + true_negatives, sum(sums)),
            "precision": (true_positives, true_positives + false_positives),
            "recall": (true_positives, true_positives + false_negatives),
            "f1": (2 * true_positives, 2 * true_positives + false_positives + false_negatives),
            "yes_ratio": (true_positives + false_positives, sum(sums)),
        }
        return super().score(np.array(parts[self.config.measure]))

    def correct(self, prediction: Any, truth: Any) -> bool:
        """Say whether an answer is of the true class."""
        said, true = self._classes(prediction, truth)
        return said == true

    def _classes(self, prediction: Any, truth: Any) -> tuple[bool, bool]:
        """Say whether an answer and the true one mean yes."""
        text, truths = check_texts(prediction, truth, self.config.type)
        words = {true.strip().casefold() for true in truths}
        if words not in ({"yes"}, {"no"}):
            raise ComponentError(
                f"POPE's questions are answered by yes or no, not by {' and '.join(sorted(words))}",
                component="metric/pope",
                hint="choose other `metrics` for the task",
            )
        first_sentence = text.partition(".")[0].replace(",", "")
        return not {"No", "no", "not"} & set(first_sentence.split()), words == {"yes"}
