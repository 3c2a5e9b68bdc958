"""Runs that were evaluated on the same samples, pair by pair: which differences are more than chance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydantic_core
from numpy.typing import NDArray

from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.evaluation.bootstrap import Interval, percentile_interval, resample, two_sided_p
from modrwkv_core.evaluation.predictions import PREDICTIONS, SampleLine, read_predictions
from modrwkv_core.evaluation.results import RESULTS
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.metric import AdditiveMetric
from modrwkv_core.model.build import build
from modrwkv_core.registry import Registry

__all__ = ["LEVEL", "Difference", "EvaluatedRun", "compare", "differences_as_json", "differences_table"]

LEVEL: Final = 0.05
"""A difference is significant if its p-value, corrected for the number of pairs, is below."""

_RESAMPLES: Final = 10_000


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """What an evaluation has left in a run's folder.

    Attributes:
        name: The folder, as it was given.
        metrics: By task, the configuration of each metric by its name.
        samples: By task, all samples.
    """

    name: str
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    samples: Mapping[str, Sequence[SampleLine]]

    @classmethod
    def read(cls, run: Path) -> EvaluatedRun:
        """Read a run's folder.

        Raises:
            CheckpointError: It has not been evaluated, or its files are damaged.
        """
        samples = read_predictions(run / PREDICTIONS)
        path = run / RESULTS
        try:
            tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"]
            metrics = {
                task: {name: found["config"] for name, found in content["metrics"].items()}
                for task, content in tasks.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is missing or damaged: {error}", hint=f"evaluate again: modrwkv evaluate {run}"
            ) from error
        return cls(str(run), metrics, samples)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two runs by one metric of one task.

    Attributes:
        task: The task.
        metric: Knows direction, unit and format.
        runs: The names of both.
        scores: The scores of both.
        count: Number of samples.
        interval: 95 % confidence interval of the second score less the first; None if a score is not finite.
        p: Chance of a difference as far from 0, were there none, corrected for the number of pairs; None as above.
    """

    task: str
    metric: AdditiveMetric[Any]
    runs: tuple[str, str]
    scores: tuple[float, float]
    count: int
    interval: Interval | None
    p: float | None

    @property
    def difference(self) -> float:
        """The second score less the first."""
        return self.scores[1] - self.scores[0]

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p is not None and self.p < LEVEL

    @property
    def better(self) -> str | None:
        """The name of the run that is significantly better; None if none is, or if the metric has no direction."""
        if not self.significant or self.metric.higher_is_better is None:
            return None
        return self.runs[(self.difference > 0) is self.metric.higher_is_better]


def compare(runs: Sequence[EvaluatedRun], registry: Registry, tasks: Sequence[str] = ()) -> list[Difference]:
    """Compare each pair of runs by each additive metric that all of them have, by the paired bootstrap.

    The p-values of one metric are corrected for the number of pairs by Holm's method.

    Args:
        runs: Two or more.
        registry: What is installed.
        tasks: The tasks to compare; by default all that every run has.

    Raises:
        DataError: The runs share no such task or metric, or were evaluated on different samples.
        PluginError: A metric cannot be used.
    """
    shared = [task for task in runs[0].metrics if all(task in run.metrics for run in runs)]
    if missing := [task for task in tasks if task not in shared]:
        raise DataError(
            f"not every run was evaluated on the task {missing[0]!r}",
            hint=f"tasks of all: {', '.join(shared) or 'none'}",
        )
    found = []
    for task in tasks or shared:
        _check_samples(task, runs)
        for name, config in runs[0].metrics[task].items():
            if not all(name in run.metrics[task] and name in run.samples[task][0].statistics for run in runs):
                continue
            if any(run.metrics[task][name] != config for run in runs):
                raise DataError(
                    f"{task}: the runs were evaluated with different settings of the metric {name}",
                    hint="evaluate them again with one manifest section",
                )
            kind = str(config["type"])
            metric = build(registry, "metric", kind, registry.config_class("metric", kind).model_validate(dict(config)))
            found += _differences(task, metric, name, runs)
    if not found:
        raise DataError(
            "the runs share no metric that can be compared",
            hint="evaluate them on one task; metrics are compared that are an AdditiveMetric",
        )
    return found


def _check_samples(task: str, runs: Sequence[EvaluatedRun]) -> None:
    """Refuse runs that were not asked the same."""
    first, *others = runs
    for other in others:
        mine, theirs = first.samples.get(task, ()), other.samples.get(task, ())
        complaint = f"{len(mine)} and {len(theirs)} samples" if len(mine) != len(theirs) or not mine else None
        for place, (one, two) in enumerate(zip(mine, theirs, strict=False), start=1):
            if complaint is None and one.key != two.key:
                complaint = f"sample {place} is {one.key} and {two.key}"
            elif complaint is None and one.truth != two.truth:
                complaint = f"the true value of {one.key} is {str(one.truth)[:40]} and {str(two.truth)[:40]}"
        if complaint is not None:
            raise DataError(
                f"{first.name} and {other.name} were evaluated on different samples of {task}: {complaint}",
                hint=f"evaluate both on the same data with the same `--limit`: modrwkv evaluate {other.name}",
            )


def _differences(task: str, metric: AdditiveMetric[Any], name: str, runs: Sequence[EvaluatedRun]) -> list[Difference]:
    rows = [np.array([sample.statistics[name] for sample in run.samples[task]]) for run in runs]

    def score_all(sums: NDArray[np.float64]) -> list[float]:
        return [metric.score(part) for part in np.split(sums, len(runs))]

    with guard(metric.origin, "score()"):
        scores = [metric.score(each.sum(axis=0)) for each in rows]
        resampled = resample(np.hstack(rows), score_all, _RESAMPLES)
    pairs = list(combinations(range(len(runs)), 2))
    differences = [resampled[:, second] - resampled[:, first] for first, second in pairs]
    finite = [bool(np.isfinite(each).all()) for each in differences]
    p_values = iter(_holm([two_sided_p(each) for each, usable in zip(differences, finite, strict=True) if usable]))
    return [
        Difference(
            task,
            metric,
            (runs[first].name, runs[second].name),
            (scores[first], scores[second]),
            len(rows[0]),
            percentile_interval(each) if usable else None,
            next(p_values) if usable else None,
        )
        for (first, second), each, usable in zip(pairs, differences, finite, strict=True)
    ]


def _holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def differences_table(differences: Sequence[Difference]) -> str:
    """Lay differences out for a terminal, one line for each pair of runs by each metric."""
    rows = [("task", "metric", "runs", "scores", "difference", "95 % interval", "p", "verdict")]
    for one in differences:
        form = one.metric.format_difference
        interval = "" if one.interval is None else " to ".join(map(form, one.interval))
        p = "" if one.p is None else f"{one.p:.4f}"
        verdict = "significant" if one.significant else "not significant"
        if one.better is not None:
            verdict = f"{one.better} is better"
        scores = " / ".join(map(one.metric.format, one.scores))
        rows.append(
            (one.task, one.metric.name, " / ".join(one.runs), scores, form(one.difference), interval, p, verdict)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def differences_as_json(differences: Sequence[Difference]) -> str:
    """Write differences for programs; numbers that are not finite become null."""
    content = [
        {
            "task": one.task,
            "metric": one.metric.name,
            "runs": one.runs,
            "scores": one.scores,
            "samples": one.count,
            "difference": one.difference,
            "interval": one.interval,
            "p": one.p,
            "significant": one.significant,
            "better": one.better,
        }
        for one in differences
    ]
    return pydantic_core.to_json(content, indent=2, inf_nan_mode="null").decode()
