"""Configurations of the built-in tasks and metrics. Never imports torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.evaluation.normalization import Normalization
from modrwkv_core.interfaces.config import MetricConfig, Metrics, TaskConfig

__all__ = [
    "AnswerTaskConfig",
    "BitsPerByteConfig",
    "CharacterErrorRateConfig",
    "ContinuousRankedProbabilityScoreConfig",
    "CoverageConfig",
    "ExactMatchConfig",
    "ExactMatchMetricConfig",
    "ForecastTaskConfig",
    "GreedyMatchConfig",
    "MeanAbsoluteErrorConfig",
    "MeanAbsoluteScaledErrorConfig",
    "MeanSquaredErrorConfig",
    "MultipleChoiceConfig",
    "PerplexityConfig",
    "PerplexityTaskConfig",
    "PopeConfig",
    "RecallConfig",
    "TranscriptMetricConfig",
    "VqaAccuracyConfig",
    "WeightedQuantileLossConfig",
    "WordErrorRateConfig",
]


class ExactMatchMetricConfig(MetricConfig):
    """Share of texts that equal the true ones, or one of them, after a normalization of both."""

    type: Literal["exact_match"] = "exact_match"

    normalization: Normalization = "case"
    """What is forgiven: ``case`` letter case and surrounding space; ``squad`` also punctuation, English articles and
    the amount of space, as SQuAD's scorer does; ``vqa`` also numbers in words and apostrophes, as VQA's scorer does."""


class VqaAccuracyConfig(MetricConfig):
    """Soft accuracy of VQA v2: an answer counts fully if three of the other annotators gave it."""

    type: Literal["vqa_accuracy"] = "vqa_accuracy"


class PopeConfig(MetricConfig):
    """What POPE reports of yes-or-no questions about objects; yes is the positive class."""

    type: Literal["pope"] = "pope"

    measure: Literal["accuracy", "precision", "recall", "f1", "yes_ratio"] = "f1"
    """Which of POPE's figures; the share of yes is neither better high nor low."""


class TranscriptMetricConfig(MetricConfig):
    """Configuration of an error rate of transcripts."""

    normalization: Literal["none", "basic", "english"] = "none"
    """How transcripts are normalized first: Whisper's ``english`` or, for all other languages, ``basic``."""


class WordErrorRateConfig(TranscriptMetricConfig):
    """Word errors by the number of true words. Needs the extra `evaluation`."""

    type: Literal["wer"] = "wer"


class CharacterErrorRateConfig(TranscriptMetricConfig):
    """Character errors by the number of true characters. Needs the extra `evaluation`."""

    type: Literal["cer"] = "cer"

    ignore_spaces: bool = False
    """Whether spaces do not count, as is usual for Chinese and Japanese."""


class PerplexityConfig(MetricConfig):
    """Perplexity of true texts, by their words or by their tokens."""

    type: Literal["perplexity"] = "perplexity"

    unit: Literal["word", "token"] = "word"
    """What it is the perplexity of. That of words, which white space separates, compares any two tokenizers."""


class BitsPerByteConfig(MetricConfig):
    """Bits that the model takes for a byte of true texts in UTF-8."""

    type: Literal["bits_per_byte"] = "bits_per_byte"


class GreedyMatchConfig(MetricConfig):
    """Share of true texts that greedy decoding gives token by token, LAMBADA's accuracy."""

    type: Literal["greedy_match"] = "greedy_match"


class MeanSquaredErrorConfig(MetricConfig):
    """Squared error of arrays, averaged over all their elements, in squared units of the data."""

    type: Literal["mse"] = "mse"


class MeanAbsoluteErrorConfig(MetricConfig):
    """Absolute error of arrays, averaged over all their elements, in units of the data."""

    type: Literal["mae"] = "mae"


class MeanAbsoluteScaledErrorConfig(MetricConfig):
    """Mean absolute error in units of the mean absolute seasonal difference of the series before the forecast.

    Columns of a window that repeat themselves exactly have no unit and do not count.
    """

    type: Literal["mase"] = "mase"

    period: int = Field(default=1, ge=1)
    """Points of a season; 1 compares with the point before."""


class ContinuousRankedProbabilityScoreConfig(MetricConfig):
    """Continuous ranked probability score of a forecast's quantiles: twice their mean pinball loss.

    It is in units of the data. For a forecast of points only, it is the mean absolute error.
    """

    type: Literal["crps"] = "crps"


