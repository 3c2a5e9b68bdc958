"""From a trained run to results: opens the data of its manifest's tasks and asks the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from modrwkv_core.errors import ComponentError, DataError, ManifestError
from modrwkv_core.evaluation.bootstrap import confidence_interval
from modrwkv_core.evaluation.sampling import Subset, batches, draw
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.metric import AdditiveMetric, Metric
from modrwkv_core.interfaces.result import Example, Result, SampleResult, Score
from modrwkv_core.interfaces.source import Source
from modrwkv_core.interfaces.task import Predictor, Records, Task
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.assemble import open_source
from modrwkv_core.model.build import build

__all__ = ["Candidate", "evaluate", "run_task"]


class Candidate(Predictor, Protocol):
    """A model with its manifest; a :class:`~modrwkv_core.inference.session.Session` is one."""

    @property
    def loaded(self) -> LoadedManifest:
        """The manifest, whose ``evaluation`` says what there is to ask."""
        ...


def evaluate(candidate: Candidate, name: str, *, limit: int | None = None, progress_bar: bool = False) -> Result:
    """Evaluate a model on one task of its manifest.

    Args:
        candidate: The model.
        name: The task's name in the manifest's ``evaluation``.
        limit: Number of samples, drawn at random, always the same ones; None takes all.
        progress_bar: Whether to draw one on the standard error stream.

    Raises:
        DataError: The data are missing, empty, or not what the task asks about.
        PluginError: A source, task or metric cannot be used.
        ComponentError: A metric cannot compare what the task gives it.
    """
    loaded = candidate.loaded
    section = loaded.manifest.evaluation[name]
    data: Records = _open(loaded, section.data, f"evaluation.{name}.data")
    if limit is not None:
        data = Subset(data, draw(len(data), limit))
    baseline_data = section.baseline_data and _open(loaded, section.baseline_data, f"evaluation.{name}.baseline_data")
    config = section.task
    task: Task[Any, Any] = build(loaded.registry, "task", config.type, config, data, baseline_data)
    with guard(task.origin, "metrics()"):
        configs = task.metrics(candidate)
    metrics = [build(loaded.registry, "metric", metric.type, metric) for metric in configs]
    _check_names(name, metrics)
    with tqdm(desc=name, total=len(data), unit="sample", disable=not progress_bar) as bar:
        return run_task(name, task, metrics, candidate, bar.update)


def run_task(
    name: str,
    task: Task[Any, Any],
    metrics: Sequence[Metric[Any]],
    model: Predictor,
    progress: Callable[[int], object] = lambda count: None,
) -> Result:
    """Ask a model about all records of a task and score it beside the task's baselines.

    Args:
        name: The task's name in the manifest.
        task: What is asked.
        metrics: What predictions are scored by.
        model: The model.
        progress: Called with the number of samples of each batch that is done.
    """
    with guard(task.origin, "baselines()"):
        baselines = task.baselines()
    totals = _Totals(metrics, ["model", *baselines])
    groups: dict[str | None, _Totals] = {}
    outcomes: list[SampleResult] = []
    for records in batches(task.data, task.config.batch_size):
        with guard(task.origin, "sample()"):
            samples = [task.sample(record) for record in records]
        with guard(task.origin, "predict()"):
            predictions = task.predict(model, samples)
        if len(predictions) != len(samples):
            raise ComponentError(
                f"{len(predictions)} predictions for {len(samples)} samples",
                component=f"task/{task.config.type}",
                hint="let `predict` return one prediction for each sample",
            )
        for sample, prediction in zip(samples, predictions, strict=True):
            with guard(metrics[0].origin, "correct()"):
                correct = metrics[0].correct(prediction, sample.truth)
            if sample.group not in groups:
                groups[sample.group] = totals if sample.group is None else _Totals(metrics, ["model", *baselines])
            with guard(task.origin, "a baseline"):
                said = {"model": prediction, **{method: guess(sample) for method, guess in baselines.items()}}
            for scored in {totals, groups[sample.group]}:
                scored.update(said, sample.truth)
            statistics = totals.latest_statistics()
            outcomes.append(
                SampleResult(sample.record.key, sample.group, prediction, sample.truth, correct, statistics)
            )
        progress(len(samples))
    several = [group for group in groups if group is not None] if len(groups) > 1 else []
    named = {group: groups[group].scores() for group in sorted(several, key=_natural)}

    def shown(indices: Iterable[int]) -> tuple[Example, ...]:
        chosen = ((task.data[index], outcomes[index]) for index in indices)
        return tuple(Example(record, one.prediction, one.truth, one.correct) for record, one in chosen)

    return Result(
        name,
        len(outcomes),
        totals.scores(),
        named,
        shown(draw(len(outcomes), task.config.examples)),
        shown(_errors(outcomes, metrics[0], task.config.errors)),
        tuple(
            outcomes
            if task.config.save_predictions
            else (replace(one, prediction=None, truth=None) for one in outcomes)
        ),
    )


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return what sorts names by the numbers in them."""
    words = re.findall(r"\d+|\D+", name)
    return [(word.isdecimal(), int(word) if word.isdecimal() else 0, word) for word in words]


def _errors(outcomes: Sequence[SampleResult], metric: Metric[Any], count: int) -> list[int]:
    """Return the indices of wrong predictions, drawn at random, or where none is right or wrong, of the worst."""
    wrong = [index for index, outcome in enumerate(outcomes) if outcome.correct is False]
    if wrong:
        return [wrong[place] for place in draw(len(wrong), count)]
    graded = all(outcome.correct is None for outcome in outcomes)
    if not graded or not isinstance(metric, AdditiveMetric) or metric.higher_is_better is None:
        return []
    sign = -1 if metric.higher_is_better else 1
    badness = [sign * metric.score(np.array(outcome.statistics[metric.name])) for outcome in outcomes]
    return sorted(range(len(outcomes)), key=lambda index: (isfinite(badness[index]), -badness[index]))[:count]


class _Totals:
    """Each metric for each method."""

    def __init__(self, metrics: Sequence[Metric[Any]], methods: Sequence[str]) -> None:
        self._metrics = [(metric, {method: metric.new() for method in methods}) for metric in metrics]

    def update(self, predictions: Mapping[str, Any], truth: Any) -> None:
        for metric, by_method in self._metrics:
            with guard(metric.origin, "update()"):
                for method, prediction in predictions.items():
                    by_method[method].update(prediction, truth)

    def latest_statistics(self) -> dict[str, tuple[float, ...]]:
        """Return what the model's latest prediction has added to each additive metric."""
        models = [by_method["model"] for _, by_method in self._metrics]
        return {metric.name: metric.latest for metric in models if isinstance(metric, AdditiveMetric)}

    def scores(self) -> tuple[Score, ...]:
        scores = []
        for metric, methods in self._metrics:
            model = methods["model"]
            with guard(metric.origin, "compute()"):
                values = {name: one.compute() for name, one in methods.items()}
                interval = confidence_interval(model, model.rows) if isinstance(model, AdditiveMetric) else None
            scores.append(Score(metric, values.pop("model"), values, interval))
        return tuple(scores)


def _check_names(task: str, metrics: Sequence[Metric[Any]]) -> None:
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise ManifestError(f"evaluation.{task}.task.metrics: two metrics are called '{name}'", hint="drop one")


def _open(loaded: LoadedManifest, config: SourceConfig, where: str) -> Source[Any]:
    source = open_source(loaded, config)
    if not len(source):
        raise DataError(
            f"{where} holds no records", component=f"source/{config.source}", hint="a task needs at least one"
        )
    return source
