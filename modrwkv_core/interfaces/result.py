"""What an evaluation found: scores of a model and of baselines, by any number of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modrwkv_core.interfaces.metric import Metric
from modrwkv_core.interfaces.record import Record

__all__ = ["Example", "Result", "SampleResult", "Score"]


@dataclass(frozen=True, slots=True)
class Example:
    """One sample of a task, for the report.

    Attributes:
        record: The conversation, with the true answer at its end.
        prediction: What the model predicted.
        truth: What it should have predicted.
        correct: Whether it was right; None where that is a matter of degree.
    """

    record: Record
    prediction: Any
    truth: Any
    correct: bool | None


@dataclass(frozen=True, slots=True)
class SampleResult:
    """What a model predicted for one sample.

    Attributes:
        key: The record's.
        group: The sample's group; None for none.
        prediction: What the model predicted; None if the task does not keep it.
        truth: What it should have predicted; None if the task does not keep it.
        correct: Whether it was right; None where that is a matter of degree.
        statistics: By the name of each additive metric, what the sample adds to its sums.
    """

    key: str
    group: str | None
    prediction: Any
    truth: Any
    correct: bool | None
    statistics: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Score:
    """The model and the baselines by one metric.

    Attributes:
        metric: Knows direction, unit and format.
        model: The model's score.
        baselines: The baselines' scores by name (``majority answer``, ``repeat last``, ...).
        interval: The 95 % confidence interval of the model's score; None if it has none.
    """

    metric: Metric[Any]
    model: float
    baselines: Mapping[str, float]
    interval: tuple[float, float] | None = None

    @property
    def methods(self) -> dict[str, float]:
        """The scores of the model and of the baselines, by name."""
        return {"model": self.model, **self.baselines}

    @property
    def best_baseline(self) -> str | None:
        """The name of the best baseline; None if there is none, or if the metric has no direction."""
        if not self.baselines or self.metric.higher_is_better is None:
            return None
        best = max if self.metric.higher_is_better else min
        return best(self.baselines, key=self.baselines.__getitem__)

    @property
    def margin(self) -> float | None:
        """How much better than the best baseline the model is, negative if it is worse; None without one."""
        if self.best_baseline is None:
            return None
        gain = self.model - self.baselines[self.best_baseline]
        return gain if self.metric.higher_is_better else -gain


@dataclass(frozen=True, slots=True)
class Result:
    """What a task found.

    Attributes:
        task: The task's name in the manifest.
        count: Number of samples.
        scores: By metric, the most important first; at least one.
        groups: The same for groups of samples, by the groups' names.
        examples: Some samples with the model's predictions.
        errors: Some samples that the model got wrong, or worst.
        samples: All samples, in order.
    """

    task: str
    count: int
    scores: tuple[Score, ...]
    groups: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    errors: tuple[Example, ...] = ()
    samples: tuple[SampleResult, ...] = ()