class WeightedQuantileLossConfig(MetricConfig):
    """Pinball loss of a forecast's quantiles: twice its sum, averaged over levels, by the sum of absolute true values.

    It approximates the continuous ranked probability score. A forecast of points only is a distribution without width:
    its loss is the absolute error.
    """

    type: Literal["wql"] = "wql"


class CoverageConfig(MetricConfig):
    """Share of true values that lie between two quantiles of the forecast.

    The best share is the difference of their levels; neither a larger nor a smaller one is better. A forecast of points
    only is an interval without width.
    """

    type: Literal["coverage"] = "coverage"

    lower: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Level of the lower quantile."""

    upper: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Level of the upper quantile."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.lower >= self.upper:
            raise ValueError("`lower` must be below `upper`")
        return self


class AnswerTaskConfig(TaskConfig):
    """Base of tasks that ask all but the last turn of each record; the text of the last turn is the true answer."""

    metrics: Metrics = (ExactMatchMetricConfig(),)
    """What answers are scored by, the most important first."""

    max_tokens: int = Field(default=32, ge=1)
    """Longest answer, in tokens."""


class ExactMatchConfig(AnswerTaskConfig):
    """Asks all but the last turn of each record; the text of the last turn is the true answer.

    If the record is annotated with ``answers``, all of them count as true. ``baseline_data`` gives the questions and
    answers from which the baselines learn. Without it they learn from the held-out answers themselves, which makes them
    better than they could honestly be.
    """

    type: Literal["exact_match"] = "exact_match"


class RecallConfig(AnswerTaskConfig):
    """Asks as ``exact_match`` does, and also scores answers by how long ago what they are about was shown.

    That is an annotation of the record: ``distance``, the number of items of a stream after the one that the last
    question is about, as the sources ``needle`` and ``photo_stream`` count them.
    """

    type: Literal["recall"] = "recall"

    edges: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (4, 16, 64, 256, 1024)
    """Distances, rising, at which a new group begins; the first group begins at 0."""

    @model_validator(mode="after")
    def _edges_rise(self) -> Self:
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"`edges` must rise, but are {', '.join(map(str, self.edges))}")
        return self


class ForecastTaskConfig(TaskConfig):
    """Asks for the continuation of the latest series of each record; the target at its end is the true one.

    ``baseline_data`` gives the windows whose mean, column by column, is one of the baseline forecasts.
    """

    type: Literal["forecast"] = "forecast"

    metrics: Metrics = (MeanSquaredErrorConfig(), MeanAbsoluteErrorConfig())
    """What forecasts are scored by, the most important first; forecasts with quantiles also by `wql` and `coverage`."""

    period: int | None = Field(default=None, ge=1)
    """Points of a season, for the baseline forecast that repeats the last one; null leaves that forecast out."""

    examples: int = Field(default=4, ge=0)
    """Samples that the report shows, drawn at random with a fixed seed."""

    errors: int = Field(default=4, ge=0)
    """Worst forecasts that the report shows."""


class MultipleChoiceConfig(TaskConfig):
    """Asks which choice is likeliest as the assistant's last turn; the text of that turn is the true one.

    The ``choices`` are an annotation of the record: a list of texts beside its messages.
    """

    type: Literal["multiple_choice"] = "multiple_choice"

    metrics: Metrics = (ExactMatchMetricConfig(),)
    """What choices are scored by, the most important first."""

    choices: tuple[str, ...] | None = Field(default=None, min_length=2)
    """Choices of records without the annotation, such as ``[yes, no]``."""

    length_normalization: Literal["none", "bytes"] = "none"
    """Whether log-likelihoods are divided by the lengths of choices in bytes, so that long ones are not put behind:
    lm-evaluation-harness's ``acc_norm`` instead of ``acc``."""


class PerplexityTaskConfig(TaskConfig):
    """Asks how likely texts are: the last turn of each record, after the turns before it.

    A record that is the assistant's alone, such as those of the source ``text``, is plain text, read without the chat
    template from the beginning of a text.
    """

    type: Literal["perplexity"] = "perplexity"

    metrics: Metrics = (BitsPerByteConfig(), PerplexityConfig())
    """What likelihoods are scored by, the most important first."""

    target: Literal["text", "last_word"] = "text"
    """What of a text is scored: all of it, or its last word after all others, as in LAMBADA."""

    batch_size: int = Field(default=8, ge=1)
    """Samples that the model is asked at a time."""
